"""`embodia pretrain`, agents with a pretrained encoder, user errors, probes and attention maps."""

import itertools
import json
import shutil
import signal
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file

from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPOConfig
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.rows import EpisodeWriter, read_episode
from embodia.envs.grid.options import GridOptions
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.pictures.shapes10 import shapes10
from embodia.scripts.assembly import build, image_encoders, runs
from embodia.scripts.assembly.config import Config, EncoderConfig
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.kinds import LEARNER
from embodia.scripts.data.frames import Pool
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake
from embodia.scripts.report import video

SMALL = [
    *("--training.batch-size", "8", "--training.log-every", "2", "--training.warmup", "2"),
    *("--encoder.dim", "16", "--data.size", "32"),
]
NARROW = ["--encoder.width", "8"]
ENV = EnvConfig("embodia/MiniGrid-Empty-5x5-v0", GridOptions("rgb", tile_size=8), 2)
AGENTS = {
    "ppo": SB3PPOConfig(n_steps=8, batch_size=8, hidden=(16,), device="cpu"),
    "bc": BCConfig(
        hidden=(16,), learning_starts=8, train_freq=8, gradient_steps=2, batch_size=8, warmup=0, device="cpu"
    ),
    "dagger": DAggerConfig(
        hidden=(16,), learning_starts=8, train_freq=8, gradient_steps=2, batch_size=8, warmup=0, device="cpu"
    ),
}


def pretrain(method, data, out, *flags, net="conv"):
    named = ["--encoder", net, *(NARROW if net != "vit" else []), *SMALL]
    assert main(["pretrain", method, "--data", str(data), *named, *flags, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty images of two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    drawn, labels = (each.numpy() for each in shapes10(400, 0))
    for label in (0, 1):
        (folder / str(label)).mkdir()
        for i, picture in enumerate(drawn[labels == label][:20]):
            cv2.imwrite(str(folder / str(label) / f"{i}.png"), picture)
    return folder


def episodes(folder, count=3, length=12, width=32):
    """Recorded episodes of noise."""
    space = spaces.Dict({"rgb": spaces.Box(0, 255, (32, width, 3), np.uint8)})
    writer, rng, at = (
        EpisodeWriter(folder, "Noise-v0", space, spaces.Discrete(2)),
        np.random.default_rng(0),
        np.arange(length),
    )
    for _ in range(count):
        rgb, zeros = rng.integers(0, 256, (length, 32, width, 3), np.uint8), np.zeros(length)
        flags = {"first": at == 0, "last": at == length - 1, "terminal": at == length - 1}
        writer.write(
            {
                "obs": {"rgb": rgb},
                "reward": zeros.astype(np.float32),
                "action": zeros.astype(int),
                "extras": {},
                **flags,
            }
        )
    return folder


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    return pretrain("vicreg", pictures, tmp_path_factory.mktemp("runs") / "vicreg", "--steps", "6")


def test_a_run_is_a_folder_anyone_can_read(run):
    assert json.loads((run / "config.json").read_text())["method"] == "vicreg"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert all({"loss", "effective_rank", "embedding_std"} <= set(line) for line in lines)
    assert list(run.glob("events.out.tfevents*"))
    said = image_encoders.about(image_encoders.find(run))
    assert said["step"] == 6
    assert said["encoder"] == {"kind": "conv_net", "dim": 16, "width": 8}
    assert not (run / ".lock").exists()


def test_a_stopped_run_goes_on_bit_for_bit(run, pictures, tmp_path, monkeypatch, capsys):
    whole, count = Pool.batch, itertools.count(1)

    def stopping(pool, n):
        if next(count) == 3:
            signal.raise_signal(signal.SIGTERM)
        return whole(pool, n)

    monkeypatch.setattr(Pool, "batch", stopping)
    place = tmp_path / "run"
    flags = ["--encoder.net", "conv", *NARROW, *SMALL, "--steps", "6"]  # the flag's earlier name
    assert main(["pretrain", "vicreg", "--data", str(pictures), *flags, "--out", str(place)]) == 130
    assert "stopped at update 3" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(place)]) == 0
    straight, halves = (load_file(image_encoders.find(each) / "encoder.safetensors") for each in (run, place))
    assert all(torch.equal(straight[name], halves[name]) for name in straight)


def test_a_run_made_before_there_was_fit_goes_on(tmp_path):
    """Eight updates of BYOL by an earlier version without `fit`, stopped after four, and their result."""
    with zipfile.ZipFile(Path(__file__).parent / "run_before_fit.zip") as archive:
        archive.extractall(tmp_path)
    for i, picture in enumerate(shapes10(12, 0)[0].numpy()):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), picture)
    config = tmp_path / "config.json"
    assert '"PretrainingConfig"' in config.read_text()
    config.write_text(config.read_text().replace('"/pictures"', json.dumps(str(tmp_path / "pictures"))))
    assert main(["pretrain", "--resume", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert lines[-1]["loss"] == pytest.approx(4.1387, abs=0.01)
    found = load_file(image_encoders.find(tmp_path) / "encoder.safetensors")
    for name, value in load_file(tmp_path / "expected.safetensors").items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)  # other processors round differently


@pytest.mark.parametrize("name", LEARNER.table)
def test_every_method_pretrains_from_its_name(name, pictures, tmp_path):
    if name in ("time-contrastive", "patch-vicreg", "slow-features"):
        pictures = episodes(tmp_path / "episodes")
    networks = {"mae": "vit", "slot-attention": "slot_attention", "complex-autoencoder": "complex_autoencoder"}
    networks |= {"autoencoder": "autoencoder", "denoising-autoencoder": "autoencoder", "vae": "vae"}
    run = pretrain(name, pictures, tmp_path / name, "--steps", "2", net=networks.get(name, "conv"))
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert line.get("embedding_std", line.get("loss")) > 0
    assert isinstance(image_encoders.pretrained(run), ImageEncoder)


def test_slow_features_stand_on_a_pretrained_encoder(tmp_path):
    """Slow features on patch-vicreg, as used by `bench wall`."""
    data = episodes(tmp_path / "episodes")
    patches = pretrain("patch-vicreg", data, tmp_path / "patches", "--steps", "2", "--views.gap", "2", net="resnet")
    flags = ("--method.pretrained", str(patches), "--method.features", "3", "--steps", "30")
    slow = image_encoders.pretrained(pretrain("slow-features", data, tmp_path / "slow", *flags))
    below = image_encoders.pretrained(patches)
    assert (slow.num_tokens, slow.dim) == (below.num_tokens, 3)
    for name, value in below.state_dict().items():
        assert torch.equal(value, slow.state_dict()[f"encoder.{name}"]), name
    frames = torch.from_numpy(read_episode(next(data.glob("*.npz"))).rows["obs"]["rgb"])
    assert slow({"rgb": frames}).square().mean() == pytest.approx(1, abs=0.2)


# Agents that read it -------------------------------------------------------------------------------------------


def trained(kind, encoder):
    """An agent after a little training, with the weights of its image encoder before and after."""
    config = Config(ENV, AGENTS[kind], encoder, Schedule(steps=32))
    env = build.worlds(ENV, "train")
    agent = build.agent(config, env)
    module = agent.policy if hasattr(agent, "policy") else agent
    before = {name: value.clone() for name, value in module.state_dict().items()}
    train(agent, env, config.schedule)
    env.close()
    after = module.state_dict()
    return {name: (before[name], after[name]) for name in before}


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", AGENTS)
def test_the_gradient_stops_at_a_frozen_encoder_and_flows_into_another(kind, frozen, run):
    moved = trained(kind, EncoderConfig(dim=16, pretrained=str(run), frozen=frozen))
    stored = load_file(image_encoders.find(run) / "encoder.safetensors")
    inside = {name.split("parts.rgb.")[1].removeprefix("encoder."): name for name in moved if "parts.rgb." in name}
    assert set(inside) == set(stored)
    for name, own in inside.items():
        assert torch.equal(moved[own][0], stored[name]), "an agent begins with what was pretrained"
    kernels = [own for name, own in inside.items() if name.endswith("weight")]
    still = [torch.equal(*moved[own]) for own in inside.values()]
    assert all(still) if frozen else not any(torch.equal(*moved[own]) for own in kernels)
    rest = [pair for name, pair in moved.items() if name not in inside.values() and name.endswith("weight")]
    assert not all(torch.equal(*pair) for pair in rest), "the rest learns in either case"


def test_a_random_encoder_can_be_frozen_too():
    moved = trained("bc", EncoderConfig(dim=16, image="conv", frozen=True))
    assert all(torch.equal(*pair) for name, pair in moved.items() if "parts.rgb." in name)


def test_the_commands_flags_train_an_agent_that_outlives_the_pretraining_run(run, tmp_path):
    gone = shutil.copytree(run, tmp_path / "gone")
    arguments = [
        *("train", "bc-doorkey", "--env.id", "MiniGrid-Empty-5x5-v0", "--env.options.observation", "rgb"),
        *("--encoder.keys", "rgb", "--encoder.pretrained", str(gone), "--encoder.frozen", "True", "--steps", "64"),
        *("--agent.learning-starts", "16", "--agent.gradient-steps", "1", "--evaluation.during", "2"),
        *("--evaluation.episodes", "2", "--evaluation.films", "0", "--no-report", "--out", str(tmp_path / "agent")),
    ]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "agent" / "config.json").read_text())["config"]["encoder"]["frozen"] is True
    shutil.rmtree(gone)
    assert runs.config(tmp_path / "agent").encoder.pretrained == str(tmp_path / "agent" / "pretrained")
    assert main(["eval", str(tmp_path / "agent"), "--episodes", "2", "--films", "0"]) == 0


def test_what_does_not_fit_is_named(run, pictures, tmp_path, capsys):
    space = spaces.Dict(rgb=spaces.Box(0, 255, (32, 32, 3), np.uint8), depth=spaces.Box(0, 1, (32, 32, 1), np.float32))
    reads = build.encoder(EncoderConfig(pretrained=str(run)), space)
    assert type(reads.parts["rgb"]).__name__ == "ConvNet"
    assert type(reads.parts["depth"]).__name__ == "ResNet"
    only_depth = spaces.Dict(depth=space["depth"])
    with pytest.raises(Mistake, match="none of depth matches"):
        build.encoder(EncoderConfig(pretrained=str(run)), only_depth)
    two = spaces.Dict(left=space["rgb"], right=space["rgb"])
    with pytest.raises(Mistake, match="left and right both match"):
        build.encoder(EncoderConfig(pretrained=str(run)), two)
    with pytest.raises(Mistake, match=r"no encoder\.json there"):
        build.encoder(EncoderConfig(pretrained=str(tmp_path)), space)
    with pytest.raises(Mistake, match="are no images"):
        build.encoder(EncoderConfig(frozen=True), spaces.Dict(x=spaces.Box(-1, 1, (3,), np.float32)))
    for arguments, says in (
        (["pretrain", "simclear", "--data", "x"], "unknown learner simclear. Did you mean simclr"),
        (["pretrain", "simclr", "--data", str(tmp_path / "no")], "no such path"),
        (["pretrain", "mae", "--data", str(tmp_path), "--encoder", "conv"], "no video"),
        (["pretrain", "mae", "--data", str(pictures), "--encoder", "conv"], "trains a ViT, which conv is not"),
        (["pretrain", "mae", "--data", str(pictures), "--positives", "both"], "omit --positives"),
        (
            ["pretrain", "mae", "--data", str(pictures), "--encoder.width", "4"],
            "--encoder.width is not an option of vit",
        ),
        (["pretrain", "patch-vicreg", "--data", str(pictures), "--positives", "augmentation"], "at the same location"),
        (["pretrain", "slow-features", "--data", str(pictures), "--positives", "augmentation"], "at temporal"),
        (["pretrain", "complex-autoencoder", "--data", str(pictures), "--encoder.net", "conv"], "which conv is not"),
        (["pretrain", "vicreg", "--data", str(pictures), "--device", "cuda"], "torch finds no CUDA device"),
        (["segment", str(run), "--data", str(pictures)], "ConvNet, which has neither slots nor patches"),
        (["attention", str(run), "--data", str(pictures)], "ConvNet, which has no attention"),
        (["probe", str(tmp_path)], "no encoder.json"),
        (["train", "bc-doorkey", "--encoder.pretrained", str(tmp_path)], "no encoder.json"),
    ):
        place = ["--runs", str(tmp_path / "runs")] if arguments[0] in ("pretrain", "train") else []
        assert main([*arguments, *place]) == 2
        assert says in capsys.readouterr().err
    assert not (tmp_path / "runs").exists(), "what is refused leaves nothing"


# What it knows, and where it looks --------------------------------------------------------------------------------


def test_a_folder_of_classes_is_probed_beside_controls(run, pictures, capsys):
    assert main(["probe", str(run), "--data", str(pictures), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert set(rows) == {"pretrained", "random", "pixels"}
    assert all(0 <= rows[who][score] <= 1 for who in rows for score in ("linear", "knn"))


def test_attention_is_drawn_as_a_sheet_and_as_a_film(pictures, tmp_path):
    run = pretrain("dino", pictures, tmp_path / "dino", "--steps", "2", net="vit")
    assert main(["attention", str(run), "--data", str(pictures), "--out", str(tmp_path / "maps")]) == 0
    sheet = cv2.imread(str(tmp_path / "maps" / "attention.png"))
    assert sheet.shape == (8 * 32 * 3, (1 + 4) * 32 * 3, 3)
    frames = [np.roll(np.full((32, 32, 3), 90, np.uint8), t) for t in range(12)]
    video.write(tmp_path / "films" / "walk.mp4", frames, fps=10)
    assert main(["attention", str(run), "--data", str(tmp_path / "films"), "--out", str(tmp_path / "film")]) == 0
    assert video.read(tmp_path / "film" / "walk.mp4").shape == (12, 96, 480, 3)


def test_what_was_learnt_from_wide_episodes_is_drawn_over_them_whole(tmp_path):
    wide = episodes(tmp_path / "episodes", count=1, width=48)
    run = pretrain("dino", wide, tmp_path / "dino", "--steps", "2", net="vit")
    assert main(["attention", str(run), "--data", str(wide), "--scale", "1", "--out", str(tmp_path / "film")]) == 0
    (film,) = (tmp_path / "film").glob("*.mp4")
    assert video.read(film).shape == (12, 32, (1 + 4) * 48, 3)


def test_objects_are_drawn_from_slots_and_from_cuts(pictures, tmp_path):
    """Image | objects, in colours that the image does not have; larger images have finer cuts."""
    slots = pretrain("slot-attention", pictures, tmp_path / "slots", "--steps", "2", net="slot_attention")
    dino = pretrain("dino", pictures, tmp_path / "dino", "--steps", "2", net="vit")
    for name, run, size, flags in (
        ("slots", slots, 32, []),
        ("cuts", dino, 48, ["--size", "48", "--objects", "2"]),
        ("one", dino, 32, ["--by", "token-cut"]),
    ):
        out = tmp_path / f"{name}-drawn"
        assert main(["segment", str(run), "--data", str(pictures), "--out", str(out), "--scale", "1", *flags]) == 0
        drawn = cv2.imread(str(out / "objects.png"))
        assert drawn.shape == (8 * size, 2 * size, 3)
        assert (drawn[:, :size] != drawn[:, size:]).any(2).mean() > 0.9

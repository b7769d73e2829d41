"""From a folder of images to an autoencoder: training, resuming, sampling, an agent that reads it, user errors."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embodia.perception.pictures.shapes10 import shapes10
from embodia.scripts.assembly import image_encoders
from embodia.scripts.main import main

SMALL = [
    *("--data.size", "16", "--encoder.width", "4", "--encoder.dim", "3"),
    *("--training.batch-size", "8", "--training.log-every", "2", "--training.warmup", "1"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Twenty-four images in two folders."""
    folder = tmp_path_factory.mktemp("images")
    drawn, labels = (each.numpy() for each in shapes10(200, 0, size=16))
    for label in (0, 1):
        (folder / str(label)).mkdir()
        for i, picture in enumerate(drawn[labels == label][:12]):
            cv2.imwrite(str(folder / str(label) / f"{i}.png"), picture)
    return folder


def pretrain(name, images, out, *flags):
    assert main(["pretrain", name, "--data", str(images), *SMALL, *flags, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def vae(images, tmp_path_factory):
    return pretrain("vae", images, tmp_path_factory.mktemp("runs") / "vae", "--steps", "4")


def test_a_vae_resumes_bit_for_bit(vae, images, tmp_path):
    half = pretrain("vae", images, tmp_path / "half", "--steps", "2", "--training.schedule", "constant")
    whole = pretrain("vae", images, tmp_path / "whole", "--steps", "4", "--training.schedule", "constant")
    assert main(["pretrain", "--resume", str(half), "--steps", "4"]) == 0
    one, other = (load_file(image_encoders.find(each) / "encoder.safetensors") for each in (half, whole))
    assert all(torch.equal(one[name], other[name]) for name in one)
    line = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"loss", "bound", "kl", "active_units"} <= set(line)


def test_a_vae_is_sampled_and_its_reconstructions_are_drawn(vae, tmp_path, capsys):
    out = tmp_path / "samples"
    assert main(["sample", str(vae), "--n", "9", "--scale", "1", "--out", str(out), "--json"]) == 0
    printed = capsys.readouterr()
    said = json.loads(printed.out.splitlines()[-1])
    assert said["folder"] == str(out)
    assert {"squared_error", "bound", "kl", "active_units", "samples_frechet"} <= set(said)
    assert json.loads((out / "quality.json").read_text())["bound"] == said["bound"]
    assert cv2.imread(str(out / "samples.png")).shape == (3 * 18 + 2, 3 * 18 + 2, 3)
    assert cv2.imread(str(out / "reconstructions.png")).shape == (6 * 18 + 2, 8 * 18 + 2, 3)
    assert "posterior collapse" in printed.err if said["active_units"] == 0 else "active" in printed.out


def test_the_seed_decides_the_samples(vae, tmp_path):
    def sampled(name, seed):
        assert main(["sample", str(vae), "--n", "4", "--seed", seed, "--out", str(tmp_path / name)]) == 0
        return cv2.imread(str(tmp_path / name / "samples.png"))

    assert np.array_equal(sampled("one", "0"), sampled("same", "0"))
    assert not np.array_equal(sampled("again", "0"), sampled("other", "1"))


def test_an_autoencoder_says_that_it_is_no_generative_model(images, tmp_path, capsys):
    run = pretrain("denoising-autoencoder", images, tmp_path / "run", "--steps", "2")
    out = tmp_path / "samples"
    assert main(["sample", str(run), "--n", "4", "--out", str(out)]) == 0
    assert "is no generative model" in capsys.readouterr().out
    assert {each.name for each in out.glob("*.png")} == {
        "reconstructions.png",
        "gaussian_codes.png",
        "cluster_codes.png",
    }


def test_without_its_data_a_vae_is_sampled_and_an_autoencoder_is_not(images, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(images, data)
    runs = {name: pretrain(name, data, tmp_path / name, "--steps", "1") for name in ("vae", "autoencoder")}
    shutil.rmtree(data)
    assert main(["sample", str(runs["vae"]), "--n", "4", "--out", str(tmp_path / "a")]) == 0
    assert [each.name for each in (tmp_path / "a").glob("*.png")] == ["samples.png"]
    assert "is missing" in capsys.readouterr().err
    assert main(["sample", str(runs["autoencoder"]), "--out", str(tmp_path / "b")]) == 2
    assert "its data is missing" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_probe_evaluates_the_code(vae, images, capsys):
    assert main(["probe", str(vae), "--data", str(images), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert set(rows) == {"pretrained", "random", "pixels"}


def test_an_agent_reads_the_code(images, tmp_path):
    run = pretrain("vae", images, tmp_path / "run", "--steps", "2", "--data.size", "56")  # 7x7 cells of 8 pixels
    agent = tmp_path / "agent"
    arguments = [
        *("train", "bc-doorkey", "--env.id", "MiniGrid-Empty-5x5-v0", "--env.options.observation", "rgb"),
        *("--encoder.keys", "rgb", "--encoder.pretrained", str(run), "--encoder.frozen", "True", "--steps", "64"),
        *("--agent.learning-starts", "16", "--agent.gradient-steps", "1", "--evaluation.during", "2"),
        *("--evaluation.episodes", "2", "--evaluation.films", "0", "--no-report", "--out", str(agent)),
    ]
    assert main(arguments) == 0
    stored = load_file(image_encoders.find(run) / "encoder.safetensors")
    read = load_file(max(agent.glob("checkpoints/*/*.safetensors")))
    inside = {name.split("parts.rgb.encoder.")[-1]: read[name] for name in read if "parts.rgb." in name}
    assert all(torch.equal(inside[name], value) for name, value in stored.items())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data.size", "20"], "need image sides that are multiples of 8; got 20x20"),
        (["--encoder.dim", "0"], "a code needs at least one dimension; dim is 0"),
        (["--method.beta", "-1"], "a VAE needs beta >= 0"),
        (["--method.samples", "3", "--method.beta", "2"], "the importance-weighted bound has no beta"),
        (["--encoder.likelihood", "laplace"], "invalid choice"),
        (["--encoder.std", "0"], "must be positive"),
    ],
)
def test_what_cannot_be_trained_is_one_message(images, tmp_path, capsys, flags, said):
    out = tmp_path / "run"
    try:
        code = main(["pretrain", "vae", "--data", str(images), *SMALL, *flags, "--out", str(out)])
    except SystemExit as stopped:  # a value that the parser refuses
        code = stopped.code
    assert code == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_what_belongs_to_diffusion_is_refused(vae, tmp_path, capsys):
    for flags in (["--class", "1"], ["--guidance", "2"], ["--steps", "5"]):
        assert main(["sample", str(vae), *flags, "--out", str(tmp_path / "none")]) == 2
        assert "is an autoencoder; omit --class, --steps, --eta and --guidance" in capsys.readouterr().err


def test_an_encoder_without_a_decoder_is_not_sampled(images, tmp_path, capsys):
    flags = ["--encoder", "conv", *SMALL, "--data.size", "32", "--steps", "1"]
    assert main(["pretrain", "vicreg", "--data", str(images), *flags, "--out", str(tmp_path / "run")]) == 0
    assert main(["sample", str(tmp_path / "run")]) == 2
    assert "which has no decoder; pretrain vae" in capsys.readouterr().err

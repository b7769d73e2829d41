"""From a folder of pictures to samples: training, resuming, sampling by class, and what is refused."""

import json
import shutil

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embodia.agents.training.checkpoint import CheckpointError
from embodia.perception.pictures.shapes10 import shapes10
from embodia.scripts.assembly.generative import PicturesConfig, load
from embodia.scripts.commands.models import pretrain_generative
from embodia.scripts.data.examples import Examples, as_pictures, held_out, scaled
from embodia.scripts.main import main
from embodia.scripts.report import video
from embodia.scripts.report.picture_grid import picture_grid

SMALL = [
    *("--data.size", "8", "--method.network", "mlp", "--method.width", "16", "--method.depth", "2"),
    *("--training.batch-size", "8", "--training.log-every", "5", "--training.warmup", "2"),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty pictures of two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    drawn, labels = (each.numpy() for each in shapes10(400, 0))
    for label, name in ((0, "disc"), (1, "square")):
        (folder / name).mkdir()
        for i, picture in enumerate(drawn[labels == label][:20]):
            cv2.imwrite(str(folder / name / f"{i}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "ddpm"
    assert main(["pretrain", "ddpm", "--data", str(pictures), *SMALL, "--steps", "20", "--out", str(out)]) == 0
    return out


def test_pictures_come_scaled_with_the_class_of_their_folder_and_some_are_held_out(pictures):
    examples = Examples(PicturesConfig(str(pictures), size=8), seed=0)
    assert examples.classes == ["disc", "square"]
    assert examples.shape == (3, 8, 8)
    batch = examples.batch(36)
    assert batch["x"].shape == (36, 3, 8, 8)
    assert batch["x"].min() >= -1
    assert batch["x"].max() <= 1
    assert batch["condition"].bincount().tolist() == [18, 18]
    assert [len(each) for each in held_out(PicturesConfig(str(pictures), size=8))] == [36, 4]
    colours = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    assert np.array_equal(as_pictures(scaled(colours)), colours)
    assert "condition" not in Examples(PicturesConfig(str(pictures / "disc"), size=8), seed=0).batch(4)
    assert "condition" not in Examples(PicturesConfig(str(pictures), size=8, labels=False), seed=0).batch(4)


def test_a_run_keeps_a_model_and_resumes_bit_for_bit(run, pictures, tmp_path):
    trained = load(run)
    assert trained.classes == ("disc", "square")
    assert trained.step == 20
    part, again = tmp_path / "part", tmp_path / "again"
    for out, steps in ((part, "10"), (again, "20")):
        assert main(["pretrain", "ddpm", "--data", str(pictures), *SMALL, "--steps", steps, "--out", str(out)]) == 0
    assert main(["pretrain", "--resume", str(part), "--steps", "20"]) == 0
    whole, whole_again = (load_file(each / "checkpoints/000000020/model.safetensors") for each in (run, again))
    assert all(torch.equal(whole[name], whole_again[name]) for name in whole)
    metrics = [json.loads(line) for line in (part / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [5, 10, 15, 20]


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm-solver"])
def test_samples_are_a_picture_a_video_and_a_quality(run, tmp_path, capsys, sampler):
    out = tmp_path / "samples"
    flags = ["--n", "9", "--class", "square", "--sampler", sampler, "--steps", "6", "--guidance", "2", "--json"]
    assert main(["sample", str(run), *flags, "--out", str(out)]) == 0
    grid = cv2.imread(str(out / "samples.png"))
    assert grid.shape == (3 * 18 + 2, 3 * 18 + 2, 3)
    assert len(video.read(out / "denoising.mp4")) == 6 + 15
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["folder"] == str(out)
    assert "3 of them held out" in printed.err


def test_the_quality_of_all_classes_is_told_beside_that_of_real_pictures(run, tmp_path, capsys):
    out = tmp_path / "samples"
    assert main(["sample", str(run), "--n", "9", "--steps", "3", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["components"] == 1
    assert said["frechet"] >= 0
    assert said["frechet_of_real"] >= 0
    assert json.loads((out / "quality.json").read_text())["copies_ratio"] == said["copies_ratio"] > 0


def test_the_seed_decides_the_samples_and_the_class_changes_them(run, tmp_path):
    def sampled(name, *flags):
        assert main(["sample", str(run), "--n", "4", "--steps", "3", *flags, "--out", str(tmp_path / name)]) == 0
        return cv2.imread(str(tmp_path / name / "samples.png"))

    one = sampled("one", "--class", "0")
    assert np.array_equal(one, sampled("same", "--class", "disc"))
    assert not np.array_equal(one, sampled("other", "--class", "1"))
    assert not np.array_equal(one, sampled("seed", "--class", "0", "--seed", "1"))


def test_flow_matching_learns_and_samples_too(pictures, tmp_path, capsys):
    out = tmp_path / "flow"
    assert main(["pretrain", "flow-matching", "--data", str(pictures), *SMALL, "--steps", "4", "--out", str(out)]) == 0
    assert main(["sample", str(out), "--n", "4", "--steps", "2", "--out", str(tmp_path / "s")]) == 0
    assert not (tmp_path / "s" / "denoising.mp4").exists()
    assert main(["sample", str(out), "--guidance", "2"]) == 2
    assert "guidance works on diffusion models" in capsys.readouterr().err


TINY = ["--data.size", "8", "--training.batch-size", "8", "--training.warmup", "2", "--method.sampling-steps", "12"]
ENERGY = [*TINY, "--method.network", "mlp", "--method.width", "8", "--method.depth", "1", "--method.steps", "2"]


def test_an_rbm_learns_without_classes_and_shows_its_chain(pictures, tmp_path, capsys):
    out = tmp_path / "rbm"
    flags = ["--data", str(pictures), *TINY, "--method.hidden", "8", "--out", str(out)]
    assert main(["pretrain", "rbm", *flags, "--steps", "4"]) == 0
    assert "no classes" in capsys.readouterr().out
    assert load(out).classes == ()
    assert main(["sample", str(out), "--n", "4", "--out", str(tmp_path / "s")]) == 0
    assert len(video.read(tmp_path / "s" / "chain.mp4")) == 12 + 15
    assert main(["sample", str(out), "--class", "disc"]) == 2
    assert "was trained without classes" in capsys.readouterr().err


def test_an_energy_learns_classes_resumes_and_samples_one_of_them(pictures, tmp_path, capsys):
    part, whole = tmp_path / "part", tmp_path / "whole"
    for out, steps in ((part, "3"), (whole, "6")):
        flags = ["--data", str(pictures), *ENERGY, "--method.replay", "20", "--steps", steps, "--out", str(out)]
        assert main(["pretrain", "energy", *flags]) == 0
    assert main(["pretrain", "--resume", str(part), "--steps", "6"]) == 0
    one, two = (load_file(each / "checkpoints/000000006/model.safetensors") for each in (part, whole))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert load(whole).classes == ("disc", "square")
    out = tmp_path / "s"
    assert main(["sample", str(whole), "--n", "4", "--class", "square", "--steps", "5", "--out", str(out)]) == 0
    assert len(video.read(out / "chain.mp4")) == 5 + 15
    assert main(["sample", str(whole), "--guidance", "2"]) == 2
    assert "guidance works on diffusion models" in capsys.readouterr().err
    assert main(["pretrain", "energy", "--data", str(pictures), "--method.step-size", "0"]) == 2
    assert "the step size is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--class", "triangle"], "knows classes 0 to 1. Choose from disc, square."),
        (["--class", "2"], "knows classes 0 to 1"),
        (["--steps", "5000"], "choose 1 to 1000"),
        (["--sampler", "ddpm", "--eta", "1"], "--eta belongs to ddim"),
        (["--n", "0"], "--n is 0; it must be at least 1"),
        (["--steps", "-1"], "--steps is -1"),
        (["--scale", "0"], "--scale is 0"),
        (["--fps", "0"], "--fps is 0"),
        (["--seed", str(2**64)], "--seed is"),
        (["--device", "cuda:7"], "no CUDA device"),
    ],
)
def test_what_cannot_be_sampled_is_one_message(run, capsys, flags, said):
    assert main(["sample", str(run), *flags]) == 2
    assert said in capsys.readouterr().err


def test_pictures_that_cannot_be_read_and_links_do_not_end_a_comparison(pictures, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(pictures, folder)
    for path in list((folder / "disc").iterdir())[::2]:
        path.write_bytes(b"spoiled")
    elsewhere = tmp_path / "elsewhere.png"
    (folder / "square" / "0.png").rename(elsewhere)
    (folder / "square" / "0.png").symlink_to(elsewhere)
    config = PicturesConfig(str(folder), size=8)
    assert sum(map(len, held_out(config))) == 30
    assert Examples(config, seed=0).classes == ["disc", "square"], "a linked picture is of the folder that links it"
    for path in folder.rglob("*.png"):
        path.write_bytes(b"spoiled")
    assert held_out(config) is None


def test_a_pretraining_that_fails_before_its_first_update_leaves_no_run(pictures, tmp_path, monkeypatch):
    def full(*_, **__):
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(pretrain_generative, "fit", full)
    assert main(["pretrain", "ddpm", "--data", str(pictures), *SMALL, "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()


def test_a_model_without_classes_is_not_guided(pictures, tmp_path, capsys):
    out = tmp_path / "plain"
    flags = ["--data", str(pictures / "disc"), *SMALL, "--steps", "2", "--out", str(out)]
    assert main(["pretrain", "ddpm", *flags]) == 0
    assert main(["sample", str(out), "--n", "4", "--guidance", "2"]) == 2
    assert "a guidance scale of 2.0 needs a conditional model" in capsys.readouterr().err
    assert main(["sample", str(out), "--n", "4", "--class", "0"]) == 2
    assert "was trained without classes" in capsys.readouterr().err


def test_a_network_that_does_not_fit_is_refused_before_a_folder_is_made(pictures, tmp_path, capsys):
    out = tmp_path / "none"
    flags = ["--data", str(pictures), "--data.size", "10", "--out", str(out)]
    assert main(["pretrain", "ddpm", *flags]) == 2
    assert "multiples of 4" in capsys.readouterr().err
    assert main(["pretrain", "ddpm", *flags, "--method.schedule", "linear", "--method.levels", "100"]) == 2
    assert not out.exists()
    assert main(["sample", str(out)]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_a_grid_fills_rows_on_white():
    grid = picture_grid(np.zeros((3, 2, 2, 3), np.uint8), columns=2, scale=2)
    assert grid.shape == (2 * 6 + 2, 2 * 6 + 2, 3)
    assert (grid == 0).sum() == 3 * 16 * 3
    assert (grid[8:, 8:] == 255).all()

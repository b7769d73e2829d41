"""Tests that the torch rasterizer, run on the CPU, draws the same images as the Numba rasterizer."""

import numpy as np
import pytest
import torch

from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.drawing.torch_rasterizer import TorchRasterizer
from embodia.envs.homes.generator.generate import generate_home
from embodia.tests.envs.homes.boxes import random_pose

ALL = ("rgb", "depth", "semantic")


@pytest.fixture(scope="module")
def views():
    """Two homes, each with three views from the middle of rooms."""
    rng = np.random.default_rng(0)
    scenes = [generate_home(1, "low"), generate_home(2, "low")]
    poses = [
        random_pose(rng, [room.polygon[:, 0].mean(), 1.25, room.polygon[:, 1].mean()])
        for scene in scenes
        for room in scene.rooms[:3]
    ]
    return scenes, np.repeat([0, 1], 3), np.stack(poses)


@pytest.fixture(scope="module")
def images(views):
    return [drawer.render(*views) for drawer in (Rasterizer(48, 64, 79, sensors=ALL),
                                                 TorchRasterizer(48, 64, 79, sensors=ALL, device="cpu"))]  # fmt: skip


def test_depth_and_ids_agree(images):
    numba, torch_ = images
    assert (np.abs(numba["depth"] - torch_["depth"]) < 1e-3).mean() > 0.999
    assert (numba["semantic"] == torch_["semantic"]).mean() > 0.999


def test_colours_agree(images):
    numba, torch_ = images
    error = np.abs(numba["rgb"].astype(int) - torch_["rgb"]).max(axis=-1)
    assert (error <= 3).mean() > 0.99


def test_near_and_far_agree(views):
    options = {"near": 1.0, "far": 3.0, "sensors": ("depth",)}
    ours = Rasterizer(32, 32, **options).render(*views)["depth"]
    theirs = TorchRasterizer(32, 32, **options, device="cpu").render(*views)["depth"]
    assert (np.abs(ours - theirs) < 1e-3).mean() > 0.998
    assert (ours == 0).any()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_gpu_is_named():
    with pytest.raises(ValueError, match="finds no CUDA device; use Rasterizer"):
        TorchRasterizer(8, 8)

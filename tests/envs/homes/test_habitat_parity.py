"""What a real habitat-sim saw in a small home of our own: 40 poses, two cameras, boxes of the annotated objects.

`data/apartment` holds the home (glb, stage config, semantic mesh) and habitat-sim's images of it (main of 2026-05-07).
"""

from pathlib import Path

import numpy as np
import pytest

from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.homes.files.load import load_scene

DATA = Path(__file__).parent / "data" / "apartment"


@pytest.fixture(scope="module")
def scene():
    return load_scene(DATA / "apartment.glb")


@pytest.fixture(scope="module")
def reference():
    return np.load(DATA / "observations.npz")


def cameras(poses, camera_height):
    """Camera-to-world (N, 4, 4) of agents at (x, y, z, yaw)."""
    matrices = np.tile(np.eye(4), (len(poses), 1, 1))
    cos, sin = np.cos(poses[:, 3]), np.sin(poses[:, 3])
    matrices[:, 0, 0], matrices[:, 0, 2], matrices[:, 2, 0], matrices[:, 2, 2] = cos, sin, -sin, cos
    matrices[:, :3, 3] = poses[:, :3] + [0, camera_height, 0]
    return matrices


@pytest.fixture(scope="module")
def images(scene, reference):
    rasterizer = Rasterizer(128, 128, 90, sensors=("rgb", "depth", "semantic"))
    return rasterizer.render([scene], np.zeros(40, int), cameras(reference["poses"], 1.25))


def test_depth_agrees_within_a_centimetre(images, reference):
    error = np.abs(images["depth"][..., 0] - reference["depth"] / 4000)
    assert (error < 0.01).mean() > 0.9999
    assert (images["depth"][..., 0] == 0).mean() == pytest.approx((reference["depth"] == 0).mean(), abs=1e-5)


def test_wide_depth_camera_agrees_within_a_centimetre(scene, reference):
    rasterizer = Rasterizer(60, 160, 79, sensors=("depth",))
    depth = rasterizer.render([scene], np.zeros(40, int), cameras(reference["poses"], 0.88))["depth"][..., 0]
    assert (np.abs(depth - reference["wide"] / 4000) < 0.01).mean() > 0.9999


def test_semantic_ids_agree(images, reference):
    assert (images["semantic"][..., 0] == reference["semantic"]).mean() > 0.9999


def test_colours_agree_but_for_texture_filtering(images, reference):
    """habitat-sim blends texels, we take the nearest: pixels differ at the squares' edges only."""
    error = np.abs(images["rgb"][:8].astype(int) - reference["rgb"]).max(axis=-1)
    assert (error <= 16).mean() > 0.95
    assert error.mean() < 6


def test_object_boxes_agree(scene, reference):
    boxes = np.array([np.concatenate([o.center, 2 * o.half_extents]) for o in scene.objects])
    assert np.allclose(boxes, reference["boxes"][1:], atol=1e-5)
    assert [scene.objects[k].name for k in (0, 9, 11)] == ["floor_1", "door frame_10", "bed_12"]

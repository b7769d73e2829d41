"""A generated home written as habitat-sim's files and read back is the same home."""

import json

import numpy as np
import pytest
import trimesh

from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.files.export import _widest_corner_first, export_scene
from embodia.envs.homes.files.load import load_scene
from embodia.envs.homes.generator.generate import generate_home
from embodia.tests.envs.homes.boxes import random_pose


@pytest.fixture(scope="module")
def home():
    return generate_home(4, "low")


@pytest.fixture(scope="module")
def folder(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("homes")
    export_scene(home, folder, "cosy")
    return folder


@pytest.fixture(scope="module")
def images(home, folder):
    """The home and its copy from the same twelve places."""
    rng = np.random.default_rng(0)
    middles = [room.polygon.mean(axis=0) for room in home.rooms]
    poses = np.stack(
        [random_pose(rng, [*middles[k % len(middles)][:1], 1.3, middles[k % len(middles)][1]]) for k in range(12)]
    )
    rasterizer = Rasterizer(96, 96, sensors=("rgb", "depth", "semantic"))
    drawn = []
    for scene in (home, load_scene(folder / "cosy.glb")):
        drawn.append({k: v.copy() for k, v in rasterizer.render([scene], np.zeros(12, int), poses).items()})
    return drawn


def test_the_copy_has_the_same_geometry_and_labels(images):
    ours, copy = images
    assert (np.abs(ours["depth"] - copy["depth"]) < 1e-4).mean() > 0.9995
    assert (ours["semantic"] == copy["semantic"]).mean() > 0.9995


def test_the_copy_looks_the_same(images):
    ours, copy = images
    error = np.abs(ours["rgb"].astype(float) - copy["rgb"]).mean(axis=-1)
    assert np.median(error) < 4
    assert error.mean() < 9
    assert (error > 60).mean() < 2e-3, "texels smear, or pixels outside of a face's texels show"


def test_texels_stand_upright_on_oblique_triangles():
    """Along the sides at a sharp corner they would be long and thin."""
    rng = np.random.default_rng(0)
    triangles = rng.normal(size=(100, 3, 3))
    turned = np.take_along_axis(triangles, _widest_corner_first(triangles), axis=1)
    across, down = turned[:, 1] - turned[:, 0], turned[:, 2] - turned[:, 0]
    cosine = (across * down).sum(axis=1) / np.linalg.norm(across, axis=1) / np.linalg.norm(down, axis=1)
    assert cosine.max() <= 0.5 + 1e-6, "an angle of at least 60 degrees"
    assert np.allclose(np.cross(across, down), np.cross(*np.diff(triangles, axis=1).transpose(1, 0, 2))), "same side up"


def test_objects_survive(home, folder):
    copy = load_scene(folder / "cosy.glb")
    assert [o.name for o in copy.objects] == [o.name for o in home.objects]
    for ours, theirs in zip(home.objects, copy.objects):
        assert np.allclose(ours.aabb[:, 1], theirs.aabb[:, 1], atol=1e-4), ours.name
        assert np.abs(ours.center - theirs.center).max() < 0.15, (
            ours.name
        )  # read boxes are the smallest, ours as placed
        assert theirs.room == ours.room


def test_configs_name_files_that_exist(folder):
    stage = json.loads((folder / "cosy.stage_config.json").read_text())
    for key in ("render_asset", "collision_asset", "semantic_asset", "semantic_descriptor_filename"):
        assert (folder / stage[key]).is_file()
    instance = json.loads((folder / "scenes" / "cosy.scene_instance.json").read_text())
    assert instance["stage_instance"]["template_name"] == "cosy.stage_config.json"
    assert len(instance["stage_instance"]["rotation"]) == 4
    semantics = json.loads((folder / "cosy.semantic_config.json").read_text())
    for key in ("semantic_asset", "semantic_descriptor_filename"):
        assert (folder / semantics[key]).is_file()


def test_semantic_mesh_is_z_up_with_a_colour_per_object(home, folder):
    mesh = trimesh.load(folder / "cosy_semantic.ply", process=False)
    low, high = home.bounds
    assert np.allclose(mesh.bounds, [[low[0], -high[2], low[1]], [high[0], -low[2], high[1]]], atol=1e-5)
    assert len(np.unique(mesh.visual.vertex_colors, axis=0)) == len(home.objects)
    parts = trimesh.graph.connected_component_labels(mesh.edges, node_count=len(mesh.vertices))
    assert parts.max() + 1 == len(home.objects), "habitat-sim boxes the largest connected component of an object"


def test_an_unwritable_folder_is_named(home, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SceneError, match="cannot be written there"):
        export_scene(home, tmp_path / "file" / "below")

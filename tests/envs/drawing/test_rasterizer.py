"""Tests of the rasterizer's camera model, clipping, culling, texture and light against hand-computed geometry."""

import gc
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial import Delaunay

from embodia.envs.drawing.drawable import _laid_out
from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.drawing.scene import LIGHT_ONE
from embodia.tests.envs.homes.boxes import cast_depth, random_pose, scene_of, silhouettes

HERE = np.eye(4)


def wall(distance, half=50.0, **options):
    """A square across the view at z = -distance, facing the camera."""
    corners = np.array([[-half, -half, 0], [half, -half, 0], [half, half, 0], [-half, half, 0]]) - [0, 0, distance]
    return scene_of(trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False), **options)


def draw(scene, pose=HERE, size=(32, 48), **options):
    rasterizer = Rasterizer(*size, sensors=("rgb", "depth", "semantic"), **options)
    return {name: image[0] for name, image in rasterizer.render([scene], np.zeros(1, int), pose[None]).items()}


def cluttered_room(seed, count=40):
    """A closed room with boxes and balls, seen from inside."""
    rng = np.random.default_rng(seed)
    room = trimesh.creation.box((8, 3, 8))
    room.invert()
    things = [room]
    for _ in range(count):
        thing = (
            trimesh.creation.box(rng.uniform(0.1, 1.2, 3)) if rng.random() < 0.5 else trimesh.creation.icosphere(2, 0.4)
        )
        thing.apply_transform(trimesh.transformations.random_rotation_matrix(rng.random(3)))
        thing.apply_translation(rng.uniform([-4, -1.5, -4], [4, 1.5, 4]) * 0.9)
        if np.linalg.norm(thing.bounds.mean(axis=0)) > 1.5:  # keep the middle free for the camera
            things.append(thing)
    return scene_of(trimesh.util.concatenate(things))


def test_a_wall_has_the_same_depth_everywhere():
    """Depth is measured along the optical axis, not along the ray."""
    depth = draw(wall(3.0), hfov=120)["depth"][..., 0]
    assert np.allclose(depth, 3.0, atol=1e-6)


@pytest.mark.parametrize("hfov", [60.0, 79.0, 90.0, 120.0])
def test_horizontal_field_of_view_is_exact_and_pixels_are_square(hfov):
    """A wall as wide as the view fills all columns; its height in pixels then follows from the pixel's size."""
    half = 2.0 * np.tan(np.radians(hfov) / 2)
    seen = draw(wall(2.0, half * (1 + 1e-6)), size=(100, 60), hfov=hfov)["depth"][..., 0] > 0
    assert seen[50].all()
    assert seen[:, 30].sum() == 60
    inside = draw(wall(2.0, half * (1 - 1.1 / 60)), size=(100, 60), hfov=hfov)["depth"][..., 0] > 0
    assert inside[50].sum() == 58


def test_axes_right_up_and_forward():
    """A small square up and to the right of the view is drawn in the upper right quarter."""
    image = draw(scene_of(moved(wall(2.0, 0.3), [1, 0.7, 0])))["depth"][..., 0]
    rows, columns = np.nonzero(image)
    assert rows.max() < 16
    assert columns.min() >= 24


def moved(scene, by):
    return trimesh.Trimesh(scene.vertices + by, scene.faces, process=False)


def test_far_and_near():
    assert (draw(wall(3.0), far=2.9)["depth"] == 0).all()
    assert (draw(wall(3.0), near=3.1)["depth"] == 0).all()
    assert (draw(wall(3.0), near=2.9, far=3.1)["depth"] > 0).all()


def test_surface_through_the_near_plane_is_cut_there():
    """A floor below the camera is visible from the near plane on, with the depths of its plane."""
    floor = trimesh.Trimesh(
        [[-50, -1, -50], [-50, -1, 50], [50, -1, 50], [50, -1, -50]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    depth = draw(scene_of(floor), size=(64, 64), near=0.5)["depth"][..., 0]
    slope = (np.arange(64) + 0.5 - 32) / 32
    expected = np.where(slope > 1 / 50, 1 / np.maximum(slope, 1e-9), 0)
    assert np.allclose(depth, expected[:, None], rtol=1e-5)
    steep = draw(scene_of(floor), size=(64, 64), near=1.5)["depth"][..., 0]
    assert np.allclose(steep, np.where(expected >= 1.5, expected, 0)[:, None], rtol=1e-5)


def test_back_faces_are_seen_only_where_the_surface_has_two_sides():
    behind = trimesh.transformations.rotation_matrix(np.pi, [0, 1, 0])
    behind[2, 3] = -5.0
    assert (draw(wall(3.0), behind)["depth"] == 0).all()
    assert np.allclose(draw(wall(3.0, double_sided=True), behind)["depth"], 2.0, atol=1e-6)


def test_shared_edges_leave_no_hole_and_no_pixel_twice():
    """A wall cut into many slivers covers the same pixels as the whole wall."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-2, 2, (300, 2)), [[-2, -2], [2, -2], [2, 2], [-2, 2]]])
    cut = trimesh.Trimesh(np.column_stack([points, np.full(len(points), -2.0)]), Delaunay(points).simplices)
    depth = draw(scene_of(cut, double_sided=True), size=(200, 200), hfov=89)["depth"]
    assert np.allclose(depth, 2.0, atol=1e-6)


def test_nearest_surface_wins_and_names_itself():
    both = trimesh.util.concatenate([moved(wall(3.0), [0, 0, 0]), moved(wall(2.0, 0.5), [0, 0, 0])])
    image = draw(scene_of(both, semantic_id=[7, 7, 9, 9]))
    near = image["depth"][..., 0] < 2.5
    assert near.sum() == 12 * 12
    assert (image["semantic"][..., 0] == np.where(near, 9, 7)).all()


def test_texture_lies_upright_and_in_perspective():
    """The texture's first row is on top; on a slanted wall its middle stays at the wall's middle."""
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 0], texture[0, 1], texture[1, 0], texture[1, 1] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
    uv = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], np.float32)
    rgb = draw(wall(1.0, 1.0, texture=texture, uv=uv), size=(4, 4))["rgb"]
    assert (rgb[0, 0] == texture[0, 0]).all()
    assert (rgb[0, 3] == texture[0, 1]).all()
    assert (rgb[3, 0] == texture[1, 0]).all()
    slanted = trimesh.Trimesh(
        [[-1, -1, -2], [1, -1, -6], [1, 1, -6], [-1, 1, -2]], [[0, 1, 2], [0, 2, 3]], process=False
    )
    rgb = draw(scene_of(slanted, texture=texture, uv=uv), size=(64, 64))["rgb"][32]
    x = (np.arange(64) + 0.5 - 32) / 32
    across = 4 * x / (1 - 2 * x)  # X = x z on the wall z = 4 + 2 X
    inside = np.abs(across) < 0.97
    assert (rgb[inside, 2] == np.where(across < 0, 255, 0)[inside]).all()


def test_light_is_blended_between_its_texels():
    scene = wall(1.0, 1.0)
    light = np.zeros((2, 2, 3), np.uint8)
    light[:, 1] = LIGHT_ONE
    corner = {(-1, -1): (0.5, 1.5), (1, -1): (1.5, 1.5), (1, 1): (1.5, 0.5), (-1, 1): (0.5, 0.5)}
    light_uv = np.array([[corner[tuple(np.sign(p[:2]).astype(int))] for p in face] for face in scene.triangles])
    rgb = draw(replace(scene, light=light, light_uv=light_uv.astype(np.float32)), size=(64, 64))["rgb"]
    ramp = 255 * (np.arange(64) + 0.5) / 64
    assert np.abs(rgb.astype(float) - ramp[None, :, None]).max() < 4


def test_distant_texture_is_averaged():
    """A fine checkerboard far away appears grey, without noise."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    uv = np.array([[[0, 0], [1, 0], [1, 1]], [[0, 0], [1, 1], [0, 1]]], np.float32) * 40
    rgb = draw(wall(20.0, 20.0, texture=board, uv=uv), size=(64, 64))["rgb"]
    assert rgb.std() < 2
    assert rgb.mean() == pytest.approx(128, abs=2)


def test_many_cameras_in_many_homes_equal_one_by_one():
    rng = np.random.default_rng(1)
    scenes = [cluttered_room(seed, 8) for seed in range(3)]
    index = rng.integers(0, 3, 11)
    poses = np.stack([random_pose(rng, rng.uniform(-0.5, 0.5, 3)) for _ in index])
    together = Rasterizer(24, 32, sensors=("rgb", "depth"), threads=3)
    alone = Rasterizer(24, 32, sensors=("rgb", "depth"))
    images = together.render(scenes, index, poses)
    for k, scene in enumerate(index):
        single = alone.render([scenes[scene]], np.zeros(1, int), poses[k : k + 1])
        assert (single["depth"][0] == images["depth"][k]).all()
        assert (single["rgb"][0] == images["rgb"][k]).all()


def test_arrays_are_reused_by_the_next_call():
    rasterizer = Rasterizer(8, 8, sensors=("depth",))
    first = rasterizer.render([wall(3.0)], np.zeros(2, int), np.stack([HERE, HERE]))["depth"]
    second = rasterizer.render([wall(2.0)], np.zeros(1, int), HERE[None])["depth"]
    assert np.shares_memory(first, second)
    assert first[0, 0, 0] == 2.0


def test_what_is_prepared_for_a_scene_goes_with_it():
    scene = wall(3.0)
    draw(scene)
    assert id(scene) in _laid_out
    gone = id(scene)
    del scene
    gc.collect()
    assert gone not in _laid_out


def test_depth_equals_ray_casting():
    """Compare with Embree in a cluttered room: 99.9 % of the pixels within 1 mm, the others at silhouettes."""
    rng = np.random.default_rng(2)
    close, total = 0, 0
    for seed in range(3):
        scene = cluttered_room(seed)
        for _ in range(3):
            pose = random_pose(rng, rng.uniform(-0.5, 0.5, 3))
            cast = cast_depth(scene, pose, 96, 128, 90)
            drawn = Rasterizer(96, 128).render([scene], np.zeros(1, int), pose[None])["depth"][0, ..., 0]
            wrong = np.abs(drawn - cast) > 1e-3
            assert silhouettes(cast)[wrong].all()
            close, total = close + (~wrong).sum(), total + wrong.size
    assert close / total > 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensors": ("rgb", "lidar")}, "unknown .*lidar"),
        ({"hfov": 180.0}, "180.0 degrees"),
        ({"near": 0.0}, "near 0.0 m"),
    ],
)
def test_impossible_cameras_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Rasterizer(8, 8, **options)


def test_impossible_poses_are_named():
    rasterizer = Rasterizer(8, 8)
    bad = np.stack([HERE, HERE])
    bad[1, 0, 3] = np.nan
    with pytest.raises(ValueError, match="camera 1: its pose has NaN"):
        rasterizer.render([wall(1.0)], np.zeros(2, int), bad)
    with pytest.raises(ValueError, match="names scene 1 of 1"):
        rasterizer.render([wall(1.0)], np.ones(1, int), HERE[None])
    with pytest.raises(ValueError, match=r"expected \(3, 4, 4\)"):
        rasterizer.render([wall(1.0)], np.zeros(3, int), bad)


@pytest.mark.slow
def test_compiles_where_no_cache_can_be_written(tmp_path):
    """Run in a new process with a read-only package and a home folder that does not exist."""
    code = (
        "import numba.core.caching as c\n"
        "def refuse(*a): return None\n"
        "for kind in c.CacheImpl._locator_classes: kind.from_function = classmethod(lambda *a: None)\n"
        "import numpy as np; from embodia.envs.drawing.bvh import build_bvh\n"
        "print(len(build_bvh(np.random.rand(9, 3, 3).astype('f4'))[2]))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "9", answer.stderr

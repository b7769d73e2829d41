"""Whatever a file holds, its reader ends in its own error with the file's name, within seconds.

A hundred inputs of each format in the fast suite, a thousand in the slow one, from fixed seeds.
"""

import gzip
import io
import json
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.engines.engine import EmbodiaEngine
from embodia.envs.homes.episodes.dataset import EpisodeError, read_episodes
from embodia.envs.homes.files.load import load_scene
from embodia.envs.homes.navmesh.navmesh import (
    NavMeshError,
    NavMeshSettings,
    cached_navmesh,
    load_navmesh,
)
from embodia.envs.homes.navmesh.pathfinder import PathFinder
from embodia.envs.homes.tasks.navigation import TASKS
from embodia.envs.homes.walks import WalksError, load_walks
from embodia.tests.envs.homes.fuzz import join_glb, split_glb, spoiled_bytes, spoiled_json

APARTMENT = Path(__file__).parent / "data" / "apartment"
BOMB_SECONDS = 10.0  # of CPU time
COUNTS = [100, pytest.param(1000, marks=pytest.mark.slow)]
SETTINGS = TASKS["PointNav"].navmesh


def survives(count, folder, spoil, read, errors):
    """Spoil and read `count` times; every failure is one of `errors` and names a file of the folder."""
    read_whole = 0
    for seed in range(count):
        spoil(np.random.default_rng(seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read()
            except errors as error:
                unnamed = None if str(folder) in str(error) else error
            else:
                unnamed, read_whole = None, read_whole + 1
        assert unnamed is None, f"seed {seed}"
    assert read_whole < count, "nothing was spoiled"


def textured_box():
    box = trimesh.creation.box((4, 2, 3))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    uv = np.random.default_rng(1).random((len(box.vertices), 2))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    box.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Scene(box)


def coloured_box(path):
    box = trimesh.creation.box((4, 2, 3))
    box.visual.vertex_colors = [9, 80, 200, 255]
    box.export(path)
    return path.read_bytes()


@pytest.fixture
def apartment(tmp_path):
    for file in APARTMENT.glob("apartment*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("part", ["bytes", "header"])
def test_glb(tmp_path, count, part):
    path, whole = tmp_path / "a.glb", textured_box().export(file_type="glb")
    header, rest = split_glb(whole)

    def spoil(rng):
        path.write_bytes(spoiled_bytes(whole, rng) if part == "bytes" else join_glb(spoiled_json(header, rng), rest))

    def read():
        EmbodiaEngine(SETTINGS, navmesh_beside=False).home(str(path))

    survives(count, tmp_path, spoil, read, (SceneError, NavMeshError))


@pytest.mark.parametrize("count", COUNTS)
def test_gltf(tmp_path, count):
    for name, content in textured_box().export(file_type="gltf").items():
        (tmp_path / name).write_bytes(content)
    path = tmp_path / "model.gltf"
    whole = json.loads(path.read_text())
    survives(
        count,
        tmp_path,
        lambda rng: path.write_text(json.dumps(spoiled_json(whole, rng))),
        lambda: load_scene(path),
        SceneError,
    )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("suffix", [".obj", ".ply"])
def test_obj_and_ply(tmp_path, count, suffix):
    path = tmp_path / f"a{suffix}"
    whole = coloured_box(path)
    survives(
        count, tmp_path, lambda rng: path.write_bytes(spoiled_bytes(whole, rng)), lambda: load_scene(path), SceneError
    )


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("file", ["apartment.stage_config.json", "apartment_semantic.txt", "apartment_semantic.ply"])
def test_stage_config_and_annotation(apartment, count, file):
    path, whole = apartment / file, (apartment / file).read_bytes()

    def spoil(rng):
        values = file.endswith(".json") and rng.random() < 0.8
        path.write_bytes(
            json.dumps(spoiled_json(json.loads(whole), rng)).encode() if values else spoiled_bytes(whole, rng)
        )

    survives(count, apartment, spoil, lambda: load_scene(apartment / "apartment.glb"), SceneError)


def data_sets():
    """One small data set of each kind."""
    goal = {"position": [1, 0, 2], "radius": 0.2}
    base = {"episode_id": "7", "scene_id": "a.glb", "start_position": [0, 0, 0], "start_rotation": [0, 0, 0, 1]}
    view = {"agent_state": {"position": [1, 0, 1], "rotation": [0, 0, 0, 1]}, "iou": 0.1}
    thing = {**goal, "object_id": 3, "object_name": "bed_3", "object_category": "bed", "view_points": [view]}
    image = {"position": [1, 1, 1], "rotation": [0, 0, 0, 1], "hfov": 79, "image_dimensions": [8, 9]}
    instance = {**base, "goal_object_id": 3, "goal_image_id": 0, "object_category": "bed"}
    return {
        "points": {"episodes": [{**base, "goals": [goal], "info": {"geodesic_distance": 2.2}}]},
        "objects": {
            "episodes": [{**base, "object_category": "bed"}],
            "goals_by_category": {"a.glb_bed": [thing]},
            "category_to_task_category_id": {"bed": 1},
            "category_to_scene_annotation_category_id": {"bed": 11},
        },
        "instances": {"episodes": [instance], "goals": {"a_3": {**thing, "image_goals": [image]}}},
    }


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", ["points", "objects", "instances"])
def test_episodes(tmp_path, count, kind):
    path, whole = tmp_path / "val.json.gz", data_sets()[kind]
    path.write_bytes(gzip.compress(json.dumps(whole).encode()))
    packed = path.read_bytes()
    assert len(read_episodes(path)) == 1

    def spoil(rng):
        values = rng.random() < 0.7
        path.write_bytes(
            gzip.compress(json.dumps(spoiled_json(whole, rng)).encode()) if values else spoiled_bytes(packed, rng)
        )

    survives(count, tmp_path, spoil, lambda: read_episodes(path), EpisodeError)


def spoil_arrays(data, path, rng):
    """One array of an archive gets other numbers, another shape or type, or goes missing."""
    data = dict(data)
    name = sorted(data)[rng.integers(len(data))]
    array, kind = data[name], rng.integers(6)
    if kind == 0:
        del data[name]
    elif kind == 1 and array.size and array.dtype.kind in "if":
        array = array.copy()
        odd = [-1, 2**31 - 1, -(2**31)] if array.dtype.kind == "i" else [np.nan, np.inf, 1e30, -1e9]
        array.flat[rng.integers(array.size, size=3)] = odd[rng.integers(len(odd))]
        data[name] = array
    elif kind == 2:
        data[name] = array[:-1] if array.ndim else np.array([1, 2])
    elif kind == 3:
        data[name] = array.reshape(-1)
    elif kind == 4:
        data[name] = np.array("x")
    else:
        data[name] = array.astype(np.float16 if array.dtype.kind in "if" else "S3")
    np.savez_compressed(path, **data)


@pytest.mark.parametrize("count", COUNTS)
def test_navmesh(tmp_path, count):
    """What is read without an error can also be walked on."""
    floor, path = trimesh.creation.box(bounds=[(0, -0.2, 0), (4, 0, 3)]), tmp_path / "a.navmesh.npz"
    cached_navmesh(floor.vertices, floor.faces, NavMeshSettings(), path)
    whole = path.read_bytes()
    with np.load(path) as stored:
        arrays = dict(stored)

    def spoil(rng):
        if rng.random() < 0.5:
            path.write_bytes(spoiled_bytes(whole, rng))
        else:
            spoil_arrays(arrays, path, rng)

    def read():
        finder = PathFinder(load_navmesh(path)[0])
        points = [finder.get_random_navigable_point(np.random.default_rng(s)) for s in range(2)]
        finder.geodesic_distance(*points)
        finder.try_step(*points)

    survives(count, tmp_path, spoil, read, NavMeshError)


@pytest.mark.parametrize("count", COUNTS)
def test_walks(tmp_path, count):
    path, t = tmp_path / "walks.npz", 3
    arrays = {
        "rgb": np.zeros((t, 2, 8, 8, 3), np.uint8),
        "room": np.zeros((t, 2), np.int64),
        "objects": np.zeros((t, 2, 6), bool),
        "depth": np.ones((t, 2), np.float32),
        "motion": np.zeros((t, 2, 2), np.float32),
        "first": np.zeros((t, 2), bool),
    }
    np.savez_compressed(path, **arrays)
    whole = path.read_bytes()
    assert load_walks(path).rgb.shape == (t, 2, 8, 8, 3)

    def spoil(rng):
        if rng.random() < 0.5:
            path.write_bytes(spoiled_bytes(whole, rng))
        else:
            spoil_arrays(arrays, path, rng)

    survives(count, tmp_path, spoil, lambda: load_walks(path), WalksError)


def png_header(width, height):
    """A PNG that claims a size, with almost no data."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"]
    body = b"".join(struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return b"\x89PNG\r\n\x1a\n" + body


def with_image(image):
    """The textured box with other bytes for its picture."""
    header, rest = split_glb(textured_box().export(file_type="glb"))
    data = rest[8:]
    view = header["bufferViews"][header["images"][0]["bufferView"]]
    view["byteOffset"], view["byteLength"] = len(data), len(image)
    data += image + b"\0" * (-len(image) % 4)
    header["buffers"][0]["byteLength"] = len(data)
    return join_glb(header, struct.pack("<I", len(data)) + rest[4:8] + data)


def many_nodes(count, chain):
    header, rest = split_glb(textured_box().export(file_type="glb"))
    if chain:
        nodes = [{"children": [k + 1]} for k in range(count)] + [{"mesh": 0}]
    else:
        nodes = [{"children": list(range(1, count + 1))}] + [{"mesh": 0}] * count
    return join_glb({**header, "nodes": nodes, "scenes": [{"nodes": [0]}]}, rest)


def large_accessor():
    header, rest = split_glb(textured_box().export(file_type="glb"))
    for accessor in header["accessors"]:
        accessor["count"] = 10**12
        accessor.pop("bufferView", None)
    return join_glb(header, rest)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (lambda: with_image(png_header(100_000, 100_000)), "image 0 is too large to be decoded"),
        (lambda: many_nodes(300_000, chain=True), r"has 300,001 nodes; at most 30,000 are read"),
        (lambda: many_nodes(300_000, chain=False), r"has 300,001 nodes"),
        (large_accessor, r"would take about [\d,]+ MB"),
        (lambda: b"glTF" + struct.pack("<IIII", 2, 20, 2**31, 0x4E4F534A), "cut short"),
    ],
)
def test_bombs_in_glb(tmp_path, content, match):
    path = tmp_path / "a.glb"
    path.write_bytes(content())
    begun = time.process_time()
    with pytest.raises(SceneError, match=match) as caught:
        load_scene(path)
    assert str(path) in str(caught.value)
    assert time.process_time() - begun < BOMB_SECONDS


def test_a_picture_beside_an_obj_may_be_a_bomb_too(tmp_path):
    coloured_box(tmp_path / "a.obj")
    text = (tmp_path / "a.obj").read_text()
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl m\n" + text)
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd a.png\n")
    (tmp_path / "a.png").write_bytes(png_header(100_000, 100_000))
    with pytest.raises(SceneError, match=r"a\.obj: the image a\.png is too large"):
        load_scene(tmp_path / "a.obj")


def test_a_gzip_of_gigabytes_is_refused(tmp_path):
    path = tmp_path / "val.json.gz"
    block = gzip.compress(b" " * 2**24)
    path.write_bytes(block * 200)  # 3.4 GB in 3 MB
    begun = time.process_time()
    with pytest.raises(EpisodeError, match=r"val\.json\.gz holds more than [\d,]+ MB of text. Split it"):
        read_episodes(path)
    assert time.process_time() - begun < BOMB_SECONDS


def test_deep_json_is_named(tmp_path):
    path = tmp_path / "val.json.gz"
    path.write_bytes(gzip.compress(b'{"episodes": ' + b"[" * 10**6))
    with pytest.raises(EpisodeError, match=r"val\.json\.gz is not a whole gzip JSON file \(RecursionError"):
        read_episodes(path)


def test_a_zip_of_gigabytes_is_refused(tmp_path):
    path = tmp_path / "a.navmesh.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<i8", "fortran_order": False, "shape": (10**12, 3)})
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("corners.npy", head.getvalue() + b"\0" * 2**20)
    with pytest.raises(NavMeshError, match=r"a\.navmesh\.npz is not a navmesh"):
        load_navmesh(path)


@pytest.mark.parametrize(
    ("extension", "says"),
    [
        ("KHR_draco_mesh_compression", "compressed with Draco"),
        ("EXT_meshopt_compression", "compressed with meshopt"),
        ("KHR_texture_basisu", "compressed with KTX2"),
        ("EXT_mesh_gpu_instancing", "requires the glTF extension 'EXT_mesh_gpu_instancing'"),
    ],
)
def test_required_extensions_are_named(tmp_path, extension, says):
    header, rest = split_glb(textured_box().export(file_type="glb"))
    path = tmp_path / "a.glb"
    path.write_bytes(join_glb({**header, "extensionsUsed": [extension], "extensionsRequired": [extension]}, rest))
    with pytest.raises(SceneError, match=says):
        load_scene(path)
    path.write_bytes(join_glb({**header, "extensionsUsed": [extension]}, rest))
    assert len(load_scene(path).faces) == 12, "used, and not required: the file has a fallback"


def test_a_pipe_is_no_file(tmp_path):
    import os

    for name, read, error in (("a.glb", load_scene, SceneError), ("val.json.gz", read_episodes, EpisodeError)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(error, match="is no regular file"):
            read(tmp_path / name)

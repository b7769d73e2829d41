"""Reading scenes: which way is up, annotation, colours, and one clear error for each kind of bad file."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

from embodia.envs.drawing.scene import LIGHT_ONE, SceneError
from embodia.envs.homes.files.load import load_scene
from embodia.envs.homes.files.memory import required_memory

APARTMENT = Path(__file__).parents[1] / "data" / "apartment"


def write_box(path, extents=(1, 2, 3)):
    """A box that is 2 high if y is up and 3 if z is."""
    mesh = trimesh.creation.box(extents)
    mesh.apply_translation([0, 0, 5])
    path.write_bytes(trimesh.Scene(mesh).export(file_type="glb"))
    return path


def extent(scene):
    return np.ptp(scene.bounds, axis=0)


def test_bare_glb_is_y_up_as_gltf_says(tmp_path):
    scene = load_scene(write_box(tmp_path / "a.glb"))
    assert np.allclose(extent(scene), [1, 2, 3])
    assert np.allclose(scene.bounds.mean(axis=0), [0, 0, 5])


@pytest.mark.parametrize("place", ["hm3d/val/00800-X/X.basis.glb", "gibson/X.glb", "mp3d/X/X.glb", "any/X.basis.glb"])
def test_scans_are_z_up_as_their_data_sets_are_on_disk(tmp_path, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    scene = load_scene(write_box(path))
    assert np.allclose(extent(scene), [1, 3, 2])
    assert np.allclose(scene.bounds.mean(axis=0), [0, 5, 0])
    assert np.allclose(extent(load_scene(path, up="y")), [1, 2, 3])


def test_bare_ply_is_z_up_unless_told_otherwise(tmp_path):
    trimesh.creation.box((1, 2, 3)).export(tmp_path / "a.ply")
    assert np.allclose(extent(load_scene(tmp_path / "a.ply")), [1, 3, 2])
    assert np.allclose(extent(load_scene(tmp_path / "a.ply", up="y")), [1, 2, 3])


def test_up_and_stage_config_overrule(tmp_path):
    path = write_box(tmp_path / "a.glb")
    assert np.allclose(extent(load_scene(path, up="z")), [1, 3, 2])
    config = {"render_asset": "a.glb", "up": [0, 1, 0], "front": [0, 0, -1], "scale": [2, 2, 2]}
    (tmp_path / "a.stage_config.json").write_text(json.dumps(config))
    assert np.allclose(extent(load_scene(path)), [2, 4, 6])
    assert np.allclose(extent(load_scene(tmp_path / "a.stage_config.json")), [2, 4, 6])


def test_stage_config_front_turns_the_scene(tmp_path):
    path = write_box(tmp_path / "a.glb")
    (tmp_path / "a.stage_config.json").write_text(json.dumps({"up": [0, 0, 1], "front": [0, 1, 0]}))
    assert np.allclose(load_scene(path).vertices, load_scene(path, up="z").vertices)
    (tmp_path / "a.stage_config.json").write_text(json.dumps({"up": [0, 1, 0], "front": [0, 1, 0]}))
    with pytest.raises(SceneError, match="not orthogonal"):
        load_scene(path)


def test_obj_is_y_up_and_keeps_its_colours(tmp_path):
    mesh = trimesh.creation.box((1, 2, 3))
    mesh.visual.vertex_colors = [255, 0, 127, 255]
    mesh.export(tmp_path / "a.obj")
    scene = load_scene(tmp_path / "a.obj")
    assert np.allclose(extent(scene), [1, 2, 3])
    assert (scene.light.reshape(-1, 3) == np.round(np.array([1, 0, 127 / 255]) * LIGHT_ONE)).all()


def test_front_faces_stay_outside_after_a_mirrored_node(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box((1, 1, 1)), transform=np.diag([-1.0, 1, 1, 1]))
    (tmp_path / "a.glb").write_bytes(scene.export(file_type="glb"))
    loaded = load_scene(tmp_path / "a.glb", up="y")
    assert trimesh.Trimesh(loaded.vertices, loaded.faces).volume == pytest.approx(1.0)


def test_annotation_labels_every_face():
    scene = load_scene(APARTMENT / "apartment.glb")
    assert (np.bincount(scene.semantic_id) == [0] + [12] * 18).all()
    bed = scene.objects[11]
    assert (bed.name, bed.category, bed.room) == ("bed_12", "bed", 0)
    assert np.allclose(bed.aabb, [[0.3, 0, 0.3], [2.2, 0.55, 2.0]], atol=1e-5)


def test_annotation_by_face_ids(tmp_path):
    """A semantic .ply whose faces carry `object_id`, under HM3D's file names."""
    write_box(tmp_path / "a.glb")
    mesh = load_scene(tmp_path / "a.glb", up="z")
    corners = mesh.vertices[:, [0, 2, 1]] * [1, -1, 1]  # back to z-up
    lines = ["ply", "format ascii 1.0", f"element vertex {len(corners)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices", "property int object_id"]
    lines += ["end_header", *(" ".join(map(str, c)) for c in corners)]
    lines += [f"3 {a} {b} {c} {7 if k < 4 else 9}" for k, (a, b, c) in enumerate(mesh.faces)]
    (tmp_path / "a_semantic.ply").write_text("\n".join(lines) + "\n")
    legend = 'HM3D Semantic Annotations\n7,112233,"sofa",0\n9,445566,"bed, small",2\n'
    (tmp_path / "a.semantic.txt").write_text(legend)
    scene = load_scene(tmp_path / "a.glb", up="z")
    assert (np.unique(scene.semantic_id) == [7, 9]).all()
    assert [(o.category, o.room) for o in scene.objects] == [("sofa", 0), ("bed, small", 2)]


def test_annotation_by_the_materials_of_a_mesh(tmp_path):
    """One colour a mesh and no texture, and a legend that begins with a byte order mark."""
    write_box(tmp_path / "a.glb")
    painted = trimesh.Scene(trimesh.creation.box((1, 2, 3)))
    (mesh,) = painted.geometry.values()
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[0x11, 0x22, 0x33, 255])
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.full((8, 2), np.nan), material=material)
    (tmp_path / "a.semantic.glb").write_bytes(painted.export(file_type="glb"))
    (tmp_path / "a.semantic.txt").write_text('HM3D Semantic Annotations\n7,112233,"sofa",0\n', encoding="utf-8-sig")
    assert (load_scene(tmp_path / "a.glb").semantic_id == 7).all()


def refuse(path, match, **options):
    with pytest.raises(SceneError, match=match) as caught:
        load_scene(path, **options)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path):
    refuse(tmp_path / "nowhere.glb", "no such scene file")


def test_foreign_format_is_named(tmp_path):
    (tmp_path / "house.blend").write_bytes(b"BLENDER")
    refuse(tmp_path / "house.blend", r"format '.blend' is not read; use one of .glb")


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "not a binary glTF"), (b"<html>not found</html>", "not a binary glTF"),
     (b"glTF" + struct.pack("<IIII", 2, 9999, 4, 0x4E4F534A) + b"{}  ", "cut short"),
     (b"glTF" + struct.pack("<IIII", 2, 24, 4, 0x4E4F534A) + b"{,} ", "not valid JSON")],
)  # fmt: skip
def test_broken_glb_is_named(tmp_path, content, match):
    (tmp_path / "a.glb").write_bytes(content)
    refuse(tmp_path / "a.glb", match)


def test_truncated_download_is_named(tmp_path):
    path = write_box(tmp_path / "a.glb")
    path.write_bytes(path.read_bytes()[:-100])
    refuse(path, "cut short")


def test_scene_without_faces_is_named(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    refuse(tmp_path / "a.obj", "no faces|cannot be read")


def test_nan_vertices_are_named(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv nan 1 0\nf 1 2 3\n")
    refuse(tmp_path / "a.obj", "1 of 3 vertices are NaN or infinite")


def test_a_face_of_vertex_0_is_named(tmp_path):
    """It would stand for the last vertex."""
    for face in ("f 0 1 2", "f 1 2 0", "f 3/1 0/2 1/3"):
        (tmp_path / "a.obj").write_text(f"v 0 0 0\nv 1 0 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 0 1\n{face}\n")
        refuse(tmp_path / "a.obj", "a face names vertex 0")
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 10 0 0\nv 0 0 10\nf 1 2 3\n")
    assert len(load_scene(tmp_path / "a.obj").faces) == 1


def test_a_ply_that_is_cut_short_is_named(tmp_path):
    """trimesh would return the faces that are there."""
    mesh = trimesh.creation.box((1, 2, 3))
    text = mesh.export(file_type="ply", encoding="ascii")
    text = text if isinstance(text, str) else text.decode()
    (tmp_path / "a.ply").write_text(text)
    assert len(load_scene(tmp_path / "a.ply").faces) == 12
    (tmp_path / "a.ply").write_text("\n".join(text.splitlines()[:-3]))
    refuse(tmp_path / "a.ply", "is cut short, with 17 of the 20 lines that its header announces")


def test_a_stage_config_without_a_scene_file_is_named(tmp_path):
    (tmp_path / "a.stage_config.json").write_text('{"up": [0, 1, 0]}')
    refuse(tmp_path / "a.stage_config.json", 'field "render_asset" is missing')


def test_wrong_annotation_names_file_and_line(tmp_path):
    for file in APARTMENT.glob("apartment*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    legend = tmp_path / "apartment_semantic.txt"
    lines = legend.read_text().splitlines()
    legend.write_text("\n".join([*lines[:3], "three,zzz", *lines[3:]]))
    with pytest.raises(SceneError, match=r"apartment_semantic.txt, line 4: expected id,RRGGBB"):
        load_scene(tmp_path / "apartment.glb")
    legend.write_text("nonsense")
    with pytest.raises(SceneError, match=r"line 1 is not 'HM3D"):
        load_scene(tmp_path / "apartment.glb")
    legend.unlink()
    refuse(tmp_path / "apartment.glb", "names apartment_semantic.txt.*not beside it")


def test_large_scene_is_refused_before_it_is_read(tmp_path):
    """A .glb whose header promises 20 million triangles in 500 MB (a sparse file here)."""
    accessors = [{"count": 60_000_000, "componentType": 5125, "type": "SCALAR"}]
    header = {"asset": {"version": "2.0"}, "accessors": accessors,
              "meshes": [{"primitives": [{"attributes": {}, "indices": 0}]}]}  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    size = 500_000_000
    path = tmp_path / "castle.glb"
    with path.open("wb") as file:
        file.write(b"glTF" + struct.pack("<III", 2, size, len(text)) + b"JSON" + text)
        file.truncate(size)
    assert required_memory(path) > 10e9
    refuse(path, r"would take about [\d,]+ MB \(500 MB on disk\)", memory_limit=8_000_000_000)


def test_memory_limit_is_the_callers_choice():
    refuse(APARTMENT / "apartment.glb", "may be used. Decimate", memory_limit=1000)

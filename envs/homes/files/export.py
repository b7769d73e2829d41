"""Write a home as files habitat-sim loads: mesh with baked colours, HM3D-style annotation, and its configs.

In one folder, for a home called `<name>`:
    <name>.glb                          y-up mesh, one node per object, one picture of texture times light
    <name>_semantic.ply, _semantic.txt  mesh in the objects' colours (z-up, as habitat-sim reads every .ply), and legend
    <name>.stage_config.json            names the three
    <name>.semantic_config.json         names the latter two
    <name>.scene_dataset_config.json    lists the stage, the semantics and the scene of this home, and no other
    scenes/<name>.scene_instance.json   the stage and its semantics, unlit

habitat-sim takes the first handle that contains the name it looks for, so that "home-7" finds "home-7-high" if one data
set holds both: configs name each other by their whole file names, and each home has a data set of its own. It also
reads a scene instance that lies beside a .glb, without the data set that knows the stage, and ends the process: hence
the folder `scenes`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from embodia.envs.drawing.atlas import packed, samples
from embodia.envs.drawing.scene import LIGHT_ONE, Array, Scene, SceneError
from embodia.envs.homes.files.semantics import HEADER

TEXEL = 0.04  # [m] that one texel of the picture covers
MOST = 256  # texels along one side of a face
REDUCED = 4  # textures are averaged over this many texels before they are sampled

Z_UP_FROM_WORLD = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def export_scene(scene: Scene, folder: str | Path, name: str | None = None) -> Path:
    """Write `scene` into `folder` and return the path of its .glb.

    Load it with `load.load_scene(path)`; in habitat-sim with the .glb as `scene_id`, or with
    `<name>.scene_instance.json` as `scene_id` and `<name>.scene_dataset_config.json` as data set. Raises SceneError if
    the folder cannot be written.
    """
    name = name or scene.scene_id.replace("/", "_")
    folder = Path(folder)
    try:
        (folder / "scenes").mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.glb").write_bytes(_glb(scene))
        (folder / f"{name}_semantic.ply").write_bytes(_semantic_ply(scene))
        (folder / f"{name}_semantic.txt").write_text(_legend(scene))
        for file, content in _configs(name).items():
            (folder / file).write_text(json.dumps(content, indent=1))
    except OSError as error:
        raise SceneError(f"{folder}: the home {name!r} cannot be written there ({error}).") from error
    return folder / f"{name}.glb"


def _configs(name: str) -> dict[str, dict[str, Any]]:
    """The config files of a home, by their paths in its folder."""
    stage, semantics = f"{name}.stage_config.json", f"{name}.semantic_config.json"
    instance = f"scenes/{name}.scene_instance.json"
    labels = {
        "semantic_asset": f"{name}_semantic.ply",
        "semantic_up": [0, 1, 0],
        "semantic_front": [0, 0, -1],
        "semantic_descriptor_filename": f"{name}_semantic.txt",
        "has_semantic_textures": False,
    }
    return {
        stage: {
            "render_asset": f"{name}.glb",
            "collision_asset": f"{name}.glb",
            "up": [0, 1, 0],
            "front": [0, 0, -1],
            **labels,
            "origin": [0, 0, 0],
            "scale": [1, 1, 1],
            "gravity": [0, -9.8, 0],
            "units_to_meters": 1.0,
        },
        semantics: labels,
        instance: {
            "stage_instance": {"template_name": stage, "translation": [0, 0, 0], "rotation": [1, 0, 0, 0]},
            "default_lighting": "no_lights",
            "semantic_scene_instance": semantics,
            "object_instances": [],
        },
        f"{name}.scene_dataset_config.json": {
            "stages": {"paths": {".json": [stage]}},
            "scene_instances": {"paths": {".json": [instance]}},
            "semantic_scene_descriptor_instances": {"paths": {".json": [semantics]}},
        },
    }


def _glb(scene: Scene) -> bytes:
    image, uv = _picture(scene)
    material = trimesh.visual.material.PBRMaterial(
        name="home", baseColorTexture=Image.fromarray(image), metallicFactor=0.0, roughnessFactor=1.0
    )
    names = {thing.semantic_id: thing.name for thing in scene.objects}
    out = trimesh.Scene()
    for label in np.unique(scene.semantic_id):
        members = np.flatnonzero(scene.semantic_id == label)
        corners, places = scene.triangles[members], uv[members]
        behind = scene.double_sided[members]  # is written once for each side
        corners = np.concatenate([corners, corners[behind][:, ::-1]]).reshape(-1, 3)
        places = np.concatenate([places, places[behind][:, ::-1]]).reshape(-1, 2)
        mesh = trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), process=False)
        mesh.visual = trimesh.visual.TextureVisuals(uv=places, material=material)
        name = names.get(int(label), f"unlabelled_{label}")
        out.add_geometry(mesh, node_name=name, geom_name=name)
    data: bytes = out.export(file_type="glb")
    return data


def _picture(scene: Scene) -> tuple[Array, Array]:
    """Texture times light of every face on one sheet (h, w, 3) uint8, and the faces' (F, 3, 2) uv on it, v upwards."""
    turn = _widest_corner_first(scene.triangles)
    triangles = np.take_along_axis(scene.triangles.astype(np.float64), turn, axis=1)
    picture_uv, light_uv = (np.take_along_axis(each, turn, axis=1) for each in (scene.uv, scene.light_uv))
    sides = [np.linalg.norm(triangles[:, k] - triangles[:, 0], axis=1) for k in (1, 2)]
    columns, rows = (np.clip(np.ceil(side / TEXEL).astype(int) + 1, 2, MOST) for side in sides)
    width = max(2 * MOST, int(2 ** np.ceil(np.log2(np.sqrt((columns * rows).sum())))))
    left, top, height = packed(columns, rows, width)
    height = int(2 ** np.ceil(np.log2(height)))
    face, across, down = samples(columns, rows)
    share = np.stack([1 - across - down, across, down], axis=1)[..., None]
    colour = _sampled(scene, face, (picture_uv[face] * share).sum(axis=1))
    colour = colour * _lit(scene.light, (light_uv[face] * share).sum(axis=1))
    sheet = np.zeros((height, width, 3), np.uint8)
    row = top[face] + np.round(down * (rows[face] - 1)).astype(int)
    column = left[face] + np.round(across * (columns[face] - 1)).astype(int)
    sheet[row, column] = np.round(colour.clip(0, 255)).astype(np.uint8)
    u = (left[:, None] + np.array([0, 1, 0]) * (columns[:, None] - 1) + 0.5) / width
    v = 1 - (top[:, None] + np.array([0, 0, 1]) * (rows[:, None] - 1) + 0.5) / height
    uv = np.empty((len(triangles), 3, 2))
    np.put_along_axis(uv, turn, np.stack([u, v], axis=-1), axis=1)
    return sheet, uv


def _widest_corner_first(triangles: Array) -> Array:
    """(F, 3, 1) corners of each triangle in turn, the one with the widest angle first.

    Texels lie along the two sides at the first corner. Where these meet at a sharp angle, texels are long and thin.
    """
    opposite = [np.linalg.norm(triangles[:, (k + 1) % 3] - triangles[:, (k + 2) % 3], axis=1) for k in range(3)]
    first = np.argmax(np.round(opposite, 6), axis=0)
    return (first[:, None, None] + np.arange(3)[:, None]) % 3


def _sampled(scene: Scene, face: Array, uv: Array) -> Array:
    """Colours (T, 3) of the reduced textures at uv (T, 2), the nearest texel."""
    colour = np.zeros((len(face), 3))
    which = scene.texture[face]
    for number in np.unique(which):
        image = scene.textures[number].astype(np.float64)
        factor = [REDUCED if side % REDUCED == 0 else 1 for side in image.shape[:2]]
        height, width = image.shape[0] // factor[0], image.shape[1] // factor[1]
        image = image.reshape(height, factor[0], width, factor[1], 3).mean(axis=(1, 3))
        members = which == number
        u, v = uv[members, 0] % 1.0, (1 - uv[members, 1]) % 1.0
        colour[members] = image[(v * height).astype(int) % height, (u * width).astype(int) % width]
    return colour


def _lit(light: Array, place: Array) -> Array:
    """Light factors (T, 3) at (column, row) places, blended between texels."""
    limit = np.array([light.shape[1] - 1, light.shape[0] - 1])
    at = np.clip(place - 0.5, 0, limit)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, limit)
    part = (at - low)[..., None]
    upper = light[low[:, 1], low[:, 0]] * (1 - part[:, 0]) + light[low[:, 1], high[:, 0]] * part[:, 0]
    lower = light[high[:, 1], low[:, 0]] * (1 - part[:, 0]) + light[high[:, 1], high[:, 0]] * part[:, 0]
    return np.asarray((upper * (1 - part[:, 1]) + lower * part[:, 1]) / LIGHT_ONE)


def _colour_of(label: int) -> int:
    """A distinct 0xRRGGBB for each id from 1 on; multiplication by an odd number is one to one."""
    return label * 0x9E3779 % 0x1000000


def _semantic_ply(scene: Scene) -> bytes:
    """Faces in the colours of their objects. Every object is one connected component; see `_joints`."""
    keyed = np.column_stack([np.repeat(scene.semantic_id, 3), scene.triangles.reshape(-1, 3)])
    unique, index = np.unique(keyed, axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    key = np.array([_colour_of(int(label)) for label in unique[:, 0]])
    colours = np.stack([key >> 16, key >> 8 & 255, key & 255, np.full(len(key), 255)], axis=1).astype(np.uint8)
    mesh = trimesh.Trimesh(
        unique[:, 1:] @ Z_UP_FROM_WORLD.T,
        np.concatenate([faces, _joints(unique[:, 0], faces)]),
        vertex_colors=colours,
        process=False,
    )
    data: bytes = mesh.export(file_type="ply", encoding="binary", vertex_normal=False)  # type: ignore[assignment]
    return data


def _joints(label: Array, faces: Array) -> Array:
    """(J, 3) triangles without area between the parts of objects, from labels (V,) and faces (F, 3) of vertices.

    habitat-sim boxes the largest connected component of an object, so a chair would be boxed without its legs.
    """
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(sides), bool), tuple(sides.T)), shape=(len(label), len(label)))
    part = connected_components(graph, directed=False)[1]
    first = np.unique(part, return_index=True)[1]  # a vertex of each part
    _, whole, number = np.unique(label[first], return_index=True, return_inverse=True)
    ends = np.column_stack([first[whole][number], first, first])
    return ends[ends[:, 0] != ends[:, 1]]


def _legend(scene: Scene) -> str:
    lines = [HEADER]
    for thing in sorted(scene.objects, key=lambda thing: thing.semantic_id):
        lines.append(f'{thing.semantic_id},{_colour_of(thing.semantic_id):06X},"{thing.category}",{max(thing.room, 0)}')
    return "\n".join(lines) + "\n"

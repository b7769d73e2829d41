"""HM3D-style semantic annotation: a text file of ids, colours, categories and rooms, and a mesh painted with it.

`<name>.semantic.txt` (or the config's `semantic_descriptor_filename`): one header line, then
`id,hex colour,"category name",region id`. The mesh, .ply or .glb, carries the colours per vertex or in a texture, or
integer object ids per face.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from embodia.envs.drawing.scene import Array, SceneError, SceneObject, oriented_boxes
from embodia.envs.homes.files.fields import Fields, reading
from embodia.envs.homes.files.memory import refuse_if_too_large
from embodia.envs.homes.files.meshes import picture_of, placed_meshes

HEADER = "HM3D Semantic Annotations"
MOST_IDS = 2**24


@dataclass(frozen=True)
class Annotation:
    """Where the labels of a scene are, and how its semantic mesh stands."""

    descriptor: Path
    mesh: Path
    turn: Array  # (3, 3) from the semantic mesh's frame to the world's, scale included

    def label(self, triangles: Array) -> tuple[Array, tuple[SceneObject, ...]]:
        """Semantic id (F,) int32 of each triangle (F, 3, 3), and the objects.

        A triangle takes the label of the semantic triangle whose centre is nearest to its own: exact where both meshes
        are cut alike, as they are in HM3D. Boxes are measured on the semantic mesh and hold all parts of an object;
        habitat-sim boxes its largest connected component only.
        """
        colours, labels = read_descriptor(self.descriptor)
        painted, ids = _painted_triangles(self.mesh, colours)
        painted = painted @ self.turn.T
        nearest = cKDTree(painted.mean(axis=1)).query(triangles.mean(axis=1))[1]
        return ids[nearest].astype(np.int32), oriented_boxes(painted, ids, labels)


def find_annotation(asset: Path, config: Fields, turn: Array, z_up: Array) -> Annotation | None:
    """The annotation named by the stage config, or the one lying beside the file under HM3D's names."""
    stem = asset.name.removesuffix(asset.suffix).removesuffix(".basis")
    names = [config.text("semantic_descriptor_filename"), f"{stem}.semantic.txt", f"{stem}_semantic.txt"]
    meshes = [config.text("semantic_asset"), f"{stem}.semantic.glb", f"{stem}_semantic.ply", f"{stem}.semantic.ply"]
    descriptor = next((asset.parent / name for name in names if name and (asset.parent / name).is_file()), None)
    mesh = next((asset.parent / name for name in meshes if name and (asset.parent / name).is_file()), None)
    if descriptor is None or mesh is None:
        missing = [name for name in (names[0], meshes[0]) if name and not (asset.parent / name).is_file()]
        if missing:
            raise SceneError(f"{asset}: its stage config names {' and '.join(missing)}, which is not beside it.")
        return None
    return Annotation(descriptor, mesh, z_up if mesh.suffix.lower() == ".ply" else turn)


def read_descriptor(path: Path) -> tuple[dict[int, int], dict[int, tuple[str, int]]]:
    """{0xRRGGBB: id} and {id: (category, region)}; raises SceneError naming file and line."""
    with reading(path, "the annotation", SceneError):
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # with or without a byte order mark
    if not lines or lines[0].strip() != HEADER:
        raise SceneError(f"{path}: line 1 is not {HEADER!r}; this is no HM3D semantic annotation.")
    colours, labels = {}, {}
    for number, row in enumerate(csv.reader(lines[1:]), start=2):
        try:
            if row:
                label = int(row[0])
                colours[int(row[1], 16)] = label
                labels[label] = (row[2].strip(), int(row[3]))
            if row and not 0 <= label < MOST_IDS:
                raise ValueError(f"an id lies between 0 and {MOST_IDS}")
        except (ValueError, IndexError) as error:
            raise SceneError(f'{path}, line {number}: expected id,RRGGBB,"category",region, got {row}.') from error
    return colours, labels


def _painted_triangles(path: Path, colours: dict[int, int]) -> tuple[Array, Array]:
    """Corners (F, 3, 3) in the file's frame and semantic ids (F,) of a semantic mesh."""
    refuse_if_too_large(path, None)
    triangles, ids = [], []
    for _, mesh, matrix in placed_meshes(path):
        points = np.asarray(mesh.vertices) @ matrix[:3, :3].T + matrix[:3, 3]
        triangles.append(points[np.asarray(mesh.faces)])
        ids.append(_face_ids(mesh, colours))
    if not triangles:
        raise SceneError(f"{path}: the semantic mesh has no faces.")
    corners = np.concatenate(triangles)
    if not np.isfinite(corners).all():
        raise SceneError(f"{path}: the semantic mesh has vertices that are NaN or infinite.")
    # Exports join the parts of an object by triangles of two corners, which label nothing.
    real = ~(corners == np.roll(corners, 1, axis=1)).all(axis=2).any(axis=1)
    return (corners[real], np.concatenate(ids)[real]) if real.any() else (corners, np.concatenate(ids))


def _face_ids(mesh: Any, colours: dict[int, int]) -> Array:
    """(F,) semantic ids: an integer property of the faces, or the colour at each face's middle."""
    properties = mesh.metadata.get("_ply_raw", {}).get("face", {}).get("data")
    for key in ("object_id", "objectId", "semantic_id"):
        named = properties if isinstance(properties, dict) else getattr(properties, "dtype", np.dtype(int)).names or ()
        if key in named:
            ids = np.asarray(properties[key]).ravel().astype(np.int64)
            if ids.min() < 0 or ids.max() >= MOST_IDS or len(ids) != len(mesh.faces):
                raise ValueError(f"{key} of its faces must lie between 0 and {MOST_IDS}, one for each face")
            return ids
    visual = mesh.visual
    texture = picture_of(visual) if visual.kind == "texture" else None
    if texture is not None and visual.uv is not None:
        image = np.asarray(texture.convert("RGB"))
        uv = np.nan_to_num(np.asarray(visual.uv)[mesh.faces].mean(axis=1) % 1.0)
        height, width = image.shape[:2]
        rows = ((1 - uv[:, 1]) * height).astype(int).clip(0, height - 1)
        rgb = image[rows, (uv[:, 0] * width).astype(int).clip(0, width - 1)].astype(np.int64)
    elif visual.kind == "texture":  # one colour for the whole mesh
        rgb = np.tile(np.asarray(visual.material.main_color)[:3].astype(np.int64), (len(mesh.faces), 1))
    elif visual.kind == "vertex":
        rgb = np.asarray(visual.vertex_colors)[mesh.faces[:, 0], :3].astype(np.int64)
    else:
        rgb = np.asarray(visual.face_colors)[:, :3].astype(np.int64)
    keys = rgb[:, 0] << 16 | rgb[:, 1] << 8 | rgb[:, 2]
    unique, which = np.unique(keys, return_inverse=True)
    return np.array([colours.get(int(key), 0) for key in unique])[which.ravel()]

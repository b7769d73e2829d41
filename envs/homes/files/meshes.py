"""The meshes of a file as trimesh reads them, checked before anything indexes them."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.files.fields import reading

Array = NDArray[Any]


VERTEX_0 = re.compile(rb"^f\s(?:[^\n]*\s)?0(?:[/\s]|$)", re.MULTILINE)
PLY_ELEMENT = re.compile(rb"^element\s+\S+\s+(\d+)", re.MULTILINE)


def picture_of(visual: Any) -> Any:
    """The texture of a mesh's material, a PIL image; None if it has none."""
    return getattr(visual.material, "baseColorTexture", None) or getattr(visual.material, "image", None)


def placed_meshes(path: Path) -> Iterator[tuple[str, trimesh.Trimesh, Array]]:
    """Name, mesh and placement (4, 4) of every mesh with faces. Raises SceneError."""
    with warnings.catch_warnings(), reading(path, f"the {path.suffix} file", SceneError):
        warnings.simplefilter("ignore")
        _check_text(path)
        loaded = trimesh.load_scene(path, process=False, maintain_order=True)
        placed = [loaded.graph.get(node) for node in loaded.graph.nodes_geometry]
        meshes = [(str(name), loaded.geometry[name], matrix) for matrix, name in placed]
    for name, mesh, matrix in meshes:
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            _check(path, name, mesh)
            yield name, mesh, matrix


def _check_text(path: Path) -> None:
    """Raise SceneError for faults of text files that trimesh reads as another mesh."""
    kind = path.suffix.lower()
    if kind == ".obj" and VERTEX_0.search(path.read_bytes()):
        raise SceneError(f"{path}: a face names vertex 0, but .obj files count vertices from 1.")
    if kind == ".ply" and _is_ascii(path):
        header, _, body = path.read_bytes().partition(b"end_header")
        promised = sum(map(int, PLY_ELEMENT.findall(header)))
        lines = sum(1 for line in body.splitlines() if line.strip())
        if lines < promised:
            raise SceneError(f"{path}: is cut short, with {lines} of the {promised} lines that its header announces.")


def _is_ascii(path: Path) -> bool:
    with path.open("rb") as file:
        return b"format ascii" in file.read(200)


def _check(path: Path, name: str, mesh: trimesh.Trimesh) -> None:
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise SceneError(
            f"{path}: mesh {name!r} has vertices {vertices.shape} and faces {faces.shape}; needs (V, 3) and (F, 3)."
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        wrong = faces.min() if faces.min() < 0 else faces.max()
        raise SceneError(f"{path}: a face of mesh {name!r} names vertex {wrong} of {len(vertices)}.")

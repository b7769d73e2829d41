"""The meshes of a file as trimesh reads them, checked before anything indexes them."""

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


def placed_meshes(path: Path) -> Iterator[tuple[str, trimesh.Trimesh, Array]]:
    """Name, mesh and placement (4, 4) of every mesh with faces. Raises SceneError."""
    with warnings.catch_warnings(), reading(path, f"the {path.suffix} file", SceneError):
        warnings.simplefilter("ignore")
        loaded = trimesh.load_scene(path, process=False, maintain_order=True)
        placed = [loaded.graph.get(node) for node in loaded.graph.nodes_geometry]
        meshes = [(str(name), loaded.geometry[name], matrix) for matrix, name in placed]
    for name, mesh, matrix in meshes:
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            _check(path, name, mesh)
            yield name, mesh, matrix


def _check(path: Path, name: str, mesh: trimesh.Trimesh) -> None:
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise SceneError(
            f"{path}: mesh {name!r} has vertices {vertices.shape} and faces {faces.shape}; needs (V, 3) and (F, 3)."
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        wrong = faces.min() if faces.min() < 0 else faces.max()
        raise SceneError(f"{path}: a face of mesh {name!r} names vertex {wrong} of {len(vertices)}.")

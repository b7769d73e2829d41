"""Read a navmesh that habitat-sim saved (`.navmesh`): Detour's tile with its polygons, details and index.

The file is a header, habitat-sim's settings, and one tile laid out as in Detour's `dtNavMesh::addTile`, all of it
little-endian. Source: `PathFinder::saveNavMesh` of habitat-sim, Detour `DetourNavMesh.h`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.homes.navmesh.navmesh import Index, NavMesh, NavMeshError, Surface, check_surface, connect
from embodia.envs.homes.navmesh.polygons import MOST_CORNERS

Array = NDArray[Any]

FILE_MAGIC, TILE_MAGIC = int.from_bytes(b"TESM", "little"), int.from_bytes(b"VAND", "little")
FILE_VERSION, TILE_VERSION = 2, 7
SETTINGS_BYTES = 56  # 13 numbers and 4 flags, of which nothing is needed here

FILE_HEADER = np.dtype([("magic", "<i4"), ("version", "<i4"), ("tiles", "<i4"), ("grid", "<f4", 5), ("most", "<i4", 2)])
TILE = np.dtype([("reference", "<u4"), ("bytes", "<i4")])
TILE_HEADER = np.dtype(
    [
        *((name, "<i4") for name in ("magic", "version", "x", "y", "layer", "user")),
        *((name, "<i4") for name in ("polygons", "vertices", "links", "details", "points", "triangles", "nodes")),
        *((name, "<i4") for name in ("jumps", "first_jump")),
        *((name, "<f4") for name in ("height", "radius", "climb")),
        ("low", "<f4", 3),
        ("high", "<f4", 3),
        ("cells_per_metre", "<f4"),
    ]
)
VERTEX = np.dtype(("<f4", 3))
POLYGON = np.dtype(
    [
        ("link", "<u4"),
        ("corners", "<u2", MOST_CORNERS),
        ("neighbours", "<u2", MOST_CORNERS),  # counted from 1; 0 = a wall
        ("flags", "<u2"),
        ("sides", "u1"),
        ("kind", "u1"),
    ]
)
LINK = np.dtype("V12")  # links are made anew from neighbours
DETAIL = np.dtype(
    [("first_point", "<u4"), ("first_triangle", "<u4"), ("points", "u1"), ("triangles", "u1"), ("", "<u2")]
)
TRIANGLE = np.dtype(("u1", 4))  # three corners, and two bits of flags for each edge
NODE = np.dtype([("low", "<u2", 3), ("high", "<u2", 3), ("polygon", "<i4")])
PARTS = {
    "vertices": VERTEX,
    "polygons": POLYGON,
    "links": LINK,
    "details": DETAIL,
    "points": VERTEX,
    "triangles": TRIANGLE,
    "nodes": NODE,
}
"""Of a tile, in its order."""


def read_detour(path: Path) -> NavMesh:
    """Return the navmesh in a file. Raises NavMeshError that names the file."""
    try:
        return _navmesh(path.read_bytes())
    except (OSError, ValueError, IndexError) as error:
        raise NavMeshError(f"{path} is not a navmesh of one tile as habitat-sim saves it ({error}).") from error


def _navmesh(data: bytes) -> NavMesh:
    file, header = _headers(data)
    if (file["magic"], file["version"], file["tiles"]) != (FILE_MAGIC, FILE_VERSION, 1):
        raise ValueError("its header is another one")
    if (header["magic"], header["version"], header["jumps"]) != (TILE_MAGIC, TILE_VERSION, 0):
        raise ValueError("its tile has another version or jumps")
    at, parts = FILE_HEADER.itemsize + SETTINGS_BYTES + TILE.itemsize + TILE_HEADER.itemsize, {}
    for name, kind in PARTS.items():
        parts[name] = np.frombuffer(data, kind, int(header[name]), at)
        at += parts[name].nbytes
    return _connected(header, parts)


def _headers(data: bytes) -> tuple[Any, Any]:
    """The header of the file and that of its tile."""
    file = np.frombuffer(data, FILE_HEADER, 1)[0]
    return file, np.frombuffer(data, TILE_HEADER, 1, FILE_HEADER.itemsize + SETTINGS_BYTES + TILE.itemsize)[0]


def _connected(header: Any, parts: dict[str, Array]) -> NavMesh:
    vertices, polygons, details = parts["vertices"], parts["polygons"], parts["details"]
    points, triangles, nodes = parts["points"], parts["triangles"], parts["nodes"]
    unused = np.arange(MOST_CORNERS) >= polygons["sides"][:, None]
    corners = np.where(unused, -1, polygons["corners"].astype(np.int64))
    beyond = np.where(unused, -1, polygons["neighbours"].astype(np.int64) - 1)
    border = (triangles[:, 3:].astype(np.int64) >> np.array([0, 2, 4]) & 1) << np.arange(3)
    surface = Surface(
        corners=np.zeros((len(vertices), 3), np.int64),  # cells, which a file does not have
        polygons=corners,
        points=points,
        first_point=np.append(details["first_point"], len(points)).astype(np.int64),
        triangles=np.column_stack([triangles[:, :3].astype(np.int64), border.sum(axis=1)]),
        first_triangle=np.append(details["first_triangle"], len(triangles)).astype(np.int64),
        bounds=np.array([header["low"], header["high"]]),
    )
    check_surface(surface)
    if beyond.max() >= len(polygons) or not np.isfinite(vertices).all() or len(nodes) != 2 * len(polygons):
        raise ValueError("its polygons, neighbours and index do not belong together")
    tree = np.column_stack([nodes["low"], nodes["high"], nodes["polygon"]]).astype(np.int64)
    _check_tree(tree, len(polygons))
    index = Index(tree, surface.bounds, header["cells_per_metre"])
    return connect(surface, vertices.copy(), points, beyond, index, header["climb"])


def _check_tree(tree: Array, polygons: int) -> None:
    """Kernels follow the tree without looking. Raises ValueError for a node that leads out of it."""
    steps = -tree[:, 6]
    inner = steps > 0
    if tree[:, 6].max() >= polygons or (np.flatnonzero(inner) + steps[inner] > len(tree)).any():
        raise ValueError("its index leads out of the file")

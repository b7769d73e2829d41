"""The surface a body can walk on, as triangles: built from a scene's mesh by Recast's steps, kept beside the scene.

Defaults and steps are habitat-sim's (`PathFinder::build`). Positions are metres in Habitat's frame; the surface
floats up to one `cell_height` above the real floor, exactly as habitat-sim's does.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.navmesh.contours import contours, triangulate
from embodia.envs.homes.navmesh.heightfield import (
    OpenCells,
    allow_low_obstacles,
    erode,
    open_cells,
    remove_ledges,
    remove_low_ceilings,
    voxelise,
)
from embodia.envs.homes.navmesh.regions import merge_regions, watershed

Array = NDArray[Any]

GRID_CELL = 0.5  # [m], of the index that finds triangles by place
MAX_CELLS = 200_000_000  # columns of the heightfield; 10 km2 at the default cell size is a mistake in units


class NavMeshError(ValueError):
    """No walkable surface, or a file that is not one; the message names the scene or file and what to do."""


@dataclass(frozen=True)
class NavMeshSettings:
    """habitat-sim's NavMeshSettings: lengths in metres, slope in degrees, sizes and errors in cells."""

    cell_size: float = 0.05
    cell_height: float = 0.2
    agent_height: float = 1.5
    agent_radius: float = 0.1
    agent_max_climb: float = 0.2
    agent_max_slope: float = 45.0
    region_min_size: float = 20.0
    region_merge_size: float = 20.0
    edge_max_len: float = 12.0
    edge_max_error: float = 1.3
    filter_low_hanging_obstacles: bool = True
    filter_ledge_spans: bool = True
    filter_walkable_low_height_spans: bool = True

    def __post_init__(self) -> None:
        for name in ("cell_size", "cell_height", "agent_height"):
            if not getattr(self, name) > 0:
                raise NavMeshError(f"NavMeshSettings.{name} is {getattr(self, name)}; it must be positive [m].")
        for name in ("agent_radius", "agent_max_climb", "agent_max_slope", "edge_max_error"):
            if not getattr(self, name) >= 0:
                raise NavMeshError(f"NavMeshSettings.{name} is {getattr(self, name)}; it must not be negative.")

    @property
    def body_cells(self) -> int:
        return int(np.ceil(np.float32(self.agent_height) / np.float32(self.cell_height)))

    @property
    def climb_cells(self) -> int:
        return int(np.floor(np.float32(self.agent_max_climb) / np.float32(self.cell_height)))

    @property
    def radius_cells(self) -> int:
        return int(np.ceil(np.float32(self.agent_radius) / np.float32(self.cell_size)))


class NavMesh(NamedTuple):
    """Triangles of the walkable surface, all turning the same way in the (x, z) plane, and an index by place."""

    vertices: Array  # (V, 3) float64 [m]
    triangles: Array  # (T, 3) int64
    neighbours: Array  # (T, 3) int64, beyond the edge from corner k to k + 1; -1 = a wall
    island: Array  # (T,) int64, islands by falling area
    bounds: Array  # (2, 3) float64 [m], of the scene
    climb: float  # [m]
    grid: Array  # (4,) float64: x0, z0 [m], rows, columns of the index
    grid_first: Array  # (rows * columns + 1,) int64
    grid_triangles: Array  # int64


def build_navmesh(
    vertices: ArrayLike, faces: ArrayLike, settings: NavMeshSettings | None = None, name: str = "scene"
) -> NavMesh:
    """The walkable surface of a mesh: vertices (V, 3) [m] y-up, faces (F, 3), counter-clockwise seen from outside.

    Raises NavMeshError for NaN vertices, faces out of range, or a mesh without walkable floor; `name` is what the
    message calls it.
    """
    settings = settings or NavMeshSettings()
    points, triangles = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    _check(points, triangles, name)
    used = points[np.unique(triangles)]
    low, high = used.min(axis=0), used.max(axis=0)
    cells = _walkable_cells(points, triangles, low, high, settings, name)
    region = merge_regions(
        watershed(cells), cells, int(settings.region_min_size**2), int(settings.region_merge_size**2)
    )
    outlines = contours(cells, region, settings.edge_max_error, int(settings.edge_max_len / settings.cell_size))
    corners, mesh = triangulate(*outlines)
    if not len(mesh):
        raise NavMeshError(_nowhere_to_walk(name, settings))
    scale = np.array([settings.cell_size, settings.cell_height, settings.cell_size])
    floor = (low + (corners * scale).astype(np.float32)).astype(np.float64)
    return from_triangles(floor, mesh, np.array([low, high]), settings.agent_max_climb)


def _check(points: Array, triangles: Array, name: str) -> None:
    if points.ndim != 2 or points.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise NavMeshError(f"{name}: need vertices (V, 3) and faces (F, 3), got {points.shape} and {triangles.shape}.")
    if not len(triangles):
        raise NavMeshError(f"{name} has no faces, so there is nothing to walk on.")
    if triangles.min() < 0 or triangles.max() >= len(points):
        raise NavMeshError(f"{name}: a face names vertex {triangles.max()} of {len(points)}.")
    if not np.isfinite(points[triangles]).all():
        raise NavMeshError(f"{name}: its faces use vertices that are NaN or infinite. Repair the mesh first.")


def _walkable_cells(
    points: Array, triangles: Array, low: Array, high: Array, settings: NavMeshSettings, name: str
) -> OpenCells:
    size, height = np.float32(settings.cell_size), np.float32(settings.cell_height)
    shape = (int((high[2] - low[2]) / size + 0.5), int((high[0] - low[0]) / size + 0.5))
    if min(shape) < 1 or shape[0] * shape[1] > MAX_CELLS:
        raise NavMeshError(
            f"{name} measures {high[0] - low[0]:.1f} x {high[2] - low[2]:.1f} m, {shape[0]} x {shape[1]} cells of "
            f"{settings.cell_size} m: check its unit and which axis points up, or set another cell_size."
        )
    steepest = np.cos(np.deg2rad(settings.agent_max_slope))
    spans = voxelise(points, triangles, low, shape, high[1] - low[1], size, height, steepest, settings.climb_cells)
    if settings.filter_low_hanging_obstacles:
        allow_low_obstacles(spans, settings.climb_cells)
    if settings.filter_ledge_spans:
        remove_ledges(spans, settings.body_cells, settings.climb_cells)
    if settings.filter_walkable_low_height_spans:
        remove_low_ceilings(spans, settings.body_cells)
    cells = open_cells(spans, settings.body_cells, settings.climb_cells)
    erode(cells, settings.radius_cells)
    if not cells.walkable.any():
        raise NavMeshError(_nowhere_to_walk(name, settings))
    return cells


def _nowhere_to_walk(name: str, settings: NavMeshSettings) -> str:
    return (
        f"{name} has no floor that a body of radius {settings.agent_radius} m and height {settings.agent_height} m "
        "can stand on. Check that +y points up, that the unit is metres and that floors face upwards (their corners "
        "counter-clockwise seen from above), or use a smaller body."
    )


def from_triangles(vertices: Array, triangles: Array, bounds: Array, climb: float) -> NavMesh:
    """Neighbours, islands and index of a surface given as triangles that share vertices."""
    neighbours = _neighbours(triangles)
    island = _islands(vertices, triangles, neighbours)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    columns, rows = (int((high[k] - low[k]) / GRID_CELL) + 1 for k in (0, 2))
    first, members = _index(vertices[triangles][:, :, [0, 2]], low[[0, 2]], rows, columns)
    grid = np.array([low[0], low[2], rows, columns], np.float64)
    return NavMesh(
        np.ascontiguousarray(vertices, np.float64),
        np.ascontiguousarray(triangles, np.int64),
        neighbours,
        island,
        np.asarray(bounds, np.float64),
        float(climb),
        grid,
        first,
        members,
    )


def _neighbours(triangles: Array) -> Array:
    """(T, 3) the triangle on the other side of each edge; where more than two share one, it is a wall to the rest."""
    neighbours = np.full((len(triangles), 3), -1, np.int64)
    open_edges: dict[tuple[int, int], tuple[int, int]] = {}
    for t, corners in enumerate(triangles.tolist()):
        for k in range(3):
            edge = (corners[k], corners[(k + 1) % 3])
            other = open_edges.pop(edge[::-1], None)
            if other is None:
                open_edges[edge] = (t, k)
            else:
                neighbours[t, k] = other[0]
                neighbours[other] = t
    return neighbours


def _islands(vertices: Array, triangles: Array, neighbours: Array) -> Array:
    """(T,) number of each triangle's connected component, the largest area first."""
    island = np.full(len(triangles), -1, np.int64)
    count = 0
    for start in range(len(triangles)):
        if island[start] != -1:
            continue
        island[start], stack = count, [start]
        while stack:
            for t in neighbours[stack.pop()]:
                if t != -1 and island[t] == -1:
                    island[t] = count
                    stack.append(int(t))
        count += 1
    areas = np.bincount(island, triangle_areas(vertices, triangles), minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.argsort(-areas, kind="stable")] = np.arange(count)
    return rank[island]


def triangle_areas(vertices: Array, triangles: Array) -> Array:
    """(T,) [m2]."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _index(plan: Array, origin: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """Triangles (T, 3, 2) by the grid cells that their boxes touch."""
    low = ((plan.min(axis=1) - origin) / GRID_CELL).astype(int)
    high = ((plan.max(axis=1) - origin) / GRID_CELL).astype(int)
    cells = [
        (z * columns + x, t)
        for t in range(len(plan))
        for z in range(low[t, 1], high[t, 1] + 1)
        for x in range(low[t, 0], high[t, 0] + 1)
    ]
    keys, members = np.array(sorted(cells), np.int64).T
    first = np.searchsorted(keys, np.arange(rows * columns + 1)).astype(np.int64)
    return first, np.ascontiguousarray(members)


def mesh_hash(vertices: ArrayLike, faces: ArrayLike) -> str:
    """What a stored navmesh must have been made from to be used again."""
    digest = hashlib.sha256(np.ascontiguousarray(vertices, np.float32).tobytes())
    digest.update(np.ascontiguousarray(faces, np.int64).tobytes())
    return digest.hexdigest()


def save_navmesh(path: Path, mesh: NavMesh, settings: NavMeshSettings, source: str) -> None:
    """Write a navmesh with its settings and the hash of the mesh it was made from."""
    stored = {"settings": np.array([float(v) for v in asdict(settings).values()]), "source": np.array(source)}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as file:
        np.savez_compressed(
            file,
            vertices=mesh.vertices,
            triangles=mesh.triangles,
            bounds=mesh.bounds,
            climb=np.array(mesh.climb),
            **stored,  # type: ignore[arg-type]
        )
    aside.replace(path)


def load_navmesh(path: Path) -> tuple[NavMesh, NavMeshSettings, str]:
    """A stored navmesh, its settings and the hash of the mesh it was made from. Raises NavMeshError."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            data = {name: stored[name] for name in stored.files}
        mesh = from_triangles(data["vertices"], data["triangles"], data["bounds"], float(data["climb"]))
        defaults = asdict(NavMeshSettings())
        values = {name: type(defaults[name])(v) for name, v in zip(defaults, data["settings"], strict=True)}
        settings = NavMeshSettings(**values)
        return mesh, settings, str(data["source"])
    except FileNotFoundError:
        raise NavMeshError(f"No navmesh at {path}.") from None
    except Exception as error:
        raise NavMeshError(
            f"{path} is not a navmesh of this project ({error}). Delete it to have it rebuilt."
        ) from None


def cached_navmesh(
    vertices: ArrayLike, faces: ArrayLike, settings: NavMeshSettings, path: Path | None, name: str = "scene"
) -> NavMesh:
    """The navmesh stored at `path` if it was made from this mesh with these settings, else a new one, stored there.

    A folder that cannot be written to is no error: the mesh is built again next time.
    """
    source = mesh_hash(vertices, faces)
    if path is not None and path.exists():
        try:
            mesh, stored_settings, stored_source = load_navmesh(path)
            if (stored_settings, stored_source) == (settings, source):
                return mesh
        except NavMeshError:
            pass  # torn or foreign: rebuilt below
    mesh = build_navmesh(vertices, faces, settings, name)
    if path is not None:
        try:
            save_navmesh(path, mesh, settings, source)
        except OSError:
            return mesh
    return mesh

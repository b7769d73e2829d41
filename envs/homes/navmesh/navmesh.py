"""The surface a body can walk on: convex polygons built from a scene's mesh by Recast's steps, kept beside the scene.

Defaults and steps are those of habitat-sim 0.3.3 (`PathFinder::build`; Recast of March 2021), and so are the results,
to the last bit of float32. Positions are metres in Habitat's frame; the surface floats up to one `cell_height` above
the real floor, as habitat-sim's does.
"""

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.files.arrays import read_arrays
from embodia.envs.homes.files.free_memory import available_memory
from embodia.envs.homes.navmesh.contours import outlines
from embodia.envs.homes.navmesh.detail import detail_mesh
from embodia.envs.homes.navmesh.heightfield import (
    OpenCells,
    allow_low_obstacles,
    erode,
    open_cells,
    remove_ledges,
    remove_low_ceilings,
    voxelise,
)
from embodia.envs.homes.navmesh.polygons import MOST_CORNERS, convex_polygons, neighbours
from embodia.envs.homes.navmesh.regions import merge_regions, watershed
from embodia.envs.homes.navmesh.single import ONE, single
from embodia.envs.homes.navmesh.tree import build_tree

Array = NDArray[Any]

NO_AREA = 1e-5  # [m2], as in habitat-sim: smaller polygons are not walkable
BORDER, INNER, TWIN = 0, 1, 2
"""Edges of a triangle: on its polygon's border, inside it, or inside it and looked at from the other triangle."""

BYTES_PER_CELL = 40  # memory of one column of the heightfield and its derived data
FURTHEST = 1e8  # of any number in a stored navmesh
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
    detail_sample_dist: float = 6.0
    detail_sample_max_error: float = 1.0
    filter_low_hanging_obstacles: bool = True
    filter_ledge_spans: bool = True
    filter_walkable_low_height_spans: bool = True
    filter_exact_height_spans: bool = True  # floor with just the body's height above it; kept by habitat-sim 0.3.4

    def __post_init__(self) -> None:
        for name in ("cell_size", "cell_height", "agent_height"):
            if not getattr(self, name) > 0:
                raise NavMeshError(f"NavMeshSettings.{name} is {getattr(self, name)}; it must be positive [m].")
        for name in ("agent_radius", "agent_max_climb", "agent_max_slope", "edge_max_error", "detail_sample_max_error"):
            if not getattr(self, name) >= 0:
                raise NavMeshError(f"NavMeshSettings.{name} is {getattr(self, name)}; it must not be negative.")
        if not self.detail_sample_dist >= 0.9:
            raise NavMeshError(
                f"NavMeshSettings.detail_sample_dist is {self.detail_sample_dist}; the least is 0.9 cells."
            )

    @property
    def body_cells(self) -> int:
        return int(np.ceil(single(self.agent_height) / single(self.cell_height)))

    @property
    def climb_cells(self) -> int:
        return int(np.floor(single(self.agent_max_climb) / single(self.cell_height)))

    @property
    def radius_cells(self) -> int:
        return int(np.ceil(single(self.agent_radius) / single(self.cell_size)))


class Floor(NamedTuple):
    """What the kernels read of a navmesh: its polygons, the triangles that give their heights, an index by place."""

    rings: Array  # (P, 7, 3) float32 [m] corners of each polygon, the first again behind the last
    sides: Array  # (P,) int64 how many it has
    boxes: Array  # (P, 4) float32 [m] its least x and z, greatest x and z
    neighbours: Array  # (P, 6) int64 polygon beyond the edge from each corner to the next; -1 = a wall
    island: Array  # (P,) int64, islands by falling area; -1 = too small to walk on
    triangles: Array  # (T, 3, 3) float32 [m] corners
    edges: Array  # (T, 3) int64 BORDER, INNER or TWIN: the edge from each corner to the next
    first_triangle: Array  # (P + 1,) int64
    tree: Array  # (2 P, 7) int64, see `tree`
    tile: Array  # (2, 3) float32 [m], the box that polygons are searched in
    cells_per_metre: float  # of the tree, float32
    climb: float  # [m] float32


class NavMesh(NamedTuple):
    """The walkable surface of a scene."""

    vertices: Array  # (V, 3) float32 [m]
    polygons: Array  # (P, 6) int64 vertices of each, -1 beyond the last
    areas: Array  # (T,) float64 [m2] of the floor's triangles
    bounds: Array  # (2, 3) float32 [m], of the scene
    floor: Floor


class Surface(NamedTuple):
    """What a navmesh is made from and kept as: polygons and details in cells of a grid."""

    corners: Array  # (V, 3) int64 cells
    polygons: Array  # (P, 6) int64
    points: Array  # (D, 3) float32 [m] from the lowest corner
    first_point: Array  # (P + 1,) int64
    triangles: Array  # (T, 4) int64
    first_triangle: Array  # (P + 1,) int64
    bounds: Array  # (2, 3) float32 [m]


class Index(NamedTuple):
    """Where the polygons of a navmesh are; see `tree`."""

    tree: Array  # (2 P, 7) int64
    tile: Array  # (2, 3) float32 [m], the box that polygons are searched in
    cells_per_metre: float  # of the tree, float32


def build_navmesh(
    vertices: ArrayLike, faces: ArrayLike, settings: NavMeshSettings | None = None, name: str = "scene"
) -> NavMesh:
    """The walkable surface of a mesh: vertices (V, 3) [m] y-up, faces (F, 3), counter-clockwise seen from outside.

    Raises NavMeshError for NaN vertices, faces out of range, or a mesh without walkable floor; `name` is what the
    message calls it.
    """
    settings = settings or NavMeshSettings()
    return assemble(walkable_surface(vertices, faces, settings, name), settings)


def walkable_surface(vertices: ArrayLike, faces: ArrayLike, settings: NavMeshSettings, name: str = "scene") -> Surface:
    """Recast's part of `build_navmesh`."""
    points, triangles = np.asarray(vertices, np.float32), np.asarray(faces, np.int64)
    _check(points, triangles, name)
    finite = points[np.isfinite(points).all(axis=1)]
    low, high = finite.min(axis=0), finite.max(axis=0)
    cells = _walkable_cells(points, triangles, low, high, settings, name)
    region = merge_regions(
        watershed(cells), cells, int(settings.region_min_size**2), int(settings.region_merge_size**2)
    )
    size, height = single(settings.cell_size), single(settings.cell_height)
    longest = int(single(settings.edge_max_len) / size)
    made = convex_polygons(outlines(cells, region, single(settings.edge_max_error), longest))
    if not len(made.polygons):
        raise NavMeshError(_nowhere_to_walk(name, settings))
    distance, error = single(settings.detail_sample_dist), single(settings.detail_sample_max_error)
    detail = detail_mesh(made, cells, region, size, height, size * distance, height * error)
    return Surface(made.corners, made.polygons, *detail, np.array([low, high]))


def assemble(surface: Surface, settings: NavMeshSettings) -> NavMesh:
    """Positions, neighbours, islands and index of a surface. Raises IndexError if it names corners it has not."""
    size, height = single(settings.cell_size), single(settings.cell_height)
    low = surface.bounds[0]
    corners = surface.corners.astype(np.float32) * np.array([size, height, size])
    # Recast lifts details by a cell and polygons not; the index has boxes of the lifted corners.
    lifted = np.array([low[0], low[1] + height, low[2]])
    top = np.array([[0, 0, 0], [0, single(settings.body_cells) * height, 0]], np.float32)
    tree = _tree(corners + lifted, surface.points + lifted, surface, ONE / size)
    index = Index(tree, surface.bounds + top, ONE / size)
    climb = single(settings.agent_max_climb)
    return connect(surface, low + corners, surface.points + lifted, neighbours(surface.polygons), index, climb)


def connect(surface: Surface, vertices: Array, points: Array, beyond: Array, index: Index, climb: float) -> NavMesh:
    """The navmesh of a surface.

    Args:
        surface: its polygons and triangles.
        vertices: corners of the polygons, (V, 3) float32 [m].
        points: further corners of the triangles, (D, 3) float32 [m].
        beyond: polygon beyond each edge, (P, 6), -1 = none.
        index: where polygons are.
        climb: step that a body can climb [m].
    """
    polygons, sides = surface.polygons, (surface.polygons >= 0).sum(axis=1)
    rings = vertices[polygons[np.arange(len(polygons))[:, None], np.arange(MOST_CORNERS + 1) % sides[:, None]]]
    triangles = _triangles(surface, vertices, points, sides)
    areas = triangle_areas(triangles)
    area = np.bincount(_owners(surface), areas, minlength=len(polygons))
    usable = area >= NO_AREA
    floor = Floor(
        rings=rings,
        sides=sides,
        boxes=np.concatenate([f(rings, axis=1)[:, [0, 2]] for f in (np.min, np.max)], axis=1),
        # A last polygon that is none stands for the walls, numbered -1.
        neighbours=np.where(np.append(usable, False)[beyond], beyond, -1),
        island=np.where(usable, _islands(beyond, area), -1),
        triangles=triangles,
        edges=_edges(surface.triangles),
        first_triangle=surface.first_triangle,
        tree=index.tree,
        tile=index.tile,
        cells_per_metre=index.cells_per_metre,
        climb=climb,
    )
    return NavMesh(vertices, polygons, areas * usable[_owners(surface)], surface.bounds, floor)


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
    size, height = single(settings.cell_size), single(settings.cell_height)
    across = np.minimum((high - low) / size + single(0.5), single(MAX_CELLS))
    shape = (int(across[2]), int(across[0]))
    most = min(MAX_CELLS, available_memory() // BYTES_PER_CELL)
    if min(shape) < 1 or shape[0] * shape[1] > most or across[1] >= MAX_CELLS:
        raise NavMeshError(
            f"{name} measures {high[0] - low[0]:.5g} x {high[2] - low[2]:.5g} m and is {high[1] - low[1]:.5g} m high, "
            f"{shape[0]} x {shape[1]} cells of {settings.cell_size} m: check its unit and which axis points up, or set "
            "another cell_size."
        )
    radians = single(settings.agent_max_slope) / single(180) * single(np.pi)
    steepest = single(np.cos(np.float64(radians)))
    spans = voxelise(points, triangles, low, shape, high[1] - low[1], size, height, steepest, settings.climb_cells)
    if settings.filter_low_hanging_obstacles:
        allow_low_obstacles(spans, settings.climb_cells)
    if settings.filter_ledge_spans:
        remove_ledges(spans, settings.body_cells, settings.climb_cells)
    if settings.filter_walkable_low_height_spans:
        remove_low_ceilings(spans, settings.body_cells - (not settings.filter_exact_height_spans))
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


def _owners(surface: Surface) -> Array:
    """(T,) polygon of each triangle."""
    return np.repeat(np.arange(len(surface.polygons)), np.diff(surface.first_triangle))


def _triangles(surface: Surface, vertices: Array, points: Array, sides: Array) -> Array:
    """(T, 3, 3) float32 [m] corners of the triangles."""
    owner, local = _owners(surface)[:, None], surface.triangles[:, :3]
    own = vertices[surface.polygons[owner, np.minimum(local, sides[owner] - 1)]]
    if not len(points):
        return own
    is_own = local < sides[owner]
    extra = points[np.where(is_own, 0, surface.first_point[owner] + local - sides[owner])]
    return np.where(is_own[..., None], own, extra)


def _edges(triangles: Array) -> Array:
    """(T, 3) what each edge of the triangles (T, 4) is."""
    corners, border = triangles[:, :3], triangles[:, 3:] >> np.arange(3) & 1
    inner = np.where(corners < np.roll(corners, -1, axis=1), TWIN, INNER)
    return np.where(border == 1, BORDER, inner)


def triangle_areas(corners: Array) -> Array:
    """Of triangles (T, 3, 3) [m2]."""
    a, b, c = corners.astype(np.float64).transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _islands(beyond: Array, area: Array) -> Array:
    """(P,) number of each polygon's connected component, the largest area first."""
    island = np.full(len(beyond), -1, np.int64)
    count = 0
    for start in range(len(beyond)):
        if island[start] != -1:
            continue
        island[start], stack = count, [start]
        while stack:
            for p in beyond[stack.pop()]:
                if p != -1 and island[p] == -1:
                    island[p] = count
                    stack.append(int(p))
        count += 1
    areas = np.bincount(island, area, minlength=count)
    rank = np.empty(count, np.int64)
    rank[np.argsort(-areas, kind="stable")] = np.arange(count)
    return rank[island]


def _tree(corners: Array, points: Array, surface: Surface, cells_per_metre: float) -> Array:
    """The index of polygons by the boxes of their corners (V, 3) and extra points (D, 3) [m]."""
    parts = [
        np.concatenate([corners[polygon[polygon >= 0]], points[first:last]])
        for polygon, first, last in zip(surface.polygons, surface.first_point, surface.first_point[1:])
    ]
    boxes = np.array([[part.min(axis=0), part.max(axis=0)] for part in parts])
    low, high = ((boxes - surface.bounds[0]) * cells_per_metre).astype(np.int64).clip(0, 0xFFFF).transpose(1, 0, 2)
    return build_tree(low, high)


def mesh_hash(vertices: ArrayLike, faces: ArrayLike) -> str:
    """What a stored navmesh must have been made from to be used again."""
    digest = hashlib.sha256(np.ascontiguousarray(vertices, np.float32).tobytes())
    digest.update(np.ascontiguousarray(faces, np.int64).tobytes())
    return digest.hexdigest()


def save_navmesh(path: Path, surface: Surface, settings: NavMeshSettings, source: str) -> None:
    """Write a surface with its settings and the hash of the mesh it was made from."""
    stored = {"settings": np.array([float(v) for v in asdict(settings).values()]), "source": np.array(source)}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as file:
        np.savez_compressed(file, **surface._asdict(), **stored)  # type: ignore[arg-type]
    aside.replace(path)


def load_navmesh(path: Path) -> tuple[NavMesh, NavMeshSettings, str]:
    """A stored navmesh, its settings and the hash of the mesh it was made from. Raises NavMeshError."""
    try:
        data = read_arrays(path)
        defaults = asdict(NavMeshSettings())
        values = {name: type(defaults[name])(v) for name, v in zip(defaults, data["settings"], strict=True)}
        settings = NavMeshSettings(**values)
        surface = Surface(*(data[name] for name in Surface._fields))
        check_surface(surface)
        return assemble(surface, settings), settings, str(data["source"])
    except FileNotFoundError:
        raise NavMeshError(f"No navmesh at {path}.") from None
    except Exception as error:
        raise NavMeshError(
            f"{path} is not a navmesh of this project ({error}). Delete it to have it rebuilt."
        ) from None


def check_surface(surface: Surface) -> None:
    """Kernels trust their numbers, so a file's are looked at before they are used. Raises ValueError."""
    polygons, triangles = surface.polygons, surface.triangles
    for name, array in surface._asdict().items():
        kind = np.float32 if name in ("points", "bounds") else np.int64
        if array.dtype != kind or not (abs(array.astype(np.float64)) < FURTHEST).all():
            raise ValueError(f"its {name} are {array.dtype}, not {kind.__name__}, or too large")
    if surface.bounds.shape != (2, 3) or not (surface.bounds[0] <= surface.bounds[1]).all():
        raise ValueError("its bounds are no box")
    for name, width in (("corners", 3), ("polygons", MOST_CORNERS), ("points", 3), ("triangles", 4), ("bounds", 3)):
        if getattr(surface, name).shape[1:] != (width,):
            raise ValueError(f"its {name} have shape {getattr(surface, name).shape}")
    used = polygons >= 0
    sides = used.sum(axis=1)
    for first, parts in ((surface.first_point, surface.points), (surface.first_triangle, triangles)):
        if (
            first.shape != (len(polygons) + 1,)
            or first[0] != 0
            or first[-1] != len(parts)
            or (np.diff(first) < 0).any()
        ):
            raise ValueError("its polygons do not share out their details")
    if not len(polygons) or (np.diff(surface.first_triangle) < 1).any():
        raise ValueError("a polygon has no triangle")
    if polygons.min() < -1 or polygons.max() >= len(surface.corners):
        raise ValueError("a polygon names a corner that it has not")
    if sides.min() < 3 or (used[:, 1:] & ~used[:, :-1]).any():
        raise ValueError("a polygon has fewer than three corners")
    known = np.repeat(sides + np.diff(surface.first_point), np.diff(surface.first_triangle))[:, None]
    if (triangles < 0).any() or (triangles[:, :3] >= known).any():
        raise ValueError("a triangle names a corner that it has not")


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
    surface = walkable_surface(vertices, faces, settings, name)
    if path is not None:
        with suppress(OSError):
            save_navmesh(path, surface, settings, source)
    return assemble(surface, settings)

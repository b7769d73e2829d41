"""habitat-sim's PathFinder on our own navmesh: islands, snapping, random points, geodesics, filtered steps.

Names and results are those of habitat-sim 0.3.3; positions are (3,) float32 in Habitat's frame [m]. Chance comes from
the generator handed in, never from a hidden one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.navmesh import calls
from embodia.envs.homes.navmesh.geodesics import LONGEST, find_path, nearest_goal
from embodia.envs.homes.navmesh.navmesh import NavMesh
from embodia.envs.homes.navmesh.open_list import room_for
from embodia.envs.homes.navmesh.shortest_paths import (
    NOWHERE,
    Goals,
    GoalTree,
    VisibilityGraph,
    goal_behind,
    goal_tree,
    visibility_graph,
)
from embodia.envs.homes.navmesh.surface import clamped, navigable_grid

Array = NDArray[Any]
Measure = Literal["detour", "exact"]


class Path(NamedTuple):
    """A path: its length [m] (inf = none), points (P, 3) from start to end, and which end it leads to (-1 = none)."""

    geodesic_distance: float
    points: Array
    closest_end: int


NO_PATH = Path(float("inf"), np.zeros((0, 3), np.float32), -1)


@dataclass
class GoalSet:
    """Some places to go to, prepared for many distance queries."""

    goals: Goals
    tree: GoalTree | None = None  # the exact distances to them, worked out when first needed


class PathFinder:
    """Navigation queries on one navmesh; several worlds may share one.

    `geodesics` is how `distance` and `path` measure. "detour", the default, is habitat-sim's search: tasks count
    success, SPL and rewards with it, its follower and its episode generator use it. "exact" is the shortest path there
    is; `shortest_distance` and `shortest_path` always find that one, for planning.
    """

    def __init__(self, mesh: NavMesh, geodesics: Measure = "detour") -> None:
        if geodesics not in ("detour", "exact"):
            raise ValueError(
                f"geodesics={geodesics!r}; choose detour (habitat-sim's search) or exact (shortest paths)."
            )
        self.mesh, self.geodesics = mesh, geodesics
        self._search = room_for(len(mesh.polygons))
        self._floor_parts, self._search_parts = tuple(mesh.floor), tuple(self._search)

    @cached_property
    def graph(self) -> VisibilityGraph:
        return visibility_graph(self.mesh)

    @property
    def bounds(self) -> Array:
        """(2, 3) lowest and highest corner of the scene [m]."""
        return self.mesh.bounds.copy()

    @cached_property
    def _triangle_island(self) -> Array:
        return np.repeat(self.mesh.floor.island, np.diff(self.mesh.floor.first_triangle))

    @cached_property
    def navigable_area(self) -> float:
        return float(self.mesh.areas.sum())

    @cached_property
    def num_islands(self) -> int:
        return int(self.mesh.floor.island.max()) + 1

    def island_area(self, island: int) -> float:
        check_island(island, self.num_islands)
        return float(self.mesh.areas[self._triangle_island == island].sum())

    @cached_property
    def _island_radii(self) -> Array:
        radii = np.zeros(self.num_islands)
        for i in range(len(radii)):
            corners = self.mesh.polygons[self.mesh.floor.island == i]
            points = self.mesh.vertices[corners[corners >= 0]].astype(np.float64)
            radii[i] = np.linalg.norm(points - points.mean(axis=0), axis=1).max()
        return radii

    def _project(self, point: ArrayLike, island: int = -1) -> tuple[int, Array]:
        return calls.project(self._floor_parts, _point(point), island)

    def get_island(self, point: ArrayLike) -> int:
        """Number of the island below or beside a point, -1 if there is none; 0 is the largest."""
        polygon = self._project(point)[0]
        return -1 if polygon == -1 else int(self.mesh.floor.island[polygon])

    def island_radius(self, point: ArrayLike) -> float:
        """Largest distance of the island's vertices from their mean [m]; 0 off the navmesh."""
        island = self.get_island(point)
        return 0.0 if island == -1 else float(self._island_radii[island])

    def snap_point(self, point: ArrayLike, island_index: int = -1) -> Array:
        """The nearest place on the navmesh (of one island if asked), NaN if there is none within reach."""
        check_island(island_index, self.num_islands)
        return self._project(point, island_index)[1]

    def is_navigable(self, point: ArrayLike, max_y_delta: float = 0.5) -> bool:
        return bool(calls.navigable(self._floor_parts, _point(point), max_y_delta))

    def get_random_navigable_point(self, rng: np.random.Generator, island_index: int = -1) -> Array:
        """A point spread evenly over the area of the navmesh, or of one island."""
        check_island(island_index, self.num_islands)
        areas, island = self.mesh.areas, self._triangle_island
        where = np.arange(len(areas)) if island_index == -1 else np.flatnonzero(island == island_index)
        cumulative, (place, aside, along) = np.cumsum(areas[where]), rng.random(3)
        t = where[min(np.searchsorted(cumulative, place * cumulative[-1], "right"), len(where) - 1)]
        a, b, c = self.mesh.floor.triangles[t].astype(np.float64)
        root = np.sqrt(aside)
        return ((1 - root) * a + root * (1 - along) * b + root * along * c).astype(np.float32)

    def get_random_navigable_point_near(
        self,
        rng: np.random.Generator,
        circle_center: ArrayLike,
        radius: float,
        max_tries: int = 100,
        island_index: int = -1,
    ) -> Array:
        """A navigable point within `radius` [m] of a point in plan; NaN if `max_tries` draws find none."""
        center = _point(circle_center)
        for _ in range(max_tries):
            angle, reach = rng.uniform(0, 2 * np.pi), radius * np.sqrt(rng.random())
            point = self.snap_point(center + reach * np.array([np.cos(angle), 0, np.sin(angle)]), island_index)
            if np.hypot(point[0] - center[0], point[2] - center[2]) <= radius:
                return point
        return np.full(3, np.nan, np.float32)

    def goal_set(self, goals: ArrayLike) -> GoalSet:
        """Prepare goals (G, 3) or (3,) for `distance` and `path`; those off the navmesh are never reached."""
        asked = np.ascontiguousarray(goals, np.float32).reshape(-1, 3)
        return GoalSet(calls.goals_on(self._floor_parts, asked))

    def _tree(self, goals: GoalSet) -> GoalTree:
        if goals.tree is None:
            goals.tree = goal_tree(self.mesh.floor, self.graph, goals.goals)
        return goals.tree

    def distance(self, position: ArrayLike, goals: GoalSet) -> float:
        """Geodesic distance [m] to the nearest goal, measured as `geodesics` says; inf if none can be reached."""
        return float(self._distances(_point(position)[None], goals)[0])

    def _distances(self, places: Array, goals: GoalSet) -> Array:
        """(M,) from places (M, 3) float32."""
        if self.geodesics == "exact":
            return np.array([self.shortest_distance(place, goals) for place in places])
        floor, search, aims = self._floor_parts, self._search_parts, tuple(goals.goals)
        if len(goals.goals.polygon) == 1:
            return calls.distances(floor, search, aims, places)
        return calls.nearest_distances(floor, search, tuple(self.graph), aims, tuple(self._tree(goals)), places)

    def path(self, position: ArrayLike, goals: GoalSet) -> Path:
        """The path to the nearest goal."""
        if self.geodesics == "exact":
            return self.shortest_path(position, goals)
        polygon, place = self._project(position)
        if polygon == -1:
            return NO_PATH
        floor, start = self.mesh.floor, clamped(self.mesh.floor, polygon, _point(position))
        points = np.empty((LONGEST, 3), np.float32)
        if len(goals.goals.polygon) == 1:
            length, count = find_path(floor, self._search, goals.goals, 0, polygon, place, start, points)
            goal = 0 if count else -1
        else:
            length, goal, count = nearest_goal(
                floor, self._search, self.graph, goals.goals, self._tree(goals), polygon, place, start, points
            )
        return Path(float(length), points[:count], int(goal))

    def shortest_distance(self, position: ArrayLike, goals: GoalSet) -> float:
        """Length [m] of the shortest path to the nearest goal; inf if none can be reached."""
        return float(self._shortest(position, goals)[0])

    def shortest_path(self, position: ArrayLike, goals: GoalSet) -> Path:
        """The shortest path to the nearest goal."""
        length, step, start = self._shortest(position, goals)
        if step == NOWHERE:
            return NO_PATH
        tree, points = self._tree(goals), [start]
        goal = int(goal_behind(tree, step))
        while step >= 0:
            points.append(self.graph.place[step])
            step = int(tree.following[step])
        return Path(float(length), np.array([*points, goals.goals.end[goal]]), goal)

    def _shortest(self, position: ArrayLike, goals: GoalSet) -> tuple[float, int, Array]:
        graph, tree = tuple(self.graph), tuple(self._tree(goals))
        return calls.shortest(self._floor_parts, graph, tuple(goals.goals), tree, _point(position))

    def find_path(self, start: ArrayLike, ends: ArrayLike) -> Path:
        """The path from `start` (3,) to the nearest of `ends` (3,) or (G, 3)."""
        return self.path(start, self.goal_set(ends))

    def geodesic_distance(self, start: ArrayLike, ends: ArrayLike) -> float:
        """Length [m] of the path from `start` (3,) to the nearest of `ends` (3,) or (G, 3); inf if none leads there."""
        if self.geodesics == "exact" or np.ndim(ends) > 1:
            return self.distance(start, self.goal_set(ends))
        return float(calls.distance_between(self._floor_parts, self._search_parts, _point(start), _point(ends)))

    def try_step(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Where a step ends that slides along walls."""
        return calls.try_step(self._floor_parts, _point(start), _point(end), True)

    def try_step_no_sliding(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Where a step ends that stops at the first wall."""
        return calls.try_step(self._floor_parts, _point(start), _point(end), False)

    def probe_steps(
        self, start: ArrayLike, targets: Array, goals: GoalSet, sliding: bool, radius: float
    ) -> tuple[Array, Array, Array]:
        """Many steps tried at once from `start` to targets (M, 3): ends (M, 3), distances there to the nearest wall
        (at most `radius`) and to the nearest goal, each (M,) [m]."""
        aims = np.ascontiguousarray(targets, np.float32)
        ends, clearance = calls.probe_steps(self._floor_parts, self._search_parts, _point(start), aims, sliding, radius)
        return ends, clearance, self._distances(ends, goals)

    def distance_to_closest_obstacle(self, point: ArrayLike, max_search_radius: float = 2.0) -> float:
        """Distance in plan to the nearest border of the navmesh [m], at most the search radius; inf off the navmesh."""
        return float(self._wall(point, max_search_radius)[0])

    def closest_obstacle_point(self, point: ArrayLike, max_search_radius: float = 2.0) -> Array:
        """The nearest place on the navmesh's border, NaN beyond the search radius."""
        return self._wall(point, max_search_radius)[1]

    def _wall(self, point: ArrayLike, radius: float) -> tuple[float, Array]:
        return calls.wall_distance(self._floor_parts, self._search_parts, _point(point), radius)

    def get_topdown_view(self, meters_per_pixel: float, height: float, eps: float = 0.5) -> Array:
        """Return a (rows along z, columns along x) bool grid: navigable within `eps` of `height` [m]."""
        low, high = self.mesh.bounds
        step = np.float32(meters_per_pixel)
        zs, xs = (
            np.cumsum(np.append(low[axis], np.full(int((high[axis] - low[axis]) / step), step)), dtype=np.float32)[:-1]
            for axis in (2, 0)
        )
        return navigable_grid(self.mesh.floor, xs, height, zs, eps)

    def free_cells(self, bounds: Array, shape: tuple[int, int], height: float) -> Array:
        """The base grid of a top-down map: `shape` cells over `bounds` (2, 3), sampled at their lower corners."""
        xs, zs = cell_corners(bounds, shape)
        return navigable_grid(self.mesh.floor, xs, height, zs, 0.5)


def check_island(island: int, count: int) -> None:
    """Raise ValueError if a navmesh of `count` islands has no such island; -1 is any."""
    if not -1 <= island < count:
        raise ValueError(f"There is no island {island}; this navmesh has {count}, counted from 0.")


def cell_corners(bounds: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """x of the columns and z of the rows of a top-down map with `shape` cells over `bounds` (2, 3), float32 [m]."""
    low, high = bounds
    zs = low[2] + np.arange(shape[0]) * (high[2] - low[2]) / shape[0]
    xs = low[0] + np.arange(shape[1]) * (high[0] - low[0]) / shape[1]
    return xs.astype(np.float32), zs.astype(np.float32)


def _point(point: ArrayLike) -> Array:
    place = np.ascontiguousarray(point, np.float32)
    if place.shape != (3,):
        raise ValueError(f"A point has 3 coordinates (x, y, z) in metres; got an array of shape {place.shape}.")
    return place

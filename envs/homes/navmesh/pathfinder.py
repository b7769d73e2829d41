"""habitat-sim's PathFinder on our own navmesh: islands, snapping, random points, geodesics, filtered steps.

Names and results are habitat-sim's; positions are (3,) float32 in Habitat's frame [m]. Chance comes from the
generator handed in, never from a hidden one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.navmesh.navmesh import NavMesh, triangle_areas
from embodia.envs.homes.navmesh.shortest_paths import (
    NOWHERE,
    GoalField,
    VisibilityGraph,
    goal_field,
    nearest_goal,
    probe_steps,
    seen_buffer,
    visibility_graph,
)
from embodia.envs.homes.navmesh.surface import navigable, navigable_grid, project, sample, try_step, wall_distance

Array = NDArray[Any]


class Path(NamedTuple):
    """A shortest path: its length [m] (inf = none), points (P, 3) from start to end, and which end it leads to."""

    geodesic_distance: float
    points: Array
    closest_end: int


@dataclass(frozen=True)
class GoalSet:
    """Some places to go to, prepared for many distance queries."""

    goals: Array  # (G, 3) float32 [m], as asked for
    field: GoalField


class PathFinder:
    """Navigation queries on one navmesh; several worlds may share one."""

    def __init__(self, mesh: NavMesh) -> None:
        self.mesh = mesh
        self._areas = triangle_areas(mesh.vertices, mesh.triangles)
        self._seen = seen_buffer(mesh)

    @cached_property
    def graph(self) -> VisibilityGraph:
        return visibility_graph(self.mesh)

    @property
    def bounds(self) -> Array:
        """(2, 3) lowest and highest corner of the scene [m]."""
        return self.mesh.bounds.astype(np.float32)

    @cached_property
    def navigable_area(self) -> float:
        return float(self._areas.sum())

    @property
    def num_islands(self) -> int:
        return int(self.mesh.island.max()) + 1

    def island_area(self, island: int) -> float:
        return float(self._areas[self.mesh.island == island].sum())

    @cached_property
    def _island_radii(self) -> Array:
        radii = np.zeros(self.num_islands)
        for i in range(len(radii)):
            points = self.mesh.vertices[self.mesh.triangles[self.mesh.island == i]].reshape(-1, 3)
            radii[i] = np.linalg.norm(points - points.mean(axis=0), axis=1).max()
        return radii

    def get_island(self, point: ArrayLike) -> int:
        """Number of the island below or beside a point, -1 if there is none; 0 is the largest."""
        triangle = project(self.mesh, _point(point), -1)[0]
        return -1 if triangle == -1 else int(self.mesh.island[triangle])

    def island_radius(self, point: ArrayLike) -> float:
        """Largest distance of the island's vertices from their mean [m]; 0 off the navmesh."""
        island = self.get_island(point)
        return 0.0 if island == -1 else float(self._island_radii[island])

    def snap_point(self, point: ArrayLike, island_index: int = -1) -> Array:
        """The nearest place on the navmesh (of one island if asked), NaN if there is none within reach."""
        triangle, place = project(self.mesh, _point(point), island_index)
        return place.astype(np.float32) if triangle != -1 else np.full(3, np.nan, np.float32)

    def is_navigable(self, point: ArrayLike, max_y_delta: float = 0.5) -> bool:
        return bool(navigable(self.mesh, _point(point), max_y_delta))

    def get_random_navigable_point(self, rng: np.random.Generator, island_index: int = -1) -> Array:
        """A point spread evenly over the area of the navmesh, or of one island."""
        triangles = np.arange(len(self._areas)) if island_index == -1 else self._of_island(island_index)
        return sample(self.mesh, np.cumsum(self._areas[triangles]), triangles, rng.random(3)).astype(np.float32)

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
            point = center + reach * np.array([np.cos(angle), 0, np.sin(angle)])
            triangle, place = project(self.mesh, point, island_index)
            if triangle != -1 and np.hypot(place[0] - center[0], place[2] - center[2]) <= radius:
                return place.astype(np.float32)
        return np.full(3, np.nan, np.float32)

    def _of_island(self, island: int) -> Array:
        triangles = np.flatnonzero(self.mesh.island == island)
        if not len(triangles):
            raise ValueError(f"There is no island {island}; this navmesh has {self.num_islands}, counted from 0.")
        return triangles

    def goal_set(self, goals: ArrayLike) -> GoalSet:
        """Prepare goals (G, 3) or (3,) for `distance` and `path`; those off the navmesh are never reached."""
        asked = np.atleast_2d(np.asarray(goals, np.float32)).reshape(-1, 3)
        projected = [project(self.mesh, goal, -1) for goal in asked.astype(np.float64)]
        triangles = np.array([t for t, _ in projected], np.int64)
        places = np.array([place for _, place in projected]).reshape(-1, 3)
        return GoalSet(asked, goal_field(self.mesh, self.graph, places, triangles))

    def distance(self, position: ArrayLike, goals: GoalSet) -> float:
        """Geodesic distance [m] to the nearest goal; inf if none can be reached."""
        triangle, place = project(self.mesh, _point(position), -1)
        return self._nearest(triangle, place, goals)[0]

    def _nearest(self, triangle: int, place: Array, goals: GoalSet) -> tuple[float, int]:
        if triangle == -1:
            return float("inf"), NOWHERE
        graph = self.graph
        return nearest_goal(self.mesh, graph.corner, graph.of_vertex, goals.field, triangle, place, self._seen)

    def path(self, position: ArrayLike, goals: GoalSet) -> Path:
        """The shortest path to the nearest goal."""
        triangle, place = project(self.mesh, _point(position), -1)
        length, step = self._nearest(triangle, place, goals)
        if step == NOWHERE:
            return Path(float("inf"), np.zeros((0, 3), np.float32), -1)
        points = [place]
        while step >= 0:
            points.append(self.mesh.vertices[self.graph.corner[step]])
            step = int(goals.field.following[step])
        goal = -1 - step
        points.append(goals.field.goals[goal])
        return Path(length, np.array(points, np.float32), int(goals.field.goal_index[goal]))

    def find_path(self, start: ArrayLike, ends: ArrayLike) -> Path:
        """The shortest path from `start` (3,) to the nearest of `ends` (3,) or (G, 3)."""
        return self.path(start, self.goal_set(ends))

    def geodesic_distance(self, start: ArrayLike, ends: ArrayLike) -> float:
        return self.distance(start, self.goal_set(ends))

    def try_step(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Where a step ends that slides along walls."""
        return try_step(self.mesh, _point(start), _point(end), True).astype(np.float32)

    def try_step_no_sliding(self, start: ArrayLike, end: ArrayLike) -> Array:
        """Where a step ends that stops at the first wall."""
        return try_step(self.mesh, _point(start), _point(end), False).astype(np.float32)

    def probe_steps(
        self, start: ArrayLike, targets: Array, goals: GoalSet, sliding: bool, radius: float
    ) -> tuple[Array, Array, Array]:
        """Many steps tried at once from `start` to targets (M, 3): ends (M, 3), distances there to the nearest wall
        (at most `radius`) and to the nearest goal, each (M,) [m]."""
        graph = self.graph
        return probe_steps(
            self.mesh, graph.corner, graph.of_vertex, goals.field, _point(start), targets, sliding, radius, self._seen
        )

    def distance_to_closest_obstacle(self, point: ArrayLike, max_search_radius: float = 2.0) -> float:
        """Distance in plan to the nearest border of the navmesh [m], at most the search radius."""
        return float(wall_distance(self.mesh, _point(point), max_search_radius)[0])

    def closest_obstacle_point(self, point: ArrayLike, max_search_radius: float = 2.0) -> Array:
        """The nearest place on the navmesh's border, NaN beyond the search radius."""
        return wall_distance(self.mesh, _point(point), max_search_radius)[1].astype(np.float32)

    def get_topdown_view(self, meters_per_pixel: float, height: float, eps: float = 0.5) -> Array:
        """(rows along z, columns along x) bool: what is navigable within `eps` of `height` [m]."""
        low, high = self.mesh.bounds
        rows, columns = (int((high[k] - low[k]) / meters_per_pixel + 1e-4) for k in (2, 0))
        steps = np.arange(max(rows, columns)) * meters_per_pixel
        return navigable_grid(self.mesh, low[0] + steps[:columns], height, low[2] + steps[:rows], eps)

    def free_cells(self, bounds: Array, shape: tuple[int, int], height: float) -> Array:
        """The base grid of a top-down map: `shape` cells over `bounds` (2, 3), sampled at their lower corners."""
        low, high = bounds
        zs = low[2] + np.arange(shape[0]) * (high[2] - low[2]) / shape[0]
        xs = low[0] + np.arange(shape[1]) * (high[0] - low[0]) / shape[1]
        return navigable_grid(self.mesh, xs, height, zs, 0.5)


def _point(point: ArrayLike) -> Array:
    place = np.asarray(point, np.float64)
    if place.shape != (3,):
        raise ValueError(f"A point has 3 coordinates (x, y, z) in metres; got an array of shape {place.shape}.")
    return place

"""habitat-sim's PathFinder as a `Navigator`.

habitat-sim ends the process when a PathFinder without a navmesh is asked, or one is asked for an island it does not
have, so both are checked first. It takes float arrays only, and draws random points from C's global generator, which is
seeded right before every draw.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.navmesh.navmesh import NavMeshError
from embodia.envs.homes.navmesh.pathfinder import Path as WalkedPath
from embodia.envs.homes.navmesh.pathfinder import PathFinder, cell_corners, check_island

Array = NDArray[Any]

MAPS = 8  # top-down maps that are kept


def floats(point: ArrayLike) -> Array:
    """habitat-sim refuses integers; float32 arrays pass everywhere."""
    return np.asarray(point, np.float32)


def array(vector: Any) -> Array:
    """magnum.Vector3 since 0.3.3, an array before."""
    return np.array(vector, dtype=np.float32)


@dataclass(frozen=True)
class HabitatGoals:
    """Goals with habitat-sim's multi-goal query."""

    goals: Array  # (G, 3) float32 [m]
    query: Any


class HabitatPathFinder:
    """habitat-sim's PathFinder behind the calls of `Navigator`.

    Args:
        habitat_sim: the module.
        finder: a loaded PathFinder. Raises NavMeshError if it has no navmesh.
        walker: answers steps without sliding instead of `finder`; see `habitat_sim_version`.
    """

    def __init__(self, habitat_sim: Any, finder: Any, walker: PathFinder | None = None) -> None:
        if not finder.is_loaded:
            raise NavMeshError("habitat-sim's PathFinder has no navmesh; recompute or load one before asking it.")
        self._sim, self._finder, self._walker = habitat_sim, finder, walker
        self._maps: dict[tuple[Any, ...], Array] = {}

    @property
    def bounds(self) -> Array:
        return np.array([array(corner) for corner in self._finder.get_bounds()])

    @property
    def navigable_area(self) -> float:
        return float(self._finder.navigable_area)

    @property
    def num_islands(self) -> int:
        return int(self._finder.num_islands)

    def island_area(self, island: int) -> float:
        check_island(island, self.num_islands)
        return float(self._finder.island_area(island))

    def get_island(self, point: ArrayLike) -> int:
        snapped = self.snap_point(point)
        return int(self._finder.get_island(snapped)) if np.isfinite(snapped).all() else -1

    def island_radius(self, point: ArrayLike) -> float:
        return float(self._finder.island_radius(floats(point)))

    def snap_point(self, point: ArrayLike, island_index: int = -1) -> Array:
        check_island(island_index, self.num_islands)
        return array(self._finder.snap_point(floats(point), island_index))

    def is_navigable(self, point: ArrayLike, max_y_delta: float = 0.5) -> bool:
        return bool(self._finder.is_navigable(floats(point), max_y_delta))

    def get_random_navigable_point(self, rng: np.random.Generator, island_index: int = -1) -> Array:
        check_island(island_index, self.num_islands)
        self._finder.seed(int(rng.integers(2**31)))
        return array(self._finder.get_random_navigable_point(10, island_index))

    def get_random_navigable_point_near(
        self,
        rng: np.random.Generator,
        circle_center: ArrayLike,
        radius: float,
        max_tries: int = 100,
        island_index: int = -1,
    ) -> Array:
        check_island(island_index, self.num_islands)
        self._finder.seed(int(rng.integers(2**31)))
        near = self._finder.get_random_navigable_point_near(floats(circle_center), radius, max_tries, island_index)
        return array(near)

    def goal_set(self, goals: ArrayLike) -> HabitatGoals:
        asked = np.atleast_2d(floats(goals))
        query = self._sim.MultiGoalShortestPath()
        query.requested_ends = asked
        return HabitatGoals(asked, query)

    def distance(self, position: ArrayLike, goals: HabitatGoals) -> float:
        goals.query.requested_start = floats(position)
        return float(goals.query.geodesic_distance) if self._finder.find_path(goals.query) else float("inf")

    def path(self, position: ArrayLike, goals: HabitatGoals) -> WalkedPath:
        distance = self.distance(position, goals)
        if not np.isfinite(distance):
            return WalkedPath(float("inf"), np.zeros((0, 3), np.float32), -1)
        points = np.array([array(point) for point in goals.query.points]).reshape(-1, 3)
        return WalkedPath(distance, points, int(goals.query.closest_end_point_index))

    # habitat-sim has no exact search: its own stands in for it.
    shortest_distance, shortest_path = distance, path

    def find_path(self, start: ArrayLike, ends: ArrayLike) -> WalkedPath:
        return self.path(start, self.goal_set(ends))

    def geodesic_distance(self, start: ArrayLike, ends: ArrayLike) -> float:
        return self.distance(start, self.goal_set(ends))

    def try_step(self, start: ArrayLike, end: ArrayLike) -> Array:
        return array(self._finder.try_step(floats(start), floats(end)))

    def try_step_no_sliding(self, start: ArrayLike, end: ArrayLike) -> Array:
        if self._walker is not None:
            return self._walker.try_step_no_sliding(start, end)
        return array(self._finder.try_step_no_sliding(floats(start), floats(end)))

    def probe_steps(
        self, start: ArrayLike, targets: Array, goals: HabitatGoals, sliding: bool, radius: float
    ) -> tuple[Array, Array, Array]:
        move = self.try_step if sliding else self.try_step_no_sliding
        ends = np.array([move(start, target) for target in targets], np.float64).reshape(-1, 3)
        clearance = np.array([self.distance_to_closest_obstacle(end, radius) for end in ends])
        return ends, clearance, np.array([self.distance(end, goals) for end in ends])

    def distance_to_closest_obstacle(self, point: ArrayLike, max_search_radius: float = 2.0) -> float:
        return float(self._finder.distance_to_closest_obstacle(floats(point), max_search_radius))

    def get_topdown_view(self, meters_per_pixel: float, height: float, eps: float = 0.5) -> Array:
        return np.array(self._finder.get_topdown_view(meters_per_pixel, height, eps), bool)

    def free_cells(self, bounds: Array, shape: tuple[int, int], height: float) -> Array:
        """See `PathFinder.free_cells`. Asks `is_navigable` for each cell, since `get_topdown_view` has square cells."""
        key = (np.asarray(bounds).tobytes(), shape, height)
        if key not in self._maps:
            if len(self._maps) == MAPS:
                del self._maps[next(iter(self._maps))]
            xs, zs = cell_corners(bounds, shape)
            navigable = self._finder.is_navigable
            cells = [[navigable(floats([x, height, z]), 0.5) for x in xs] for z in zs]
            self._maps[key] = np.array(cells, bool).reshape(shape)
        return self._maps[key].copy()

"""The path of every world so far, and Habitat's top-down map of it, drawn on demand."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.homes.engines.engine import Home
from embodia.envs.homes.episodes.dataset import Episode
from embodia.envs.homes.measures.top_down_map import TopDownMap
from embodia.envs.homes.observations import Poses
from embodia.envs.homes.picture import map_goals

Array = NDArray[Any]

MAP_RESOLUTION = 256  # cells on the shorter side of the map that pictures show


class Trails:
    """Position and rotation (N, T + 1, 7) at every step of episodes of at most T steps."""

    def __init__(self, num_envs: int, max_steps: int, field_of_view: float) -> None:
        self.max_steps, self.field_of_view = max_steps, field_of_view
        self.poses = np.zeros((num_envs, max_steps + 1, 7))
        self.maps: list[TopDownMap | None] = [None] * num_envs

    def follow(self, worlds: Array, steps: Array, poses: Poses) -> None:
        """Record the poses of worlds (n,) after `steps` (n,) steps; 0 starts an episode."""
        self.poses[worlds, steps] = np.concatenate([poses.position, poses.rotation], axis=1)[worlds]

    def forget_map(self, i: int) -> None:
        self.maps[i] = None

    def map_of(self, i: int, steps: int, home: Home, episode: Episode, goals: Any) -> TopDownMap:
        """Return world i's map after a number of steps; created on first use."""
        known = self.maps[i]
        if known is None:
            known = self.maps[i] = self.drawn(MAP_RESOLUTION, i, steps, home, episode, goals)
        self._walk(known, i, known.step_count + 1, steps)
        return known

    def drawn(self, resolution: int, i: int, steps: int, home: Home, episode: Episode, goals: Any) -> TopDownMap:
        """Return a new map of world i's first steps. `goals` is the episode's goal set."""
        finder, start, facing = home.pathfinder, self.poses[i, 0, :3], self.poses[i, 0, 3:]
        path = finder.path(start, goals).points if episode.goals else np.zeros((0, 3))
        made = TopDownMap(resolution, self.max_steps, field_of_view=self.field_of_view)
        made.reset(finder.bounds, finder.free_cells, start, facing, map_goals(home, episode), path)
        self._walk(made, i, 1, steps)
        return made

    def _walk(self, known: TopDownMap, i: int, first: int, last: int) -> None:
        for step in range(first, last + 1):
            known.update(self.poses[i, step, :3], self.poses[i, step, 3:])

    def get_state(self, steps: int) -> Array:
        """The first `steps` steps of all worlds."""
        return self.poses[:, : steps + 1].copy()

    def set_state(self, state: Array) -> None:
        self.poses[:, : state.shape[1]] = state

"""Lengths of the experts' solutions, which the score path_efficiency needs."""

from typing import Any

from embodia.envs.grid.expert import make_expert
from embodia.envs.grid.world import make_world, start_level

MOST_KEPT = 1 << 17  # lengths in memory


class Solutions:
    """Solves levels in an environment of its own.

    Args:
        task: minigrid's id.
        options: Options of minigrid's environment.
    """

    def __init__(self, task: str, options: dict[str, Any]):
        self.task, self.options = task, options
        self._expert: Any = None
        self._lengths: dict[str, int] = {}  # by level name
        self._beyond: dict[str, int] = {}  # levels that were given up after so many steps

    def length(self, level: str | None, seed: int | None, at_most: int) -> int:
        """Return the number of steps of the expert's solution, or `at_most` if it needs more or fails.

        Args:
            level: Name of the level, by which lengths are kept; None keeps nothing.
            seed: Seed of the level's generator.
            at_most: Number of steps after which the search may stop.
        """
        if level is None:
            return self._solve(seed, at_most)
        if level in self._lengths:
            return min(self._lengths[level], at_most)
        if at_most <= self._beyond.get(level, 0):
            return at_most
        length = self._solve(seed, at_most)
        if len(self._lengths) + len(self._beyond) >= MOST_KEPT:
            self._lengths.clear()
            self._beyond.clear()
        if length < at_most:
            self._lengths[level] = length
        else:
            self._beyond[level] = at_most
        return length

    def _solve(self, seed: int | None, at_most: int) -> int:
        if self._expert is None:
            self._expert = make_expert(self.task, make_world(self.task, **self.options))
        start_level(self._expert.world, seed)
        self._expert.forget()
        return self._expert.solution_length(at_most)

"""Which level each world of a batch plays next."""

import copy
from collections.abc import Sequence

from gymnasium.utils import seeding

from embodia.envs import SPLIT_SIZE, Split, State, level_seed


class Draws:
    """The levels that each world plays next: those of `GridEnv`'s generator.

    Args:
        num_envs: Number of worlds.
        levels: Number of levels that are played again and again, or None.
        split: Split of the levels.
    """

    def __init__(self, num_envs: int, levels: int | None, split: Split):
        self.levels, self.split = levels, split
        self.generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self.drawn: list[tuple[State, int] | None] = [None] * num_envs  # ahead: the state before, and the level

    def next(self, i: int, seed: int | None) -> int:
        """Return the generator seed of world i's next level: that of `seed`, or a sampled one."""
        ahead, self.drawn[i] = self.drawn[i], None
        if seed is not None:
            self.generators[i] = seeding.np_random(seed)[0]
            return self._level(seed)
        return self._sample(i) if ahead is None else ahead[1]

    def peek(self, i: int) -> int:
        """Return the level that world i plays next if it is not given a seed."""
        ahead = self.drawn[i]
        if ahead is None:
            before = self._state(i)
            ahead = self.drawn[i] = before, self._sample(i)
        return ahead[1]

    def _sample(self, i: int) -> int:
        return self._level(int(self.generators[i].integers(SPLIT_SIZE)))

    def _level(self, number: int) -> int:
        return level_seed(self.split, number if self.levels is None else number % self.levels)

    def states(self) -> list[State]:
        """Return the states of all generators."""
        return [self.state(i) for i in range(len(self.generators))]

    def state(self, i: int) -> State:
        """Return the state of world i's generator, before any level that was drawn ahead."""
        ahead = self.drawn[i]
        return self._state(i) if ahead is None else ahead[0]

    def _state(self, i: int) -> State:
        return dict(copy.deepcopy(self.generators[i].bit_generator.state))

    def restore(self, states: Sequence[State]) -> None:
        self.drawn = [None] * len(states)
        for each, state in zip(self.generators, states):
            each.bit_generator.state = state

"""The observations of a batch."""

import sys
from typing import Any

import numpy as np

from embodia.envs import Observation
from embodia.envs.grid.env import GridEnv
from embodia.envs.grid.native import observations
from embodia.envs.grid.native.arrays import Array, Levels
from embodia.envs.grid.native.cells import Board


class Recycled:
    """Arrays that are used again as soon as nobody else refers to them.

    Fresh memory for a large array costs page faults in every step, as much time as the kernel that fills it.
    """

    MOST = 4  # arrays that are kept

    def __init__(self) -> None:
        self.kept: list[Array] = []
        self.alone = 0  # references to an array that only `kept` has

    def take(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array with any content that nobody else has."""
        for number, array in enumerate(self.kept):
            if array.shape == shape and self._references(number) == self.alone:
                return array
        if len(self.kept) == self.MOST:
            return np.empty(shape, dtype)
        self.kept.append(np.empty(shape, dtype))
        self.alone = self._references(-1)
        return self.kept[-1]

    def _references(self, number: int) -> int:
        return sys.getrefcount(self.kept[number])


class Views:
    """Makes the observations of a batch.

    Args:
        single: An environment with the options of all.
        board: Size of the map.
    """

    def __init__(self, single: GridEnv, board: Board):
        self.kind, self.board = single.observation, board
        self.space = single.observation_space
        self.sight = observations.sight_table(single.world.agent_view_size, single.world.see_through_walls)
        self.memory = {key: Recycled() for key in self.space}
        self.atlas = observations.Atlas(single.tile_size) if single.observation.startswith("rgb") else None

    def see(self, worlds: Levels) -> Observation:
        """Return arrays (N, ...) of all keys that belong to the caller."""
        found = {
            "direction": self._copy("direction", worlds.direction),
            "mission": self._copy("mission", worlds.mission),
        }
        found |= self._pictures(worlds) if self.atlas else self._symbols(worlds)
        return {key: found[key] for key in self.space}

    def _empty(self, worlds: Levels, key: str) -> Array:
        space = self.space[key]
        return self.memory[key].take((len(worlds.at), *(space.shape or ())), space.dtype)

    def _copy(self, key: str, array: Array) -> Array:
        out = self.memory[key].take(array.shape, array.dtype)
        out[...] = array
        return out

    def _symbols(self, worlds: Levels) -> Observation:
        symbols = self._empty(worlds, "symbolic")
        if self.kind == "symbolic":
            observations.symbolic(worlds, self.board.row, self.sight, symbols)
            return {"symbolic": symbols}
        carrying = self._empty(worlds, "carrying")
        observations.symbolic_full(worlds, self.board.row, self.board.margin, symbols, carrying)
        return {"symbolic": symbols, "carrying": carrying}

    def _pictures(self, worlds: Levels) -> Observation:
        assert self.atlas is not None
        row, margin, count = self.board.row, self.board.margin, len(worlds.at)
        if self.kind == "rgb":
            numbers = np.empty((count, margin + 1, margin + 1), np.uint16)
            observations.tiles(worlds, row, self.sight, numbers)
        else:
            numbers = np.empty((count, self.board.height, self.board.width), np.uint16)
            observations.tiles_full(worlds, row, margin, self.sight, numbers)
        image = self._empty(worlds, "rgb")
        self.atlas.paint(numbers, image)
        return {"rgb": image}

"""Grid worlds as batches for map policies, and their paths."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.control.grid_world import MOVES, GridWorlds
from embodia.planners.search.map_policy import MapPolicy

Array = NDArray[Any]

AT_ONCE = 2048
"""Number of states in a pass of a network that reads them one by one."""


class MapBatches:
    """An `agents.Data` of maps with labelled states, in shuffled epochs.

    Args:
        worlds: The maps.
        seed: Random seed of the order.
        everywhere: Label all states that have a path, instead of those on the expert's paths.
    """

    def __init__(self, worlds: GridWorlds, seed: int = 0, everywhere: bool = False):
        number, cell = np.nonzero(worlds.move >= 0) if everywhere else worlds.walk[:2]
        self.cell: Array = cell
        self.maps, self.move = torch.from_numpy(worlds.inputs()), torch.from_numpy(worlds.move.astype(np.int64))
        self.begin = np.searchsorted(number, np.arange(len(self.maps) + 1))
        self.rng, self.order = np.random.default_rng(seed), np.empty(0, np.int64)

    def batch(self, n: int) -> dict[str, Tensor]:
        """Return n maps (all maps if there are fewer) in the format of `MapPolicy.loss`."""
        if len(self.order) < n:
            self.order = self.rng.permutation(len(self.maps))
        chosen, self.order = self.order[:n], self.order[n:]
        counts = self.begin[chosen + 1] - self.begin[chosen]
        states = np.concatenate([self.cell[self.begin[i] : self.begin[i + 1]] for i in chosen])
        number, state = torch.from_numpy(np.repeat(np.arange(len(chosen)), counts)), torch.from_numpy(states)
        move = self.move[torch.from_numpy(chosen)[number], state]
        return {"maps": self.maps[torch.from_numpy(chosen)], "number": number, "state": state, "move": move}

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.rng.bit_generator.state, "order": self.order.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state, self.order = state["generator"], state["order"]


class Mover:
    """The best moves of a policy on the maps of `worlds`, as `grid_world.follow` asks for them.

    Args:
        policy: A policy with cells as states.
        worlds: The maps.
    """

    def __init__(self, policy: MapPolicy, worlds: GridWorlds):
        self.best = policy.eval().best(torch.from_numpy(worlds.inputs()))

    def __call__(self, number: np.ndarray, cell: np.ndarray) -> np.ndarray:
        parts = zip(torch.from_numpy(number).split(AT_ONCE), torch.from_numpy(cell).split(AT_ONCE))
        return torch.cat([self.best(*part) for part in parts]).numpy()


def starts_on(worlds: GridWorlds, count: int) -> Callable[[np.random.Generator, int], dict[str, Tensor]]:
    """Return a function that samples batches for `MapReinforce`: n maps with `count` starts that have a path."""
    maps, goal = torch.from_numpy(worlds.inputs()), torch.from_numpy(worlds.goal)
    free = torch.from_numpy(worlds.free).flatten(1)

    def draw(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        chosen = rng.choice(len(maps), n, replace=n > len(maps))
        starts = np.stack([rng.choice(np.flatnonzero(worlds.move[i] >= 0), count) for i in chosen])
        rows = torch.from_numpy(chosen)
        return {"maps": maps[rows], "free": free[rows], "goal": goal[rows], "start": torch.from_numpy(starts)}

    return draw


def trace(worlds: GridWorlds, best: Mover, steps: int = 40) -> np.ndarray:
    """Return the cells (n, steps + 1) of a policy's path from the first start of each map."""
    number, cells = np.arange(len(worlds.free)), [worlds.start[:, 0]]
    free, shift = worlds.free.reshape(len(number), -1), MOVES @ [worlds.free.shape[2], 1]
    for _ in range(steps):
        ahead = cells[-1] + shift[best(number, cells[-1])]
        moves = free[number, ahead] & (cells[-1] != worlds.goal)
        cells.append(np.where(moves, ahead, cells[-1]))
    return np.stack(cells, 1)

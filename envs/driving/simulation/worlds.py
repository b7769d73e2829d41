"""The state of N worlds on arrays: scenarios as tensors, and the present state of ego and traffic."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.arrays import compile_scenario

DT = 0.1  # [s] that a step takes
ROOM = 1024  # scenarios that are kept compiled, about 0.6 MB each
OVER_TIME = ("ego", "boxes", "velocities", "valid", "arc", "red")
"""Fields of `arrays.ScenarioArrays` whose first axis is the iterations."""


class TorchArrays:
    """Scenarios as tensors by the names of `arrays.ScenarioArrays`, compiled on demand.

    At most `ROOM` scenarios are kept, or twice the number of worlds; the least recently used are replaced. Row r of
    every table is scenario `number[r]`; if all scenarios fit, it is scenario r. Scenarios may have different lengths:
    shorter ones repeat their last iteration, and `length` (R,) holds the number of iterations.
    """

    def __init__(self, scenarios: Sequence[Scenario], max_agents: int, device: torch.device, num_worlds: int = 0):
        self.scenarios, self.max_agents, self.device = scenarios, max_agents, device
        self.number = np.full(min(len(scenarios), max(ROOM, 2 * num_worlds)), -1)
        self.row: OrderedDict[int, int] = OrderedDict()  # by scenario, the one used last at the end

    def rows(self, chosen: NDArray[np.int64], busy: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the rows of scenarios (n,), which are compiled if necessary. Rows in `busy` are not replaced."""
        wanted, kept = set(chosen.tolist()), set() if busy is None else set(busy.tolist())
        for number in sorted(wanted):
            if number not in self.row:
                self.row[number] = row = self._free_row(number, wanted, kept)
                self.number[row] = number
                self._compile(number, row)
            self.row.move_to_end(number)
        return np.array([self.row[number] for number in chosen.tolist()], np.int64)

    def _free_row(self, number: int, wanted: set[int], kept: set[int]) -> int:
        if len(self.number) == len(self.scenarios):
            return number
        if len(self.row) < len(self.number):
            return len(self.row)
        oldest = next(each for each, row in self.row.items() if each not in wanted and row not in kept)
        return self.row.pop(oldest)

    def _compile(self, number: int, row: int) -> None:
        compiled = compile_scenario(self.scenarios[number], self.max_agents)
        for f in fields(compiled):
            value = torch.as_tensor(getattr(compiled, f.name))
            if f.name not in self.__dict__:  # numpy's zeros take no memory before they are written to
                empty = np.zeros((len(self.number), *value.shape), value.numpy().dtype)
                setattr(self, f.name, torch.as_tensor(empty, device=self.device))
            if f.name in OVER_TIME:
                longest = max(len(value), getattr(self, f.name).shape[1])
                setattr(self, f.name, lengthened(getattr(self, f.name), longest, axis=1))
                value = lengthened(value, longest, axis=0)
            getattr(self, f.name)[row] = value

    def scenario(self, row: int) -> Scenario:
        """The scenario of a row."""
        return self.scenarios[int(self.number[row])]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def lengthened(table: Tensor, size: int, axis: int) -> Tensor:
    """The table with its last entry along an axis repeated up to `size`."""
    missing = size - table.shape[axis]
    if missing <= 0:
        return table
    last = table.narrow(axis, table.shape[axis] - 1, 1)
    return torch.cat([table, last.repeat_interleave(missing, axis)], axis)


@dataclass(frozen=True)
class Worlds:
    """N worlds at one time; every field has the worlds first."""

    scenario: Tensor  # (N,) int64 row of the arrays
    t: Tensor  # (N,) int64 iteration
    ego: Tensor  # (N, 11) as `types.StateColumn`
    boxes: Tensor  # (N, M, 5) the objects now
    velocities: Tensor  # (N, M, 2)
    valid: Tensor  # (N, M) bool
    agent_arc: Tensor  # (N, M) [m] how far each object is along its logged path
    agent_speed: Tensor  # (N, M) [m/s]
    path_s: Tensor  # (N,) [m] of the ego's box centre along the route's path
    path_offset: Tensor  # (N,) [m] left of it
    start_s: Tensor  # (N,) [m]
    hit: Tensor  # (N, M) bool: has collided before; each object counts once
    collided: Tensor  # (N,) bool: an at-fault collision in this step
    off_road: Tensor  # (N,) bool now
    ttc: Tensor  # (N,) bool: a collision within 0.9 s at constant velocities

    def where(self, mask: Tensor, other: "Worlds") -> "Worlds":
        """These worlds, those of `other` where `mask` (N,)."""
        return replace(
            self, **{f.name: pick(mask, getattr(other, f.name), getattr(self, f.name)) for f in fields(self)}
        )


def pick(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where mask (N,), else b; both (N, ...)."""
    return torch.where(mask.view(-1, *[1] * (a.ndim - 1)), a, b)

"""The state of N worlds on arrays: the scenarios as tensors, and where everybody is at one time."""

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
OVER_TIME = ("ego", "boxes", "velocities", "valid", "arc", "red")
"""Fields of `arrays.ScenarioArrays` whose first axis is the iterations."""


class TorchArrays:
    """Scenarios as tensors by the names of `arrays.ScenarioArrays`, each compiled when it is first asked for.

    Scenarios of different lengths stand side by side: each repeats its last iteration up to the longest one's, and
    `length` (S,) has the number of its own.
    """

    def __init__(self, scenarios: Sequence[Scenario], max_agents: int, device: torch.device):
        self.scenarios, self.max_agents, self.device = scenarios, max_agents, device
        self.ready = np.zeros(len(scenarios), bool)

    def need(self, chosen: NDArray[np.int64]) -> None:
        """Compile the scenarios (n,) that are not yet."""
        for number in np.unique(chosen[~self.ready[chosen]]).tolist():
            compiled = compile_scenario(self.scenarios[number], self.max_agents)
            for f in fields(compiled):
                value = torch.as_tensor(getattr(compiled, f.name))
                if f.name not in self.__dict__:  # numpy's zeros take no memory before they are written to
                    empty = np.zeros((len(self.scenarios), *value.shape), value.numpy().dtype)
                    setattr(self, f.name, torch.as_tensor(empty, device=self.device))
                if f.name in OVER_TIME:
                    longest = max(len(value), getattr(self, f.name).shape[1])
                    setattr(self, f.name, lengthened(getattr(self, f.name), longest, axis=1))
                    value = lengthened(value, longest, axis=0)
                getattr(self, f.name)[number] = value
            self.ready[number] = True

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

    scenario: Tensor  # (N,) int64 index into the arrays
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

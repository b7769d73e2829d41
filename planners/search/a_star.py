"""A* search (Hart, Nilsson & Raphael 1968) in deterministic models with discrete actions and hashable states."""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.state import batch_size
from embodia.planners.trees import index


@runtime_checkable
class Recognisable(WorldModel, Protocol):
    """A model whose states can be compared."""

    def key(self, state: State) -> Hashable:
        """Return a hashable key that identifies the state of one environment."""


@dataclass(frozen=True)
class AStar:
    """Cheapest path to a state in which the model ends the episode. A step costs minus its reward.

    The model needs `key(state)` (hashable) and may have `remaining(state)`, a lower bound of the cost to go. Without it
    this is Dijkstra's algorithm. The objective is ignored.
    """

    actions: int
    """Number of actions."""
    limit: int = 100_000
    """Maximum number of expanded states."""

    def plan(self, model: WorldModel, state: State, objective: Objective | None, carry: Carry) -> tuple[Tensor, Carry]:
        """Return shortest plans (B, H) int64 for states (B, ...), padded by their last action, and {} as carry.

        Raises:
            TypeError: If the model has no `key(state)`.
            RuntimeError: If no plan exists, or `limit` states were expanded.
        """
        if not isinstance(model, Recognisable):
            raise TypeError(f"A* needs a model with `key(state)`, which {type(model).__name__} lacks")
        plans = [self.search(model, index(state, torch.tensor([b]))) for b in range(batch_size(state))]
        longest = max(1, *(len(plan) for plan in plans))
        padded = [plan + [plan[-1] if plan else 0] * (longest - len(plan)) for plan in plans]
        return torch.tensor(padded, dtype=torch.int64), {}

    def search(self, model: Recognisable, start: State) -> list[int]:
        """Return the cheapest actions from a state to an end; [] if the state is an end."""
        key = model.key
        remaining = getattr(model, "remaining", lambda state: 0.0)
        order = count()
        queue = [(remaining(start), next(order), 0.0, start)]
        best = {key(start): 0.0}
        came: dict = {}
        for _ in range(self.limit):
            if not queue:
                break
            _, _, cost, state = heapq.heappop(queue)
            here = key(state)
            if cost > best[here]:
                continue
            if float(model.predict(state)["cont"][0]) == 0.0:
                return walk_back(came, here)
            for action in range(self.actions):
                after = model.imagine(state, torch.tensor([action]))
                there, price = key(after), cost - float(model.predict(after)["reward"][0])
                if price < best.get(there, float("inf")):
                    best[there], came[there] = price, (here, action)
                    heapq.heappush(queue, (price + remaining(after), next(order), price, after))
        reason = "the goal cannot be reached" if not queue else f"the limit of {self.limit} expanded states was reached"
        raise RuntimeError(f"A* found no plan: {reason}")


def walk_back(came: dict, key: object) -> list[int]:
    """Return the actions that led to `key`."""
    actions = []
    while key in came:
        key, action = came[key]
        actions.append(action)
    return actions[::-1]

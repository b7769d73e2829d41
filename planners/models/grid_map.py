"""A known map of free and occupied cells as a world model, small enough for exact planning."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from embodia.planners import Prediction, State

MOVES = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0], [1, 1], [1, -1], [-1, -1], [-1, 1]])  # (row, column)


class GridMap:
    """Moves between free cells. A move into an obstacle or off the map has no effect. The goal ends the episode.

    State: {"cell": (B, 2) int64, row and column}. The reward is minus the length of the move (1, or sqrt 2 for a
    diagonal), and 0 at the goal.

    Args:
        free: Free cells (H, W).
        goal: (row, column) of the goal.
        diagonal: Also allow the four diagonal moves.

    Raises:
        ValueError: If the goal is not a free cell.
    """

    def __init__(self, free: Tensor, goal: tuple[int, int], diagonal: bool = False):
        self.free, self.goal = free.bool(), torch.tensor(goal)
        self.moves = MOVES[: 8 if diagonal else 4]
        self.lengths = self.moves.double().norm(dim=-1)
        if not bool(self.free[goal]):
            raise ValueError(f"the goal {goal} is not a free cell of the map")

    def initial(self, n: int) -> State:
        return {"cell": self.goal.expand(n, 2).clone(), "reward": torch.zeros(n, dtype=torch.float64)}

    def observe(self, state: State, obs: Mapping[str, Any], action: Tensor, first: Tensor) -> State:
        cell = torch.as_tensor(obs["cell"], dtype=torch.int64)
        return {"cell": cell, "reward": torch.zeros(len(cell), dtype=torch.float64)}

    def imagine(self, state: State, action: Tensor) -> State:
        here = state["cell"]
        there = here + self.moves[action]
        size = torch.tensor(self.free.shape)
        inside = ((there >= 0) & (there < size)).all(-1)
        clipped = there.clamp(torch.zeros(2, dtype=torch.int64), size - 1)
        done = (here == self.goal).all(-1)
        moves = inside & self.free[clipped[:, 0], clipped[:, 1]] & ~done
        reward = torch.where(done, 0.0, -self.lengths[action])
        return {"cell": torch.where(moves[:, None], there, here), "reward": reward}

    def predict(self, state: State) -> Prediction:
        done = (state["cell"] == self.goal).all(-1)
        return {"reward": state["reward"], "cont": (~done).double(), "state": state["cell"].double()}

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        raise TypeError("GridMap has known dynamics; there is nothing to learn")

    def key(self, state: State) -> tuple[int, ...]:
        """Return a key that identifies the state of one environment, for search."""
        return tuple(state["cell"][0].tolist())

    def transitions(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the whole Markov decision process: outcome, probability (S, A, 1), reward and cont (S, A)."""
        height, width = self.free.shape
        cells = torch.cartesian_prod(torch.arange(height), torch.arange(width))  # (S, 2)
        count = len(self.moves)
        state = {"cell": cells.repeat_interleave(count, 0), "reward": torch.zeros(len(cells) * count)}
        after = self.imagine(state, torch.arange(count).repeat(len(cells)))
        outcome = (after["cell"][:, 0] * width + after["cell"][:, 1]).view(-1, count, 1)
        # Obstacles are unreachable states. They end the episode, so that every value is finite.
        cont = self.predict(after)["cont"].view(-1, count) * self.free.reshape(-1, 1)
        return outcome, torch.ones_like(outcome, dtype=torch.float64), after["reward"].view(-1, count), cont

    def state_index(self, state: State) -> Tensor:
        """Return the row (B,) of each environment's state in `transitions`."""
        return state["cell"][:, 0] * self.free.shape[1] + state["cell"][:, 1]

    def remaining(self, state: State) -> float:
        """Return an admissible cost to go for A*: the octile or Manhattan distance."""
        distance = (state["cell"][0] - self.goal).abs().double()
        if len(self.moves) == 4:
            return float(distance.sum())
        return float(distance.max() + (2**0.5 - 1) * distance.min())

"""Learning costs with a planner in the loop: push down the cost of the expert's path, and up that of the planner's.

The plain loop is a structured perceptron (Collins 2002): the loss is the expert's relative regret under the learned
costs. A planner is any function from costs to visits, so the loop works with every planner.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from embodia.agents.imitation.inverse.dynamics import Dynamics
from embodia.planners.search.cheapest_paths import CheapestPaths

Plan = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""Maps costs of cells (W, cells) and the batch to the planner's visits of cells (W, cells)."""


class MapPlanner:
    """Cheapest paths on W maps of the same size, from `batch["start"]` (W,), a state, to `batch["goal"]` (W,), a cell.

    The cost of a move is its length times the cost of the cell that it leads to. The visits of a path are the lengths
    of its moves, at the cells that they lead to, so a path costs `(cost * visits).sum()`.

    Args:
        dynamics: deterministic moves between states.
        cell_of: cell of each state (S,); by default states are cells.
        lengths: length of each action (A,); by default 1.
    """

    def __init__(self, dynamics: Dynamics, cell_of: Tensor | None = None, lengths: Tensor | None = None):
        outcome = dynamics.outcome[..., 0].numpy()
        self.paths = CheapestPaths(outcome)
        self.cell_of = np.arange(len(outcome)) if cell_of is None else cell_of.numpy()
        self.lengths = np.ones(outcome.shape[1]) if lengths is None else lengths.numpy()
        self.after = self.cell_of[outcome]  # (S, A), the cell that each move leads to

    def __call__(self, cost: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        found = torch.zeros_like(cost)
        prices = cost.detach().double().cpu().numpy()
        for world, (start, goal) in enumerate(zip(batch["start"].tolist(), batch["goal"].tolist())):
            moves = self.moves(prices[world])
            states, actions = self.paths.path(moves, self.to_go(moves, goal), start)
            found[world] = self.visits(states, actions).to(found)
        return found

    def moves(self, cost: np.ndarray) -> np.ndarray:
        """Return the costs of moves (S, A) for costs of cells (cells,)."""
        return self.lengths * cost[self.after]

    def to_go(self, moves: np.ndarray, goal: int) -> np.ndarray:
        """Return the cost to go (S,) to a goal cell for costs of moves (S, A)."""
        return self.paths.to_go(moves, np.flatnonzero(self.cell_of == goal))

    def visits(self, states: np.ndarray, actions: np.ndarray) -> Tensor:
        """Return the visits of cells (cells,) of a path: states (T,) and the actions (T,) in them."""
        count = int(self.cell_of.max()) + 1
        return torch.from_numpy(np.bincount(self.after[states, actions], self.lengths[actions], minlength=count))


class CostLoop(nn.Module):
    """The plain loop as a learner: log of the expert's path's cost over that of the planner's.

    The ratio does not depend on the scale of the costs, whereas their difference would be small for any path if all
    costs were near zero.

    Args:
        cost: maps features to costs of cells (W, cells).
        plan: the planner.
    """

    def __init__(self, cost: nn.Module, plan: Plan):
        super().__init__()
        self.cost, self.plan = cost, plan

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take {"features", "visits" (W, cells) of the expert's path, "start" (W,), "goal" (W,)}."""
        cost = self.cost(batch["features"])
        planned = self.plan(cost, batch)
        ratio = (cost * batch["visits"]).sum(-1) / (cost * planned).sum(-1)
        return ratio.log().mean(), {"overlap": overlap(planned, batch["visits"]).mean()}


def overlap(planned: Tensor, visits: Tensor) -> Tensor:
    """Return the share (W,) of the expert's path that the planned path shares, from visits (W, cells)."""
    return torch.minimum(planned, visits).sum(-1) / visits.sum(-1)

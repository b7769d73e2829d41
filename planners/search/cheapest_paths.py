"""Cheapest paths in a finite deterministic model, by Dijkstra's algorithm (Dijkstra 1959) from the goal backwards."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

Array = NDArray[Any]


class CheapestPaths:
    """Cheapest paths for changing costs of the same moves.

    Args:
        outcome: next states (S, A) int. A move that leads to its own state is never taken.
    """

    def __init__(self, outcome: Array):
        self.outcome = np.asarray(outcome)
        states, actions = self.outcome.shape
        before = np.repeat(np.arange(states), actions)
        self.moves = np.flatnonzero(self.outcome.ravel() != before)
        self.before, self.after = before[self.moves], self.outcome.ravel()[self.moves]

    def to_go(self, cost: Array, goal: Array) -> Array:
        """Return the cost of the cheapest path from every state to the nearest goal, (S,); infinite without a path.

        Args:
            cost: positive costs of the moves (S, A).
            goal: goal states (G,).

        Raises:
            ValueError: if the costs are of another shape, not finite or not positive.
        """
        if cost.shape != self.outcome.shape:
            raise ValueError(f"costs have shape {cost.shape}; give one for each of the {self.outcome.shape} moves")
        paid = cost.ravel()[self.moves]
        if not (np.isfinite(paid).all() and (paid > 0).all()):
            wrong = int(np.flatnonzero(~(np.isfinite(paid) & (paid > 0)))[0])
            raise ValueError(f"the move from state {self.before[wrong]} to {self.after[wrong]} costs {paid[wrong]}; "
                             "costs must be finite and above 0")  # fmt: skip
        backwards = csr_matrix((paid, (self.after, self.before)), shape=(len(cost), len(cost)))
        found: Array = dijkstra(backwards, indices=np.atleast_1d(goal), min_only=True)
        return found

    def best(self, prices: Array, to_go: Array, state: int) -> int:
        """Return the action that starts the cheapest path from a state, for the costs (A,) of its moves."""
        after = self.outcome[state]
        return int(np.where(after == state, np.inf, prices + to_go[after]).argmin())

    def path(self, cost: Array, to_go: Array, start: int) -> tuple[Array, Array]:
        """Return the states (T,) and actions (T,) of the cheapest path from `start`, without the goal.

        Raises:
            ValueError: if no path leads from `start` to the goal.
        """
        if not np.isfinite(to_go[start]):
            raise ValueError(f"no path leads from state {start} to the goal")
        states, actions = [], []
        while to_go[start] > 0:
            states.append(start)
            actions.append(self.best(cost[start], to_go, start))
            start = int(self.outcome[start, actions[-1]])
        return np.array(states, np.int64), np.array(actions, np.int64)

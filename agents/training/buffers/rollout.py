"""A rollout: the newest rows of every world, learned from once, with advantages (PPO, A2C)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from embodia.agents import Array, Row
from embodia.agents.training.buffers.tables import empty, only, write
from embodia.planners.trees import index


def advantages(
    reward: Array, value: Array, last: Array, terminal: Array, gamma: float, gae_lambda: float
) -> tuple[Array, Array]:
    """Generalized advantage estimation over rows (Schulman et al. 2016, eq. 16) for next-step autoreset.

    reward, value, last, terminal: (T + 1, n) rows. delta_t = r_{t+1} + gamma V_{t+1} (1 - terminal_{t+1}) - V_t, and
    the sum stops behind a last row. A truncated episode is thus bootstrapped from its own last observation.

    Returns advantage and return (advantage + value), each (T, n) float32; 0 and V_t in rows that are last.
    """
    steps = len(reward) - 1
    next_value = np.where(terminal[1:], 0.0, value[1:])
    delta = np.where(last[:-1], 0.0, reward[1:] + gamma * next_value - value[:-1])
    decay = np.where(last[1:] | last[:-1], 0.0, gamma * gae_lambda)
    advantage = np.zeros((steps + 1, reward.shape[1]))
    for t in reversed(range(steps)):
        advantage[t] = delta[t] + decay[t] * advantage[t + 1]
    return advantage[:-1].astype(np.float32), (advantage[:-1] + value[:-1]).astype(np.float32)


class RolloutBuffer:
    """Gives the last `n_steps` transitions of every world once, then starts again.

    A rollout is n_steps + 1 rows, the last of which opens the next rollout. One batch: the rows {obs, action, extras,
    first, ...} each (n_steps, n, ...), with `valid` (n_steps, n) where the row is not a last one, and `advantage` and
    `return` (n_steps, n) from `extras["value"]`. `keys` are the observations kept, by default all.
    """

    def __init__(self, n_steps: int, gamma: float, gae_lambda: float, keys: Sequence[str] | None = None):
        self.n_steps, self.gamma, self.gae_lambda = n_steps, gamma, gae_lambda
        self.keys = keys
        self.rows: Any = None
        self.length = 0

    def add(self, row: Row) -> None:
        row = only(row, self.keys)
        if self.rows is None:
            self.rows = empty(row, self.n_steps + 1)
        elif self.length == self.n_steps + 1:
            newest = index(self.rows, -1)
            self.rows, self.length = empty(row, self.n_steps + 1), 1  # new arrays: a batch may outlive its rollout
            write(self.rows, newest, 0)
        write(self.rows, row, self.length)
        self.length += 1

    def batches(self) -> Iterator[dict[str, Any]]:
        if self.length == self.n_steps + 1:
            rows = self.rows
            advantage, returns = advantages(
                rows["reward"], rows["extras"]["value"], rows["last"], rows["terminal"], self.gamma, self.gae_lambda
            )
            kept = index({key: value for key, value in rows.items() if key != "reward"}, slice(0, -1))
            yield {**kept, "valid": ~kept["last"], "advantage": advantage, "return": returns}

    def state_dict(self) -> dict[str, Any]:
        return {"rows": index(self.rows, slice(0, self.length)) if self.length else None, "length": self.length}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.length = None, 0
        for t in range(state["length"]):
            self.add(index(state["rows"], t))

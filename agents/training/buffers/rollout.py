"""Rollout buffer: the newest rows of every environment with advantages, used once (PPO, A2C)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from embodia.agents import Array, Row
from embodia.agents.training.buffers.tables import empty, only, write
from embodia.planners.trees import index


def advantages(
    reward: Array, value: Array, last: Array, terminal: Array, gamma: float, gae_lambda: float
) -> tuple[Array, Array]:
    """Generalized advantage estimation (Schulman et al. 2016, eq. 16) over rows with next-step autoreset.

    delta_t = r_{t+1} + gamma V_{t+1} (1 - terminal_{t+1}) - V_t, and the sum stops after a last row. A truncated
    episode is therefore bootstrapped from its own last observation.

    Args:
        reward, value, last, terminal: rows, (T + 1, n).
        gamma: discount factor.
        gae_lambda: lambda.

    Returns:
        Advantage and return (advantage + value), each (T, n) float32; 0 and V_t in last rows.
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
    """Yields the last `n_steps` transitions of every environment once, then starts again.

    A rollout is n_steps + 1 rows, the last of which is the first row of the next rollout. Each rollout is one batch:
    the rows {obs, action, extras, first, ...}, each (n_steps, n, ...), with `valid` (n_steps, n), False in last rows,
    and `advantage` and `return` (n_steps, n), computed from `extras["value"]`.

    Args:
        n_steps: steps of each environment per rollout.
        gamma: discount factor.
        gae_lambda: lambda of generalized advantage estimation.
        keys: the observations to store; by default all.
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
            self.rows, self.length = empty(row, self.n_steps + 1), 1  # new arrays, because a batch may still be in use
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

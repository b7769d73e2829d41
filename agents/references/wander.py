"""An agent with temporally correlated random actions, which explores further than independent ones."""

from typing import Any

import numpy as np
from gymnasium import spaces
from scipy.special import ndtr

from embodia.agents import Array, Carry
from embodia.agents.references.random import Random


class Wander(Random):
    """Random actions in a bounded Box (A,), uniform at each time and correlated over time.

    Each coordinate is u = Phi(x), scaled to its bounds, with x' = persistence x + sqrt(1 - persistence^2) noise. This
    autoregressive process has the standard normal distribution at each time. Carry: {"x": (n, A)}.

    Raises:
        TypeError: if the action space is not a bounded Box (A,).
        ValueError: if persistence is not in [0, 1).
    """

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space[Any], persistence: float = 0.7, seed: int = 0
    ):
        if not isinstance(action_space, spaces.Box) or len(action_space.shape) != 1 or not action_space.is_bounded():
            raise TypeError(f"wander needs a bounded Box (A,) action space, not {action_space}; use random")
        if not 0 <= persistence < 1:
            raise ValueError(f"persistence is {persistence}; it must be in [0, 1), where 0 gives independent actions")
        super().__init__(observation_space, action_space, seed)
        self.persistence = persistence

    def initial(self, n: int) -> Carry:
        return {"x": np.zeros((n, *(self.action_space.shape or ())))}

    def act(self, obs: Any, carry: Carry, first: Array, mode: str) -> tuple[Array, Carry, dict[str, Array]]:
        assert isinstance(self.action_space, spaces.Box)
        fresh = self.rng.standard_normal(carry["x"].shape)
        gone_on = self.persistence * carry["x"] + np.sqrt(1 - self.persistence**2) * fresh
        x = np.where(first[:, None], fresh, gone_on)
        low, high = self.action_space.low, self.action_space.high
        return (low + (high - low) * ndtr(x)).astype(self.action_space.dtype), {"x": x}, {}

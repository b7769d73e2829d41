"""An agent that wanders: random actions that persist for a while, which leads further than independent ones."""

from typing import Any

import numpy as np
from gymnasium import spaces
from scipy.special import ndtr

from embodia.agents import Array, Carry
from embodia.agents.references.random import Random


class Wander(Random):
    """Actions between the bounds of a Box (A,), uniform at any time and correlated in time.

    Each coordinate is u = Phi(x) between its bounds, with x' = persistence x + sqrt(1 - persistence^2) noise: an
    autoregressive walk whose distribution stays the standard normal. Carry: {"x": (n, A)}.

    Raises:
        TypeError: for other action spaces.
    """

    def __init__(
        self, observation_space: spaces.Dict, action_space: spaces.Space[Any], persistence: float = 0.7, seed: int = 0
    ):
        if not isinstance(action_space, spaces.Box) or len(action_space.shape) != 1 or not action_space.is_bounded():
            raise TypeError(f"actions persist between the bounds of a Box (A,), not in {action_space}; take random")
        if not 0 <= persistence < 1:
            raise ValueError(f"persistence is {persistence}; give 0 (independent) to below 1 (for ever the same)")
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

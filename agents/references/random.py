"""An agent that samples every action from the action space: the lower reference of every comparison."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from embodia.agents import Array, Carry
from embodia.agents.references.untrained import Untrained


class Random(Untrained):
    """Samples actions as the action space does: uniformly where it is bounded."""

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any], seed: int = 0):
        self.observation_space, self.action_space = observation_space, action_space
        self.rng = np.random.default_rng(seed)
        self._batched: dict[int, spaces.Space[Any]] = {}

    def act(self, obs: Any, carry: Carry, first: Array, mode: str) -> tuple[Array, Carry, dict[str, Array]]:
        n = len(first)
        if n not in self._batched:
            self._batched[n] = batch_space(self.action_space, n)
        space = self._batched[n]
        space._np_random = self.rng
        return np.asarray(space.sample()), carry, {}

    def training_state(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]

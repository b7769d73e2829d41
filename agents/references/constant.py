"""An agent that always takes the same action: the score of a policy that ignores its observations."""

from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry
from embodia.agents.references.untrained import Untrained


class Constant(Untrained):
    """Always takes the same action (for example the `forward-only` baseline of the Habitat papers)."""

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any], action: Any):
        self.observation_space, self.action_space = observation_space, action_space
        self.action = np.asarray(action, action_space.dtype)

    def act(self, obs: Any, carry: Carry, first: Array, mode: str) -> tuple[Array, Carry, dict[str, Array]]:
        return np.broadcast_to(self.action, (len(first), *self.action.shape)).copy(), carry, {}

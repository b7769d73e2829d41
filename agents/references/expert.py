"""An agent that follows the environment's privileged expert: the upper reference of every comparison."""

from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry, Mode
from embodia.agents.references.untrained import Untrained


class Expert(Untrained):
    """Takes `expert_action`; an environment whose task has no expert raises NoExpert."""

    needs_expert: tuple[Mode, ...] = ("train", "eval")

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any]):
        self.observation_space, self.action_space = observation_space, action_space

    def act(self, obs: Any, carry: Carry, first: Array, mode: Mode) -> tuple[Array, Carry, dict[str, Array]]:
        return np.asarray(obs["expert_action"]), carry, {}

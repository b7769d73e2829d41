"""An agent that does what the environment's privileged expert does: the bar of every comparison."""

from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry, Mode
from embodia.agents.references.untrained import Untrained


class Expert(Untrained):
    """Follows `expert_action`; the environment raises NoExpert where its task has none."""

    needs_expert: tuple[Mode, ...] = ("train", "eval")

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any]):
        self.observation_space, self.action_space = observation_space, action_space

    def act(self, obs: Any, carry: Carry, first: Array, mode: Mode) -> tuple[Array, Carry, dict[str, Array]]:
        return np.asarray(obs["expert_action"]), carry, {}

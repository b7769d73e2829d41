"""DAgger: learn from the expert's advice in the states the learner itself gets into (Ross, Gordon & Bagnell 2011)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import Space

from embodia.agents import Array, Carry, Mode
from embodia.agents.imitation.bc import BC, BCConfig
from embodia.perception import Encoder


@dataclass(frozen=True)
class DAggerConfig(BCConfig):
    """DAgger. A round is `train_freq` rows and then `gradient_steps` updates on everything collected so far."""

    beta: float = 0.0
    """Round i is driven by the expert with probability beta ** i (algorithm 3.1): 0 lets it drive the first alone."""
    explore: bool = True
    """Whether the learner draws its actions in training, or takes the likeliest."""


class DAgger(BC):
    """Behaviour cloning whose data set is gathered by the learner and labelled by the expert.

    Who drives is drawn anew for every world and step, as in the paper's mixture policy. With memory the learner's own
    memory runs along while the expert drives, and each row keeps what it was before (stored state: Kapturowski et al.
    2019, R2D2), so that a piece from the middle of an episode is learned with a past. Its control is `BC` with the
    same settings: as many labels, as many updates, all from the expert's own episodes.
    """

    config: DAggerConfig

    def __init__(self, encoder: Encoder, action_space: Space[Any], config: DAggerConfig | None = None):
        super().__init__(encoder, action_space, config or DAggerConfig())

    @property
    def beta(self) -> float:
        """Probability that the expert drives a step in this round."""
        return self.config.beta ** (self.updates // self.config.gradient_steps)

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """In training the learner's action, or with probability beta the expert's; else as `BC`."""
        if mode != "train":
            return self._evaluated(obs, carry, first)
        remembered = {"memory": carry["memory"].half().cpu().numpy()} if "memory" in carry else {}
        features, carry = self._features(obs, carry, first)
        head = self.policy.head
        self.rows += len(first)
        chosen = head.sample(features, self.generator) if self.config.explore else head.mode(features)
        own, expert = self._numpy(chosen), np.asarray(obs["expert_action"])
        drawn = torch.rand(len(own), generator=self.generator, device=self.device).cpu().numpy() < self.beta
        return np.where(drawn.reshape(-1, *[1] * (own.ndim - 1)), expert, own), carry, remembered

"""DAgger: learn the expert's actions in states that the learner itself visits (Ross, Gordon & Bagnell 2011)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import Space

from embodia.agents import Array, Carry, Mode
from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.training import distributed
from embodia.perception import Encoder


@dataclass(frozen=True)
class DAggerConfig(BCConfig):
    """DAgger. A round is `train_freq` steps of every environment, then `gradient_steps` updates on all data so far."""

    beta: float = 0.0
    """In round i the expert acts with probability beta ** i (algorithm 3.1). With 0 it acts in the first round only."""
    explore: bool = True
    """Sample the learner's actions in training; otherwise take the most likely action."""


class DAgger(BC):
    """Behaviour cloning on data that the learner collects and the expert labels.

    The acting policy (learner or expert) is sampled for each environment and step, as in the paper's mixture policy.
    The learner's memory is updated also while the expert acts. Each row stores the memory before it (stored state:
    Kapturowski et al. 2019, R2D2), so training on a sequence from the middle of an episode starts from it. The
    baseline is `BC` with the same settings: as many labels and updates, all from the expert's own episodes.
    """

    config: DAggerConfig

    def __init__(self, encoder: Encoder, action_space: Space[Any], config: DAggerConfig | None = None):
        super().__init__(encoder, action_space, config or DAggerConfig())

    @property
    def beta(self) -> float:
        """Probability that the expert acts in a step of this round."""
        return self.config.beta ** (self.updates // self.config.gradient_steps)

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """In training the learner's action, or with probability beta the expert's; in evaluation as `BC`."""
        if mode != "train":
            return self._evaluated(obs, carry, first)
        remembered = {"memory": carry["memory"].half().cpu().numpy()} if "memory" in carry else {}
        features, carry = self._features(obs, carry, first)
        head = self.policy.head
        self.rows += len(first) * distributed.processes()
        chosen = head.sample(features, self.generator) if self.config.explore else head.mode(features)
        own, expert = self._numpy(chosen), np.asarray(obs["expert_action"])
        drawn = torch.rand(len(own), generator=self.generator, device=self.device).cpu().numpy() < self.beta
        return np.where(drawn.reshape(-1, *[1] * (own.ndim - 1)), expert, own), carry, remembered

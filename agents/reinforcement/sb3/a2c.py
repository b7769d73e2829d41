"""Advantage actor-critic (Mnih et al. 2016, synchronous) by Stable-Baselines3."""

from dataclasses import dataclass
from typing import Any

import stable_baselines3
from gymnasium import spaces

from embodia.agents.reinforcement.sb3.on_policy import ActorCritic, NoRollout, OnPolicy
from embodia.perception import Encoder


@dataclass(frozen=True)
class A2CConfig:
    """Advantage actor-critic (Mnih et al. 2016, synchronous) by Stable-Baselines3."""

    seed: int = 0
    """Unused by A2C itself, which shuffles nothing; weights and actions follow the global generators (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the layers between encoder and policy, and between encoder and value."""
    learning_rate: float = 7e-4
    """Of RMSprop."""
    anneal_rows: int = 0
    """Rows (over all worlds) in which the learning rate falls to 0; 0 keeps it."""
    n_steps: int = 5
    """Rows of each world per rollout."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 1.0
    """Decay of generalized advantage estimation."""
    ent_coef: float = 0.01
    """Weight of the entropy."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Greatest norm of the gradient."""


class A2C(OnPolicy):
    """Synchronous advantage actor-critic by Stable-Baselines3. Arguments as `PPO`."""

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: A2CConfig | None = None):
        super().__init__(encoder, action_space, config or A2CConfig())

    def _algorithm(self, **shared: Any) -> stable_baselines3.A2C:
        c = self.config
        return stable_baselines3.A2C(
            ActorCritic,
            n_steps=c.n_steps,
            gamma=c.gamma,
            gae_lambda=c.gae_lambda,
            ent_coef=c.ent_coef,
            vf_coef=c.vf_coef,
            max_grad_norm=c.max_grad_norm,
            rollout_buffer_class=NoRollout,
            **shared,
        )

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
    """Unused by A2C, which does not shuffle; weights and actions depend on the run's seed (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the policy, and of the value network, after the encoder."""
    learning_rate: float = 7e-4
    """RMSprop's learning rate."""
    anneal_rows: int = 0
    """Rows (over all environments) over which the learning rate falls to 0; 0 keeps it constant."""
    n_steps: int = 5
    """Steps of each environment per rollout."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 1.0
    """Lambda of generalized advantage estimation."""
    ent_coef: float = 0.01
    """Entropy coefficient."""
    vf_coef: float = 0.5
    """Value loss coefficient."""
    max_grad_norm: float = 0.5
    """Maximum gradient norm (gradients are clipped to it)."""


class A2C(OnPolicy):
    """Synchronous advantage actor-critic by Stable-Baselines3.

    Args:
        encoder: reads the observations; its `space` is the agent's observation space.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        config: hyperparameters.
    """

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

"""Proximal policy optimization (Schulman et al. 2017) by Stable-Baselines3."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import stable_baselines3
from gymnasium import spaces

from embodia.agents.reinforcement.sb3.on_policy import ActorCritic, NoRollout, OnPolicy
from embodia.perception import Encoder


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimization (Schulman et al. 2017) by Stable-Baselines3."""

    seed: int = 0
    """Of the minibatches' shuffling; weights and actions follow the global generators (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the layers between encoder and policy, and between encoder and value."""
    learning_rate: float = 3e-4
    """Of Adam."""
    anneal_rows: int = 0
    """Rows (over all worlds) in which the learning rate falls to 0; 0 keeps it."""
    n_steps: int = 128
    """Rows of each world per rollout."""
    batch_size: int = 256
    """Transitions per minibatch."""
    n_epochs: int = 4
    """Passes over a rollout."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """Decay of generalized advantage estimation."""
    clip_range: float = 0.2
    """Of the probability ratio."""
    ent_coef: float = 0.01
    """Weight of the entropy."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Greatest norm of the gradient."""
    target_kl: float | None = None
    """Ends the passes over a rollout early above 1.5 times this divergence; None never does."""

    def problems(self, num_envs: int) -> Iterator[str]:
        """What cannot work with so many worlds side by side."""
        rows = self.n_steps * num_envs
        if self.batch_size > rows:
            yield f"agent.batch_size is {self.batch_size}, but a rollout is agent.n_steps x env.num_envs = {rows} rows"


class PPO(OnPolicy):
    """Proximal policy optimization by Stable-Baselines3.

    Args:
        encoder: reads the observations; its `space` is the agent's.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        config: the settings.
    """

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: PPOConfig | None = None):
        config = config or PPOConfig()
        if config.batch_size < 2:
            raise ValueError("batch_size 1 leaves nothing to normalize advantages over; give at least 2")
        super().__init__(encoder, action_space, config)

    def _algorithm(self, **shared: Any) -> stable_baselines3.PPO:
        c = self.config
        return stable_baselines3.PPO(
            ActorCritic,
            n_steps=c.n_steps,
            batch_size=c.batch_size,
            n_epochs=c.n_epochs,
            gamma=c.gamma,
            gae_lambda=c.gae_lambda,
            clip_range=c.clip_range,
            ent_coef=c.ent_coef,
            vf_coef=c.vf_coef,
            max_grad_norm=c.max_grad_norm,
            target_kl=c.target_kl,
            rollout_buffer_class=NoRollout,
            **shared,
        )

"""Proximal policy optimization (Schulman et al. 2017) by Stable-Baselines3."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import stable_baselines3
from gymnasium import spaces

from embodia.agents.reinforcement.sb3.on_policy import ActorCritic, NoRollout, OnPolicy
from embodia.perception import Encoder


@dataclass(frozen=True)
class SB3PPOConfig:
    """Proximal policy optimization (Schulman et al. 2017) by Stable-Baselines3."""

    seed: int = 0
    """Random seed of minibatch shuffling; weights and actions depend on the run's seed (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the policy, and of the value network, after the encoder."""
    learning_rate: float = 3e-4
    """Adam's learning rate."""
    anneal_rows: int = 0
    """Rows (over all environments) over which the learning rate falls to 0; 0 keeps it constant."""
    n_steps: int = 128
    """Steps of each environment per rollout."""
    batch_size: int = 256
    """Transitions per minibatch."""
    n_epochs: int = 4
    """Epochs per rollout."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation."""
    clip_range: float = 0.2
    """Clipping range of the probability ratio."""
    ent_coef: float = 0.01
    """Entropy coefficient."""
    vf_coef: float = 0.5
    """Value loss coefficient."""
    max_grad_norm: float = 0.5
    """Maximum gradient norm (gradients are clipped to it)."""
    target_kl: float | None = None
    """Stop the epochs of a rollout early if the KL divergence exceeds 1.5 times this value; None for no limit."""

    def problems(self, num_envs: int) -> Iterator[str]:
        """Yield messages about settings that cannot work with this number of parallel environments."""
        rows = self.n_steps * num_envs
        if self.batch_size > rows:
            yield f"agent.batch_size is {self.batch_size}, but a rollout is agent.n_steps x env.num_envs = {rows} rows"


class SB3PPO(OnPolicy):
    """Proximal policy optimization by Stable-Baselines3.

    Args:
        encoder: reads the observations; its `space` is the agent's observation space.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        config: hyperparameters.

    Raises:
        ValueError: if `batch_size` is below 2, or as `SB3Agent`.
    """

    former_names = ("PPO",)

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: SB3PPOConfig | None = None):
        config = config or SB3PPOConfig()
        if config.batch_size < 2:
            raise ValueError("batch_size must be at least 2, because advantages are normalized over a minibatch")
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

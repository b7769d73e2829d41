"""Dreamer's actor network, and the lambda-returns that actor and critic are trained on."""

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Mode
from embodia.perception.encoders.mlp import mlp, zeroed
from embodia.planners.models.networks import rms_layer


def lambda_returns(reward: Tensor, cont: Tensor, value: Tensor, gae_lambda: float | Tensor) -> Tensor:
    """Compute R_t = r_{t+1} + c_{t+1} ((1 - lambda) V_{t+1} + lambda R_{t+1}), bootstrapped from the last value.

    Args:
        reward, cont, value: (H + 1, N), for the states 0..H.
        gae_lambda: lambda, a number or one per state (H + 1, N).

    Returns:
        The returns of the states 0..H - 1, (H, N).
    """
    running = value[-1]
    returns = []
    for t in reversed(range(len(reward) - 1)):
        lam = gae_lambda[t + 1] if isinstance(gae_lambda, Tensor) else gae_lambda
        running = reward[t + 1] + cont[t + 1] * ((1 - lam) * value[t + 1] + lam * running)
        returns.append(running)
    return torch.stack(returns[::-1])


class Actor(nn.Module):
    """A policy on the world model's features: categorical, mixed with a uniform one, or a bounded Gaussian."""

    def __init__(self, space: spaces.Space[Any], features: int, units: int, unimix: float):
        super().__init__()
        self.space, self.unimix = space, unimix
        if isinstance(space, spaces.Discrete):
            self.net = zeroed(mlp(features, (units, units), int(space.n), rms_layer))
        elif isinstance(space, spaces.Box) and len(space.shape) == 1:
            self.net = zeroed(mlp(features, (units, units), 2 * space.shape[0], rms_layer))
        else:
            raise TypeError(f"Dreamer supports Discrete and one-dimensional Box action spaces, not {space}")

    def forward(self, features: Tensor) -> torch.distributions.Distribution:
        """The distribution over class indices (*B,), or over actions in [-1, 1] (*B, A)."""
        raw = self.net(features)
        if isinstance(self.space, spaces.Discrete):
            probability = (1 - self.unimix) * raw.softmax(-1) + self.unimix / raw.shape[-1]
            return torch.distributions.Categorical(probs=probability)
        mean, std = raw.chunk(2, -1)
        normal = torch.distributions.Normal(mean.tanh(), 0.1 + 0.9 * torch.sigmoid(std + 2.0))
        return torch.distributions.Independent(normal, 1)

    def choose(self, features: Tensor, mode: Mode) -> Tensor:
        """A sample in training, the mode in evaluation."""
        policy = self(features)
        return policy.sample() if mode == "train" else policy.mode

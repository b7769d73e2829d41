"""Distributions over action spaces for policy gradients: log-probability, entropy, sample and mode.

The parameters are the output of a network, (*B, parameters). A sample is what the agent stores; `executed` is what the
environment gets.
"""

import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Generator, Tensor, nn

from embodia.agents.heads import draw

MASKED = -1e8
"""Logit of an action that is not allowed: its probability is exactly 0, and gradients stay finite."""


class ActionDistribution(nn.Module):
    """A family of distributions over an action space."""

    parameters_needed: int
    """Width of the network's output."""

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        """(*B, parameters), (*B, A) -> (*B,)."""
        raise NotImplementedError("log_prob(parameters, action) -> (*B,)")

    def entropy(self, parameters: Tensor) -> Tensor:
        """(*B, parameters) -> (*B,), in nats."""
        raise NotImplementedError("entropy(parameters) -> (*B,)")

    def sample(self, parameters: Tensor, generator: Generator | None = None) -> Tensor:
        """(*B, parameters) -> (*B, A)."""
        raise NotImplementedError("sample(parameters, generator) -> (*B, A)")

    def mode(self, parameters: Tensor) -> Tensor:
        """(*B, parameters) -> (*B, A)."""
        raise NotImplementedError("mode(parameters) -> (*B, A)")

    def masked(self, parameters: Tensor, mask: Tensor) -> Tensor:
        """Return parameters under which actions where `mask` (*B, actions) is False have probability 0.

        Raises:
            ValueError: if the space cannot be masked, or the mask has another shape.
        """
        raise ValueError(f"{type(self).__name__} takes no action mask; masks are for discrete actions")

    def executed(self, sample: Tensor) -> Tensor:
        """(n, A) samples -> the actions (n, *shape) that the environment gets."""
        raise NotImplementedError("executed(sample) -> (n, *shape)")


class Categorical(ActionDistribution):
    """Independent softmax distributions over Discrete, MultiDiscrete or MultiBinary. A sample holds class indices."""

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        super().__init__()
        self.space = space
        if isinstance(space, spaces.MultiBinary):
            self.sizes, start = [2] * int(np.prod(space.shape)), np.zeros(int(np.prod(space.shape)), np.int64)
        else:
            counts = space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n
            self.sizes = [int(n) for n in np.ravel(counts)]
            start = np.array(np.ravel(space.start), np.int64)
        self.register_buffer("start", torch.from_numpy(start), persistent=False)
        self.parameters_needed = sum(self.sizes)

    start: Tensor

    def logits(self, parameters: Tensor) -> list[Tensor]:
        """Log-probabilities, one (*B, n) per variable."""
        return [part.log_softmax(-1) for part in parameters.split(self.sizes, -1)]

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        columns = action.long().split(1, -1)
        return sum_of([log_p.gather(-1, column)[..., 0] for log_p, column in zip(self.logits(parameters), columns)])

    def entropy(self, parameters: Tensor) -> Tensor:
        return sum_of([-(log_p.exp() * log_p).sum(-1) for log_p in self.logits(parameters)])

    def sample(self, parameters: Tensor, generator: Generator | None = None) -> Tensor:
        return torch.stack([draw(part, generator) for part in parameters.split(self.sizes, -1)], -1)

    def mode(self, parameters: Tensor) -> Tensor:
        return torch.stack([part.argmax(-1) for part in parameters.split(self.sizes, -1)], -1)

    def masked(self, parameters: Tensor, mask: Tensor) -> Tensor:
        if mask.shape != parameters.shape:
            wanted = f"(n, {self.parameters_needed})"
            raise ValueError(f"action_mask has shape {tuple(mask.shape)}, expected {wanted}: one entry for each action")
        if not all(part.any(-1).all() for part in mask.split(self.sizes, -1)):
            raise ValueError("action_mask allows no action in some environment; at least one must be allowed")
        return torch.where(mask, parameters, MASKED)

    def executed(self, sample: Tensor) -> Tensor:
        return (sample + self.start).reshape(-1, *(self.space.shape or ()))


class DiagonalGaussian(ActionDistribution):
    """Independent Gaussians with standard deviations of their own weights; clipped at the bounds when executed."""

    def __init__(self, space: spaces.Box):
        super().__init__()
        self.space = space
        self.parameters_needed = int(np.prod(space.shape))
        self.log_std = nn.Parameter(torch.zeros(self.parameters_needed))
        self.register_buffer("low", torch.from_numpy(space.low.copy()), persistent=False)
        self.register_buffer("high", torch.from_numpy(space.high.copy()), persistent=False)

    low: Tensor
    high: Tensor

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        z = (action - parameters) * (-self.log_std).exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        total = (self.log_std + 0.5 + 0.5 * math.log(2 * math.pi)).sum()
        return total.expand(parameters.shape[:-1])

    def sample(self, parameters: Tensor, generator: Generator | None = None) -> Tensor:
        noise = torch.randn(parameters.shape, generator=generator, device=parameters.device, dtype=parameters.dtype)
        return parameters + self.log_std.exp() * noise

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters

    def executed(self, sample: Tensor) -> Tensor:
        return sample.reshape(-1, *self.space.shape).to(self.low.dtype).clamp(self.low, self.high)


def sum_of(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def action_distribution(space: spaces.Space[Any]) -> ActionDistribution:
    """The distribution for an action space.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return Categorical(space)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return DiagonalGaussian(space)
    raise ValueError(
        f"PPO supports Discrete, MultiDiscrete, MultiBinary and Box (of floats) action spaces, not {space}"
    )

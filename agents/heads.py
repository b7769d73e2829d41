"""Action heads: map features to a distribution over an action space.

Discrete and MultiDiscrete spaces have a class head, Box spaces a mixture of Gaussians. Each head gives the exact
negative log-likelihood of an action (`loss`), a sample (`sample`) and the most likely action (`mode`).
"""

import math
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import Space, spaces
from torch import Generator, Tensor, nn
from torch.special import log_ndtr


class Head(nn.Module):
    """A distribution over actions (*B, *action shape) given features (*B, D)."""

    def loss(self, features: Tensor, action: Tensor) -> Tensor:
        """Return -log p(action | features), (*B,)."""
        raise NotImplementedError("loss(features, action) -> (*B,)")

    def mode(self, features: Tensor) -> Tensor:
        """Return the most likely action, (*B, *action shape)."""
        raise NotImplementedError("mode(features) -> (*B, *action shape)")

    def sample(self, features: Tensor, generator: Generator | None = None) -> Tensor:
        """Sample an action, (*B, *action shape)."""
        raise NotImplementedError("sample(features, generator) -> (*B, *action shape)")


class ClassHead(Head):
    """One softmax per variable of a Discrete or MultiDiscrete space; variables are independent given the features."""

    def __init__(self, features: int, space: spaces.Discrete | spaces.MultiDiscrete):
        super().__init__()
        self.shape = space.shape or ()
        self.sizes = [int(n) for n in np.ravel(space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n)]
        start = torch.from_numpy(np.array(np.ravel(space.start), np.int64))
        self.register_buffer("start", start, persistent=False)
        self.linear = nn.Linear(features, sum(self.sizes))

    start: Tensor

    def logits(self, features: Tensor) -> list[Tensor]:
        """Unnormalised logits, one (*B, n) per variable."""
        return list(self.linear(features).split(self.sizes, -1))

    def loss(self, features: Tensor, action: Tensor) -> Tensor:
        chosen = action.reshape(*features.shape[:-1], len(self.sizes)).long() - self.start
        losses = [
            F.cross_entropy(logits.flatten(0, -2), column.flatten(), reduction="none")
            for logits, column in zip(self.logits(features), chosen.unbind(-1))
        ]
        return torch.stack(losses).sum(0).view(features.shape[:-1])

    def mode(self, features: Tensor) -> Tensor:
        return self._action([logits.argmax(-1) for logits in self.logits(features)])

    def sample(self, features: Tensor, generator: Generator | None = None) -> Tensor:
        return self._action([draw(logits, generator) for logits in self.logits(features)])

    def temper(self, features: Tensor, temperature: float, noise: Tensor) -> Tensor:
        """Sample from softmax(logits / temperature) with the standard Gumbel `noise` (*B, classes of all variables)."""
        pairs = zip(self.logits(features), noise.split(self.sizes, -1))
        return self._action([(logits / temperature + gumbel).argmax(-1) for logits, gumbel in pairs])

    def _action(self, chosen: list[Tensor]) -> Tensor:
        columns = torch.stack(chosen, -1) + self.start
        return columns.view(*columns.shape[:-1], *self.shape)


def draw(logits: Tensor, generator: Generator | None = None) -> Tensor:
    """Sample classes (*B,) from the softmax of logits (*B, n) by the Gumbel-max trick."""
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=1e-300)))
    return (logits + gumbel).argmax(-1)


class MixtureHead(Head):
    """A mixture of diagonal Gaussians over a Box (Bishop 1994, "Mixture density networks"), clipped at its bounds.

    The probability mass of a Gaussian beyond a bound lies on the bound, as when a controller saturates. An action at a
    bound has that mass, and log p uses it in place of the density. An expert that often brakes fully is therefore
    fitted exactly. A squashed Gaussian cannot do this: its density at the bound is infinite.

    Standard deviations are in units of half a bounded range, or of 1 where the Box has no bounds.
    """

    def __init__(self, features: int, space: spaces.Box, components: int = 5, least_std: float = 0.01):
        super().__init__()
        self.shape, self.components, self.least_std = space.shape, components, least_std
        low, high = (torch.from_numpy(np.array(bound, np.float32)).flatten() for bound in (space.low, space.high))
        bounded = torch.isfinite(low) & torch.isfinite(high)
        one, zero = torch.ones_like(low), torch.zeros_like(low)
        self.register_buffer("scale", torch.where(bounded, (high - low) / 2, one), persistent=False)
        self.register_buffer("middle", torch.where(bounded, (high + low) / 2, zero), persistent=False)
        self.register_buffer("low", (low - self.middle) / self.scale, persistent=False)
        self.register_buffer("high", (high - self.middle) / self.scale, persistent=False)
        self.actions = len(low)
        self.linear = nn.Linear(features, components * (1 + 2 * self.actions))

    scale: Tensor
    middle: Tensor
    low: Tensor
    high: Tensor

    def mixture(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log weights (*B, K), means and standard deviations (*B, K, A), in scaled units."""
        k, a = self.components, self.actions
        weights, mean, std = self.linear(features).split([k, k * a, k * a], -1)
        return (
            weights.log_softmax(-1),
            mean.unflatten(-1, (k, a)),
            F.softplus(std.unflatten(-1, (k, a))) + self.least_std,
        )

    def loss(self, features: Tensor, action: Tensor) -> Tensor:
        log_weight, mean, std = self.mixture(features)
        x = (action.to(mean.dtype).reshape(*features.shape[:-1], 1, self.actions) - self.middle) / self.scale
        inside = -0.5 * ((x - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi) - self.scale.log()
        below = log_ndtr((self.low.clamp(min=-1e6) - mean) / std)
        above = log_ndtr((mean - self.high.clamp(max=1e6)) / std)
        log_p = torch.where(x <= self.low + 1e-6, below, torch.where(x >= self.high - 1e-6, above, inside))
        return -(log_weight + log_p.sum(-1)).logsumexp(-1)

    def mode(self, features: Tensor) -> Tensor:
        """The clipped mean of the component with the largest weight; the mixture's mode has no closed form."""
        log_weight, mean, _ = self.mixture(features)
        return self._action(_pick(mean, log_weight.argmax(-1)))

    def sample(self, features: Tensor, generator: Generator | None = None) -> Tensor:
        log_weight, mean, std = self.mixture(features)
        component = draw(log_weight, generator)
        noise = torch.randn(mean[..., 0, :].shape, generator=generator, device=mean.device)
        return self._action(_pick(mean, component) + _pick(std, component) * noise)

    def _action(self, x: Tensor) -> Tensor:
        clipped = torch.minimum(torch.maximum(x, self.low), self.high)
        return (clipped * self.scale + self.middle).view(*x.shape[:-1], *self.shape)


def _pick(values: Tensor, component: Tensor) -> Tensor:
    """Select one component of values (*B, K, A) by its index (*B,); returns (*B, A)."""
    index = component[..., None, None].expand(*component.shape, 1, values.shape[-1])
    return values.gather(-2, index)[..., 0, :]


def make_head(features: int, space: Space[Any], components: int = 5) -> Head:
    """Make the head for an action space.

    Args:
        features: width of the features.
        space: Discrete, MultiDiscrete, or a Box of floats.
        components: number of Gaussians for a Box.

    Raises:
        TypeError: if no head supports the space.
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return ClassHead(features, space)
    if isinstance(space, spaces.Box) and np.issubdtype(cast(Any, space.dtype), np.floating):
        return MixtureHead(features, space, components)
    raise TypeError(f"no action head for {space}; use Discrete, MultiDiscrete or a Box of floats")

"""Decoder of a world model: from latent features back to observations."""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception.encoders.mlp import mlp
from embodia.planners.models.networks import rms_layer
from embodia.planners.models.two_hot import symexp, symlog


class Decoder(nn.Module):
    """One head per observation key, chosen by its space.

    Images (uint8 up to 255) use transposed convolutions and squared error, grids of symbols and tokens use
    cross-entropy, vectors use squared error in symlog space. Errors are summed over an observation, like
    log-likelihoods.

    Args:
        space: Observation space to decode.
        inputs: Width F of the features.
        units: Width of the hidden layers.
        depth: Number of channels of the last stage of image heads.

    Raises:
        TypeError: If no head decodes one of the keys.
    """

    def __init__(self, space: spaces.Dict, inputs: int, units: int = 128, depth: int = 16):
        super().__init__()
        self.heads = nn.ModuleDict({key: head_for(key, value, inputs, units, depth) for key, value in space.items()})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the most likely observation for features (*B, F), each key with the space's shape and dtype."""
        return {key: self.head(key)(features) for key in self.heads}

    def loss(self, features: Tensor, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the negative log-likelihood (up to constants) of each key, (*B,)."""
        return {key: self.head(key).loss(features, obs[key]) for key in self.heads}

    def head(self, key: str) -> "Head":
        """Return the head of a key."""
        return cast(Head, self.heads[key])  # ModuleDict is typed as Module


def head_for(key: str, space: spaces.Space[Any], inputs: int, units: int, depth: int) -> "Head":
    """Build the head of one key. Raises TypeError if no head decodes its space."""
    if isinstance(space, spaces.Discrete):
        return Symbols(inputs, units, (), int(space.n))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer):
        if len(space.shape) == 3 and space.high.max() >= 255:
            return Image(inputs, depth, space.shape)
        return Symbols(inputs, units, space.shape, int(space.high.max()) + 1)
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return Image(inputs, depth, space.shape, float(space.low.min()), float(space.high.max()), space.dtype)
    if isinstance(space, spaces.Box):
        return Vector(inputs, units, space.shape)
    raise TypeError(f"no decoder reads {key!r}, a {type(space).__name__} space; remove this key from the observations")


class Head(nn.Module):
    """Decoder of one observation key from features (*B, F)."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the most likely value (*B, *shape)."""
        raise NotImplementedError("forward(features) -> (*B, *shape)")

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-likelihood (*B,) of target (*B, *shape), up to constants."""
        raise NotImplementedError("loss(features, target) -> (*B,)")


class Symbols(Head):
    """Integers 0..classes-1 of any shape, by cross-entropy."""

    def __init__(self, inputs: int, units: int, shape: tuple[int, ...], classes: int):
        super().__init__()
        self.shape, self.classes = shape, classes
        self.net = mlp(inputs, (units,), math.prod(shape) * classes, rms_layer)

    def logits(self, features: Tensor) -> Tensor:
        """Return logits (*B, *shape, classes)."""
        return self.net(features).unflatten(-1, (*self.shape, self.classes))

    def forward(self, features: Tensor) -> Tensor:
        return self.logits(features).argmax(-1)

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        logits = self.logits(features).log_softmax(-1)
        nll = -logits.gather(-1, target.long()[..., None])[..., 0]
        return nll.flatten(features.ndim - 1).sum(-1) if self.shape else nll


class Vector(Head):
    """Real numbers of any magnitude, by squared error in symlog space."""

    def __init__(self, inputs: int, units: int, shape: tuple[int, ...]):
        super().__init__()
        self.shape = shape
        self.net = mlp(inputs, (units,), math.prod(shape), rms_layer)

    def forward(self, features: Tensor) -> Tensor:
        return symexp(self.net(features)).unflatten(-1, self.shape)

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        error = self.net(features) - symlog(target.float()).flatten(features.ndim - 1)
        return error.square().sum(-1)


class Image(Head):
    """Images (H, W, C) with values in [low, high], by transposed convolutions from a small grid."""

    def __init__(
        self,
        inputs: int,
        depth: int,
        shape: tuple[int, ...],
        low: float = 0.0,
        high: float = 255.0,
        dtype: Any = np.uint8,
    ):
        super().__init__()
        self.shape, self.low, self.high, self.is_bytes = shape, low, high, dtype == np.uint8
        height, width, channels = shape
        stages = max(1, round(math.log2(min(height, width) / 4)))
        self.grid = (math.ceil(height / 2**stages), math.ceil(width / 2**stages))
        widths = [depth * 2 ** (stages - 1 - i) for i in range(stages)]
        self.start = nn.Linear(inputs, self.grid[0] * self.grid[1] * widths[0])
        layers: list[nn.Module] = []
        for a, b in zip(widths, [*widths[1:], channels], strict=True):
            layers += [nn.GroupNorm(1, a), nn.SiLU(), nn.ConvTranspose2d(a, b, 4, stride=2, padding=1)]
        self.net = nn.Sequential(*layers)

    def unit(self, features: Tensor) -> Tensor:
        """Return images (*B, H, W, C) in [0, 1]."""
        flat = self.start(features).reshape(-1, self.start.out_features)
        grid = self.net(flat.unflatten(-1, (-1, *self.grid)))[..., : self.shape[0], : self.shape[1]]
        return torch.sigmoid(grid).movedim(1, -1).reshape(*features.shape[:-1], *self.shape)

    def forward(self, features: Tensor) -> Tensor:
        value = self.low + self.unit(features) * (self.high - self.low)
        return value.round().to(torch.uint8) if self.is_bytes else value

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        goal = (target.float() - self.low) / (self.high - self.low)
        return F.mse_loss(self.unit(features), goal, reduction="none").flatten(features.ndim - 1).sum(-1)

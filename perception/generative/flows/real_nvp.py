"""Normalizing flow of affine coupling layers (Dinh et al. 2017): exact likelihood, one pass to sample."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodia.perception.encoders.mlp import mlp, zeroed
from embodia.perception.generative import Condition, Generative
from embodia.perception.generative.noise import flat_sum, normal


class Coupling(nn.Module):
    """Scales and shifts the entries where `mask` is False by what it reads where it is True."""

    mask: Tensor

    def __init__(self, mask: Tensor, hidden: Sequence[int]):
        super().__init__()
        self.register_buffer("mask", mask)
        self.net = zeroed(mlp(len(mask), hidden, 2 * len(mask)))

    def scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(x * self.mask).chunk(2, 1)
        moved = (~self.mask).to(x)
        return 2 * torch.tanh(log_scale / 2) * moved, shift * moved

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data (B, D) -> noise (B, D), and the log determinant (B,)."""
        log_scale, shift = self.scale_and_shift(x)
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        log_scale, shift = self.scale_and_shift(z)
        return (z - shift) * (-log_scale).exp()


class RealNVP(Generative):
    """Coupling layers that keep even and odd entries in turn, over a standard normal.

    Args:
        event: shape of one sample, two numbers or more.
        layers: number of couplings.
        hidden: widths of the network in each.
    """

    def __init__(self, event: Sequence[int], layers: int = 8, hidden: Sequence[int] = (64, 64)):
        super().__init__()
        self.event = tuple(event)
        size = math.prod(event)
        if size < 2:
            raise ValueError(f"coupling layers need two numbers or more in a sample; {self.event} has {size}")
        even = torch.arange(size) % 2 == 0
        self.couplings = nn.ModuleList(Coupling(even if i % 2 == 0 else ~even, hidden) for i in range(layers))

    def log_prob(self, x: Tensor) -> Tensor:
        """(B, *event) -> (B,) [nats]."""
        z, total = x.flatten(1), x.new_zeros(len(x))
        for coupling in self.couplings:
            z, log_determinant = coupling(z)
            total = total + log_determinant
        return total - 0.5 * flat_sum(z.square()) - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        return -self.log_prob(batch["x"]).mean(), {}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition | None = None, generator: torch.Generator | None = None) -> Tensor:
        if condition is not None:
            raise ValueError("this flow takes no condition")
        x = normal((n, math.prod(self.event)), generator, next(self.parameters()).device)
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            x = coupling.inverse(x)
        return x.view(n, *self.event)

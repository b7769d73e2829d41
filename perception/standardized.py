"""A frozen encoder whose tokens are centred and scaled by what it gave on some frames."""

from collections.abc import Iterable

import torch
from torch import Tensor

from perception import Encoder, Obs


class Standardized(Encoder):
    """Tokens minus each token's mean, over one deviation for all: what changes counts, what is always there does not.

    Args:
        encoder: is frozen.
        pooled: one token, the tokens' mean: the control for patches.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: Encoder, pooled: bool = False):
        super().__init__(encoder.space)
        self.encoder, self.pooled = encoder.requires_grad_(False), pooled
        self.keys, self.dim = encoder.keys, encoder.dim
        self.num_tokens = 1 if pooled else encoder.num_tokens
        self.register_buffer("mean", torch.zeros(self.num_tokens, self.dim))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, batches: Iterable[Obs]) -> None:
        """Measure mean and deviation on observations (M, ...)."""
        tokens = torch.cat([self.raw(obs) for obs in batches])
        self.mean.copy_(tokens.mean(0))
        self.scale.copy_((tokens - self.mean).square().mean().sqrt().clamp_min(1e-6))

    def raw(self, obs: Obs) -> Tensor:
        tokens = self.encoder(obs)
        return tokens.mean(-2, keepdim=True) if self.pooled else tokens

    def forward(self, obs: Obs) -> Tensor:
        return (self.raw(obs) - self.mean) / self.scale

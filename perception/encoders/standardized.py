"""A frozen encoder whose tokens are centred and scaled by their statistics on sample frames."""

from collections.abc import Iterable

import torch
from torch import Tensor

from embodia.perception import Encoder, Obs


class Standardized(Encoder):
    """Subtract each token's mean and divide by one standard deviation for all tokens.

    This removes the constant part of the tokens. One common scale preserves the order of distances, so a learned metric
    stays valid.

    Args:
        encoder: Encoder to freeze and standardise; call `fit` before use.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: Encoder):
        super().__init__(encoder.space)
        self.encoder = encoder.requires_grad_(False)
        self.keys, self.dim, self.num_tokens = encoder.keys, encoder.dim, encoder.num_tokens
        self.register_buffer("mean", torch.zeros(self.num_tokens, self.dim))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def fit(self, batches: Iterable[Obs]) -> None:
        """Compute mean and standard deviation from batches of observations (*B, ...)."""
        tokens = torch.cat([self.encoder(obs).flatten(0, -3) for obs in batches])
        self.mean.copy_(tokens.mean(0))
        self.scale.copy_((tokens - self.mean).square().mean().sqrt().clamp_min(1e-6))

    def forward(self, obs: Obs) -> Tensor:
        return (self.encoder(obs) - self.mean) / self.scale

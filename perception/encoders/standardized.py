"""A frozen encoder whose tokens are centred and scaled by what it gave on some frames."""

from collections.abc import Iterable

import torch
from torch import Tensor

from embodia.perception import Encoder, Obs


class Standardized(Encoder):
    """Tokens minus each token's mean, over one deviation for all: what changes counts, what is always there does not.

    Distances keep their order, so a metric that was learned stays what it was.
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
        """Measure mean and deviation on observations (*B, ...)."""
        tokens = torch.cat([self.encoder(obs).flatten(0, -3) for obs in batches])
        self.mean.copy_(tokens.mean(0))
        self.scale.copy_((tokens - self.mean).square().mean().sqrt().clamp_min(1e-6))

    def forward(self, obs: Obs) -> Tensor:
        return (self.encoder(obs) - self.mean) / self.scale

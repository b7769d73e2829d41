"""Slow features of a frozen encoder's tokens, in a metric that measures time.

Slow feature analysis (Wiskott & Sejnowski 2002) finds the combinations of unit variance y_k that change least from one
frame to the next, lambda_k = E[(y_k(t+1) - y_k(t))^2] / 2. They stand for the first eigenvectors of the random walk's
graph Laplacian (Sprekeler 2011), so with y_k / sqrt(lambda_k) the squared distance of two frames is the time it takes
to get from one to the other and back (commute time: Qiu & Hancock 2007): through the door, not through the wall.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from embodia.perception import Encoder, Obs


class SlowFeatures(Encoder):
    """Tokens (*B, N, dim) of a frozen encoder, each by its own linear map: patches see different things.

    Args:
        encoder: is frozen.
        dim: slow features kept per token, the slowest first; zeros where a token has fewer.
        pooled: one token, the tokens' mean: the control for patches.
        least: a direction that varies less than this share of the widest is noise, not a feature.
    """

    mean: Tensor
    project: Tensor

    def __init__(self, encoder: Encoder, dim: int = 8, pooled: bool = False, least: float = 1e-3):
        super().__init__(encoder.space)
        self.encoder, self.pooled, self.least = encoder.requires_grad_(False), pooled, least
        self.keys, self.dim = encoder.keys, dim
        self.num_tokens = 1 if pooled else encoder.num_tokens
        self.register_buffer("mean", torch.zeros(self.num_tokens, encoder.dim))
        self.register_buffer("project", torch.eye(encoder.dim, dim).repeat(self.num_tokens, 1, 1))

    @torch.no_grad()
    def fit(self, batches: Iterable[Obs]) -> None:
        """Measure on observations (T, B, ...) of consecutive frames, no episode beginning in between."""
        tokens = torch.cat([self.tokens_of(obs) for obs in batches], 1).double()  # (T, B, N, D)
        self.mean.copy_(tokens.mean((0, 1)))
        centred = (tokens - self.mean).movedim(2, 0)  # (N, T, B, D)
        self.project.zero_()
        for token, project in zip(centred, self.project, strict=True):
            found = slow_directions(covariance(token), covariance(token[1:] - token[:-1]) / 2, self.least)
            project[:, : found.shape[1]] = found[:, : self.dim]
        self.project.div_(self.slow(tokens).square().mean().sqrt())

    def tokens_of(self, obs: Obs) -> Tensor:
        tokens = self.encoder(obs)
        return tokens.mean(-2, keepdim=True) if self.pooled else tokens

    def slow(self, tokens: Tensor) -> Tensor:
        return torch.einsum("...nd,ndk->...nk", (tokens - self.mean).to(self.project.dtype), self.project)

    def forward(self, obs: Obs) -> Tensor:
        return self.slow(self.tokens_of(obs))


def covariance(centred: Tensor) -> Tensor:
    """(..., D) -> (D, D)."""
    flat = centred.flatten(0, -2)
    return flat.T @ flat / len(flat)


def slow_directions(space: Tensor, change: Tensor, least: float) -> Tensor:
    """Columns (D, K), slowest first, of unit variance over the square root of their change.

    Solves change w = lambda space w in the span of `space` (D, D) where it exceeds `least` of its widest direction.
    """
    width, axes = torch.linalg.eigh(space)
    known = width > least * width[-1]
    whiten = axes[:, known] / width[known].sqrt()
    speed, turned = torch.linalg.eigh(whiten.T @ change @ whiten)
    return whiten @ turned / speed.clamp_min(1e-6).sqrt()

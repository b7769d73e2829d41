"""Slow features of a frozen encoder's tokens, in a metric that measures time.

Slow feature analysis (Wiskott & Sejnowski 2002) finds the combinations of unit variance y_k that change least from one
frame to the next, lambda_k = E[(y_k(t+1) - y_k(t))^2] / 2. They stand for the first eigenvectors of the random walk's
graph Laplacian (Sprekeler 2011), so with y_k / sqrt(lambda_k) the squared distance of two frames is the time it takes
to get from one to the other and back (commute time: Qiu & Hancock 2007): through the door, not through the wall.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from embodia.perception import Obs, SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.scores.collapse import effective_rank, sphere_std
from embodia.perception.self_supervision.views import Views


@dataclass(frozen=True)
class SlowNetConfig:
    """Slow features of another encoder's tokens, as `embodia pretrain slow-features` leaves them."""

    encoder: Annotated[Any, ImageEncoder] = "resnet"
    """Whose tokens."""
    dim: int = 8
    """Features kept of each token, the slowest first."""


@dataclass(frozen=True)
class SlowFeaturesConfig:
    """Slow feature analysis (Wiskott & Sejnowski 2002) of a frozen encoder's tokens, in a metric of time."""

    pretrained: str | None = None
    """That encoder, as `embodia pretrain` wrote it; None for a random one."""
    features: int = 8
    """Kept of each token, the slowest first."""

    def kept(self, encoder: Any) -> SlowNetConfig:
        """The configuration of what is learned about an encoder of this configuration."""
        return SlowNetConfig(encoder, self.features)


class SlowFeatures(ImageEncoder):
    """Tokens (*B, N, dim) of a frozen encoder, each by its own linear map: patches see different things.

    Args:
        encoder: is frozen.
        dim: slow features kept per token, the slowest first; zeros where a token has fewer.
        pooled: one token, the tokens' mean: the control for patches.
        least: a direction that varies less than this share of the widest is noise, not a feature.
    """

    mean: Tensor
    project: Tensor

    def __init__(self, encoder: ImageEncoder, dim: int = 8, pooled: bool = False, least: float = 1e-3):
        super().__init__(encoder.space, encoder.keys)
        self.encoder, self.pooled, self.least, self.dim = encoder.requires_grad_(False), pooled, least, dim
        self.num_tokens = 1 if pooled else encoder.num_tokens
        self.register_buffer("mean", torch.zeros(self.num_tokens, encoder.dim))
        self.register_buffer("project", torch.eye(encoder.dim, dim).repeat(self.num_tokens, 1, 1))

    @torch.no_grad()
    def fit(self, batches: Iterable[Obs]) -> None:
        """Measure on observations (T, B, ...) of consecutive frames, no episode beginning in between."""
        tokens = torch.cat([self.tokens_of(obs) for obs in batches], 1).double()  # (T, B, N, D)
        self.mean.copy_(tokens.mean((0, 1)))
        centred = (tokens - self.mean).movedim(2, 0)  # (N, T, B, D)
        change = centred[:, 1:] - centred[:, :-1]
        self.solve([covariance(token) for token in centred], [covariance(token) / 2 for token in change])
        self.project.div_(self.slow(tokens).square().mean().sqrt())

    def solve(self, spaces: Iterable[Tensor], changes: Iterable[Tensor]) -> None:
        """From each token's covariance (D, D) and half the covariance of its change."""
        self.project.zero_()
        for space, change, project in zip(spaces, changes, self.project, strict=True):
            found = slow_directions(space, change, self.least)
            project[:, : found.shape[1]] = found[:, : self.dim]

    def tokens_of(self, obs: Obs) -> Tensor:
        """(*B, num_tokens, D) of the frozen encoder."""
        images, batch = self.images(obs)
        return self._tokens(images).unflatten(0, batch)

    def _tokens(self, images: Tensor) -> Tensor:
        tokens = self.encoder.encode(images)
        return tokens.mean(-2, keepdim=True) if self.pooled else tokens

    def slow(self, tokens: Tensor) -> Tensor:
        return torch.einsum("...nd,ndk->...nk", (tokens - self.mean).to(self.project.dtype), self.project)

    def encode(self, images: Tensor) -> Tensor:
        return self.slow(self._tokens(images))


class SlowFeatureAnalysis(SelfSupervised):
    """Learns `SlowFeatures` from batches: the same solution, of all that was seen so far, anew after each.

    There is nothing to descend: `optimizers` is empty.
    """

    encoder: SlowFeatures
    optimizers = ()
    positives = "temporal"
    """What counts as the same picture."""
    seen: Tensor
    steps: Tensor
    total: Tensor
    products: Tensor
    changes: Tensor

    def __init__(self, encoder: SlowFeatures):
        super().__init__(encoder.space)
        self.encoder = encoder
        self.keys, self.num_tokens, self.dim = encoder.keys, encoder.num_tokens, encoder.dim
        n, width = encoder.mean.shape
        for name, shape in (("seen", ()), ("steps", ()), ("total", (n, width))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        for name in ("products", "changes"):
            self.register_buffer(name, torch.zeros(n, width, width, dtype=torch.float64))

    def forward(self, obs: Obs) -> Tensor:
        return self.encoder(obs)

    @torch.no_grad()
    def update(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Rows (T, B, ...) of consecutive frames, no episode beginning in between."""
        tokens = self.encoder.tokens_of(batch["obs"])
        if tokens.ndim != 4 or len(tokens) < 2:
            raise ValueError(
                f"slow features need rows (T, B, ...) of two frames or more; got {tuple(tokens.shape[:-2])}"
            )
        self._count(tokens.double().movedim(2, 0))
        mean = self.total / self.seen
        space = self.products / self.seen - mean[:, :, None] * mean[:, None]
        self.encoder.mean.copy_(mean)
        self.encoder.solve(space, self.changes / self.steps / 2)
        project = self.encoder.project.double()
        self.encoder.project.div_(torch.einsum("ndk,nde,nek->nk", project, space, project).mean().sqrt())
        features = self.encoder.slow(tokens)
        summary = features.mean(2).flatten(0, 1)
        return {
            "slowness": (features[1:] - features[:-1]).square().mean() / 2,
            "effective_rank": effective_rank(summary),
            "embedding_std": sphere_std(summary),
        }

    def _count(self, tokens: Tensor) -> None:
        """(N, T, B, D)."""
        flat, change = tokens.flatten(1, 2), (tokens[:, 1:] - tokens[:, :-1]).flatten(1, 2)
        self.seen += flat.shape[1]
        self.steps += change.shape[1]
        self.total += flat.sum(1)
        self.products += flat.mT @ flat
        self.changes += change.mT @ change


def slow_net(encoder: ImageEncoder, config: SlowNetConfig) -> SlowFeatures:
    """Slow features of the tokens of `encoder`, still to be solved or loaded."""
    return SlowFeatures(encoder, config.dim)


def slow_features(encoder: ImageEncoder, views: Views, config: SlowFeaturesConfig) -> SlowFeatureAnalysis:
    """Slow feature analysis of an encoder that stays as it is.

    Args:
        encoder: whose tokens are read.
        views: frames as they follow each other.
        config: how many features are kept.

    Raises:
        ValueError: where views change pictures.
    """
    if views.augmentation is not None:
        raise ValueError("frames are read as they follow each other: leave --positives at temporal")
    return SlowFeatureAnalysis(SlowFeatures(encoder, config.features))


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

"""Slow features of a frozen encoder's tokens, scaled so that distances measure travel time.

Slow feature analysis (Wiskott & Sejnowski 2002) finds the combinations y_k of unit variance that change least from one
frame to the next, lambda_k = E[(y_k(t+1) - y_k(t))^2] / 2. They approximate the first eigenvectors of the random walk's
graph Laplacian (Sprekeler 2011). With y_k / sqrt(lambda_k), the squared distance of two frames is therefore the commute
time, the time to get from one to the other and back (Qiu & Hancock 2007). Paths lead through the door, not through the
wall.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from embodia.perception import Obs, SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.global_batch import gathered
from embodia.perception.scores.collapse import effective_rank, sphere_std
from embodia.perception.self_supervision.views import Views


@dataclass(frozen=True)
class SlowNetConfig:
    """Slow features of another encoder's tokens, as `embodia pretrain slow-features` saves them."""

    encoder: Annotated[Any, ImageEncoder] = "resnet"
    """Encoder of the tokens."""
    dim: int = 8
    """Number of features kept per token, the slowest first."""


@dataclass(frozen=True)
class SlowFeaturesConfig:
    """Slow feature analysis (Wiskott & Sejnowski 2002) of a frozen encoder's tokens."""

    pretrained: str | None = None
    """Folder of the encoder, written by `embodia pretrain`. None uses a randomly initialised encoder."""
    features: int = 8
    """Number of features kept per token, the slowest first."""

    def kept(self, encoder: Any) -> SlowNetConfig:
        """Return the configuration of the result for an encoder of this configuration."""
        return SlowNetConfig(encoder, self.features)


class SlowFeatures(ImageEncoder):
    """Slow features (*B, N, dim) of a frozen encoder's tokens.

    Each token has its own linear map, since patches see different things.

    Args:
        encoder: Encoder to freeze.
        dim: Number of slow features per token, the slowest first; zeros if a token has fewer.
        pooled: Use one token, the tokens' mean (a control for patches).
        least: Directions with less than this fraction of the largest variance are discarded as noise.
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
        """Fit the maps to observations (T, B, ...) of consecutive frames of one episode."""
        tokens = torch.cat([self.tokens_of(obs) for obs in batches], 1).double()  # (T, B, N, D)
        self.mean.copy_(tokens.mean((0, 1)))
        centred = (tokens - self.mean).movedim(2, 0)  # (N, T, B, D)
        change = centred[:, 1:] - centred[:, :-1]
        self.solve([covariance(token) for token in centred], [covariance(token) / 2 for token in change])
        self.project.div_(self.slow(tokens).square().mean().sqrt())

    def solve(self, spaces: Iterable[Tensor], changes: Iterable[Tensor]) -> None:
        """Set the maps from each token's covariance (D, D) and half the covariance of its change (D, D)."""
        self.project.zero_()
        for space, change, project in zip(spaces, changes, self.project, strict=True):
            found = slow_directions(space, change, self.least)
            project[:, : found.shape[1]] = found[:, : self.dim]

    def tokens_of(self, obs: Obs) -> Tensor:
        """Return the frozen encoder's tokens (*B, num_tokens, D)."""
        images, batch = self.images(obs)
        return self._tokens(images).unflatten(0, batch)

    def _tokens(self, images: Tensor) -> Tensor:
        tokens = self.encoder.encode(images)
        return tokens.mean(-2, keepdim=True) if self.pooled else tokens

    def slow(self, tokens: Tensor) -> Tensor:
        """Map tokens (..., num_tokens, D) to slow features (..., num_tokens, dim)."""
        return torch.einsum("...nd,ndk->...nk", (tokens - self.mean).to(self.project.dtype), self.project)

    def encode(self, images: Tensor) -> Tensor:
        return self.slow(self._tokens(images))


class SlowFeatureAnalysis(SelfSupervised):
    """Learner of `SlowFeatures`: after each batch it solves again with the statistics of all batches so far.

    The solution is in closed form, so `optimizers` is empty.
    """

    encoder: SlowFeatures
    optimizers = ()
    positives = "temporal"
    """Default way of making views."""
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
        """Add a batch to the statistics and solve.

        Args:
            batch: Rows (T, B, ...) under "obs", consecutive frames of one episode.

        Returns:
            Values to log.

        Raises:
            ValueError: If there are fewer than two frames.
        """
        tokens = self.encoder.tokens_of(batch["obs"])
        if tokens.ndim != 4 or len(tokens) < 2:
            raise ValueError(
                f"slow features need rows (T, B, ...) of two frames or more; got {tuple(tokens.shape[:-2])}"
            )
        tokens = gathered(tokens.movedim(1, 0)).movedim(0, 1)  # the sequences of all processes
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
        """Add tokens (N, T, B, D) to the statistics."""
        flat, change = tokens.flatten(1, 2), (tokens[:, 1:] - tokens[:, :-1]).flatten(1, 2)
        self.seen += flat.shape[1]
        self.steps += change.shape[1]
        self.total += flat.sum(1)
        self.products += flat.mT @ flat
        self.changes += change.mT @ change


def slow_net(encoder: ImageEncoder, config: SlowNetConfig) -> SlowFeatures:
    """Build the slow features of an encoder's tokens. Their maps still have to be fitted or loaded."""
    return SlowFeatures(encoder, config.dim)


def slow_features(encoder: ImageEncoder, views: Views, config: SlowFeaturesConfig) -> SlowFeatureAnalysis:
    """Slow feature analysis of a frozen encoder.

    Args:
        encoder: Encoder of the tokens.
        views: Consecutive frames, without augmentation.
        config: Configuration of the method.

    Raises:
        ValueError: If `views` has an augmentation.
    """
    if views.augmentation is not None:
        raise ValueError("slow features need consecutive frames without augmentation: leave --positives at temporal")
    return SlowFeatureAnalysis(SlowFeatures(encoder, config.features))


def covariance(centred: Tensor) -> Tensor:
    """Covariance (D, D) of centred samples (..., D)."""
    flat = centred.flatten(0, -2)
    return flat.T @ flat / len(flat)


def slow_directions(space: Tensor, change: Tensor, least: float) -> Tensor:
    """Solve for directions (D, K) of unit variance, slowest first, divided by the square root of their change.

    It solves change w = lambda space w within the directions of `space` (D, D) that have more than `least` of the
    largest variance.
    """
    width, axes = torch.linalg.eigh(space)
    known = width > least * width[-1]
    whiten = axes[:, known] / width[known].sqrt()
    speed, turned = torch.linalg.eigh(whiten.T @ change @ whiten)
    return whiten @ turned / speed.clamp_min(1e-6).sqrt()

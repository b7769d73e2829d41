"""Densities in the plane: eight Gaussians, two moons, checkerboard, swiss roll; mixtures with exact score and tilt."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Points = NDArray[np.float32]


class GaussianMixture:
    """A mixture of K isotropic Gaussians in D dimensions. Its noised and exponentially tilted laws are mixtures too.

    Args:
        means: (K, D).
        std: standard deviation of each component, (K,) or one number.
        weights: (K,), normalised here; by default equal.
    """

    def __init__(self, means: Tensor, std: Tensor | float, weights: Tensor | None = None):
        self.means = means
        self.std = torch.as_tensor(std, dtype=means.dtype).expand(len(means))
        weights = torch.ones(len(means), dtype=means.dtype) if weights is None else weights.to(means.dtype)
        self.weights = weights / weights.sum()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, D)."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[which] + self.std[which, None] * noise

    def joint(self, x: Tensor) -> Tensor:
        """(B, K): log of weight times density of each component at x (B, D)."""
        dim = self.means.shape[1]
        square = (x[:, None] - self.means).square().sum(2)
        return self.weights.log() - square / (2 * self.std**2) - dim * (self.std.log() + 0.5 * math.log(2 * math.pi))

    def log_prob(self, x: Tensor) -> Tensor:
        """(B, D) -> (B,) [nats]."""
        return self.joint(x).logsumexp(1)

    def score(self, x: Tensor) -> Tensor:
        """Gradient of the log density, (B, D)."""
        share = self.joint(x).softmax(1) / self.std**2
        return share @ self.means - share.sum(1, keepdim=True) * x

    def noised(self, scale: float, std: float) -> "GaussianMixture":
        """The law of scale * x + std * noise."""
        return GaussianMixture(scale * self.means, (scale**2 * self.std**2 + std**2).sqrt(), self.weights)

    def tilted(self, direction: Tensor) -> "GaussianMixture":
        """The law proportional to p(x) exp(direction . x), direction (D,)."""
        means = self.means + self.std[:, None] ** 2 * direction
        log_weights = self.weights.log() + self.means @ direction + 0.5 * self.std**2 * direction.square().sum()
        return GaussianMixture(means, self.std, log_weights.softmax(0))


def eight_gaussians(radius: float = 2.0, std: float = 0.15) -> GaussianMixture:
    """Eight equal Gaussians on a circle."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    return GaussianMixture(radius * torch.stack([angles.cos(), angles.sin()], 1), std)


def overlapping_classes(distance: float = 0.7, std: float = 0.6) -> tuple[GaussianMixture, GaussianMixture]:
    """Two classes, Gaussians at -distance and +distance on the first axis, that overlap."""
    centre = torch.tensor([[distance, 0.0]])
    return GaussianMixture(-centre, std), GaussianMixture(centre, std)


def unequal_pair() -> GaussianMixture:
    """The toy of Song and Ermon (2019, figure 2): one fifth at (-5, -5), four fifths at (5, 5), unit variance."""
    return GaussianMixture(torch.tensor([[-5.0, -5.0], [5.0, 5.0]]), 1.0, torch.tensor([0.2, 0.8]))


def two_moons(rng: np.random.Generator, n: int, noise: float = 0.05) -> Points:
    """Two interleaved half circles of radius 1, (n, 2), centred on the origin."""
    angle, upper = rng.uniform(0, np.pi, n), rng.random(n) < 0.5
    x = np.where(upper, np.cos(angle) - 0.5, 0.5 - np.cos(angle))
    y = np.where(upper, np.sin(angle) - 0.25, 0.25 - np.sin(angle))
    return (np.stack([x, y], 1) + noise * rng.standard_normal((n, 2))).astype(np.float32)


def checkerboard(rng: np.random.Generator, n: int) -> Points:
    """Uniform on the dark fields of a 4x4 board of side 4, (n, 2); the density is 1/8 there."""
    column = rng.integers(0, 4, n)
    row = 2 * rng.integers(0, 2, n) + column % 2
    return (np.stack([column, row], 1) + rng.random((n, 2)) - 2).astype(np.float32)


def checkerboard_log_prob(x: Tensor) -> Tensor:
    """(B, 2) -> (B,), minus infinity on the light fields and outside."""
    field = (x + 2).floor()
    inside = ((field >= 0) & (field < 4)).all(1) & (field.sum(1) % 2 == 0)
    return torch.where(inside, -math.log(8.0), -math.inf)


def swiss_roll(rng: np.random.Generator, n: int, noise: float = 0.03) -> Points:
    """A spiral of one and a half turns within a radius of 2, (n, 2)."""
    angle = 1.5 * np.pi * (1 + 2 * np.sqrt(rng.random(n)))
    roll = np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) / (2.25 * np.pi)
    return (roll + noise * rng.standard_normal((n, 2))).astype(np.float32)


POINT_SETS: dict[str, Callable[[np.random.Generator, int], Points]] = {
    "two-moons": two_moons,
    "checkerboard": checkerboard,
    "swiss-roll": swiss_roll,
}

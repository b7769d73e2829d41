"""Diffusion by noise level, x = x_0 + sigma noise, with preconditioning and Heun's sampler (Karras et al. 2022)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from embodia.perception.generative import Condition, Denoiser, Generative
from embodia.perception.generative.conditions import check_rows
from embodia.perception.generative.noise import check_finite, normal, per_sample

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x (B, *event), sigma (B,)) -> the data predicted, (B, *event)."""


@dataclass(frozen=True)
class NoiseRange:
    """Noise levels from sigma_max down to sigma_min, rho deciding how dense they are near sigma_min (equation 5)."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    sigma_data: float = 0.5
    """Standard deviation of the data."""

    def levels(self, n: int) -> Tensor:
        """(n,), increasing from sigma_min to sigma_max."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return (low + torch.linspace(0, 1, n, dtype=torch.float64) * (high - low)) ** self.rho

    def time(self, sigma: Tensor) -> Tensor:
        """The times of a denoiser: log sigma, from 0 at sigma_min to 1 at sigma_max."""
        log = torch.log(torch.tensor([self.sigma_min, self.sigma_max], dtype=sigma.dtype, device=sigma.device))
        return (sigma.log() - log[0]) / (log[1] - log[0])


class EDM(Generative):
    """D(x, sigma) = c_skip x + c_out F(c_in x, sigma): predicts the data at any noise level (table 1).

    Args:
        denoiser: F.
        event: shape of one sample.
        noise: range of noise levels.
        drop: share of the conditions dropped in training.
        log_mean, log_std: of the normal law of log sigma in training.
        steps: noise levels that `sample` visits by default.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        event: Sequence[int],
        noise: NoiseRange | None = None,
        drop: float = 0.1,
        log_mean: float = -1.2,
        log_std: float = 1.2,
        steps: int = 18,
    ):
        super().__init__()
        self.denoiser, self.event, self.noise = denoiser, tuple(event), noise or NoiseRange()
        self.drop, self.log_mean, self.log_std, self.steps = drop, log_mean, log_std, steps

    def denoise(
        self, x: Tensor, sigma: Tensor, condition: Condition | None = None, drop: Tensor | None = None
    ) -> Tensor:
        """x (B, *event) at noise levels sigma (B,) -> the data predicted."""
        level, data = per_sample(sigma, x), self.noise.sigma_data
        total = (level**2 + data**2).sqrt()
        inner = self.denoiser(x / total, self.noise.time(sigma), condition, drop)
        return (data / total) ** 2 * x + level * data / total * inner

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the predicted data, weighted so that each noise level counts alike (equation 8)."""
        x0, condition = batch["x"], batch.get("condition")
        sigma = (self.log_mean + self.log_std * torch.randn(len(x0), device=x0.device)).exp()
        sigma = sigma.clamp(self.noise.sigma_min, self.noise.sigma_max)
        drop = torch.rand(len(x0), device=x0.device) < self.drop if condition is not None else None
        found = self.denoise(x0 + per_sample(sigma, x0) * torch.randn_like(x0), sigma, condition, drop)
        weight = (sigma**2 + self.noise.sigma_data**2) / (sigma * self.noise.sigma_data) ** 2
        return (per_sample(weight, x0) * (found - x0).square()).mean(), {}

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        steps: int | None = None,
    ) -> Tensor:
        """n samples by Heun's method, 2 * steps - 1 evaluations (algorithm 1)."""
        if condition is not None:
            check_rows(condition, n)
        sigmas = [*self.noise.levels(steps or self.steps).tolist()[::-1], 0.0]
        device = next(self.denoiser.parameters()).device
        x = sigmas[0] * normal((n, *self.event), generator, device)
        for number, (high, low) in enumerate(pairwise(sigmas), start=1):
            x = heun_step(lambda x, sigma: self.denoise(x, sigma, condition), x, high, low)
            check_finite(x, "the sample", number)
        return x


def heun_step(denoise: Denoise, x: Tensor, high: float, low: float) -> Tensor:
    """One step of the probability-flow ODE dx / dsigma = (x - D(x, sigma)) / sigma, to sigma = low."""
    slope = (x - denoise(x, x.new_full((len(x),), high))) / high
    there = x + (low - high) * slope
    if low == 0:
        return there
    end = (there - denoise(there, x.new_full((len(x),), low))) / low
    return x + (low - high) * (slope + end) / 2


def heun_steps(denoise: Denoise, x: Tensor, high: Tensor, low: Tensor) -> Tensor:
    """The same with levels per sample, (B,), none of them 0."""
    above, below = per_sample(high, x), per_sample(low, x)
    slope = (x - denoise(x, high)) / above
    there = x + (below - above) * slope
    return x + (below - above) * (slope + (there - denoise(there, low)) / below) / 2

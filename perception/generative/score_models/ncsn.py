"""Noise-conditional score network: one network for all noise levels, sampled by annealing (Song and Ermon 2019)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from embodia.perception.generative import Condition, Denoiser, Generative
from embodia.perception.generative.conditions import check_rows
from embodia.perception.generative.noise import normal, per_sample
from embodia.perception.generative.score_models.annealed_langevin import annealed_langevin


def geometric(first: float, last: float, count: int) -> list[float]:
    """`count` noise levels in a geometric sequence from `first`, the larger, to `last`."""
    if not (first > last > 0 and count > 1):
        raise ValueError(f"noise levels fall from {first} to {last} in {count}; give first > last > 0, and 2 or more")
    return [first * (last / first) ** (i / (count - 1)) for i in range(count)]


class NCSN(Generative):
    """Scores of the data at a geometric sequence of noise levels.

    Args:
        denoiser: s(x, time), time falling from 1 at the largest noise to 0 at the smallest; divided by sigma here.
        event: shape of one sample.
        sigmas: noise levels, decreasing from about the diameter of the data.
        step_size: of the chains at the last level.
        steps: of the chains at each level.
        denoise: end chains with one denoising step.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        event: Sequence[int],
        sigmas: Sequence[float],
        step_size: float = 2e-5,
        steps: int = 100,
        denoise: bool = True,
    ):
        super().__init__()
        self.denoiser, self.event, self.sigmas = denoiser, tuple(event), list(sigmas)
        self.step_size, self.steps, self.denoise = step_size, steps, denoise

    def score(self, x: Tensor, sigma: Tensor | float, condition: Condition | None = None) -> Tensor:
        """Score of the data noised by sigma, one number or (B,). The input is scaled to about unit size."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
        low, high = math.log(self.sigmas[-1]), math.log(self.sigmas[0])
        level = per_sample(sigma, x)
        return self.denoiser(x / (1 + level**2).sqrt(), (sigma.log() - low) / (high - low), condition) / level

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over levels of |sigma s(x + sigma e, sigma) + e|^2 / 2 (equation 6 with lambda = sigma^2)."""
        x, condition = batch["x"], batch.get("condition")
        sigma = torch.tensor(self.sigmas, device=x.device)[torch.randint(len(self.sigmas), (len(x),), device=x.device)]
        level, noise = per_sample(sigma, x), torch.randn_like(x)
        error = level * self.score(x + level * noise, sigma, condition) + noise
        return 0.5 * error.square().mean(), {}

    @torch.no_grad()
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """n samples; chains start at `start` (n, *event), by default from noise of the first level."""
        if condition is not None:
            check_rows(condition, n)
        if start is None:
            device = next(self.denoiser.parameters()).device
            start = self.sigmas[0] * normal((n, *self.event), generator, device)
        return annealed_langevin(
            lambda x, sigma: self.score(x, sigma, condition),
            start,
            self.sigmas,
            self.step_size,
            self.steps,
            generator,
            self.denoise,
        )

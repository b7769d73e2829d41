"""Langevin dynamics annealed over several noise levels (Song and Ermon 2019, algorithm 1)."""

from collections.abc import Callable

import torch
from torch import Tensor

from embodia.perception.generative.mcmc.langevin import langevin


def annealed_langevin(
    score: Callable[[Tensor, float], Tensor],
    x: Tensor,
    sigmas: list[float],
    step_size: float,
    steps: int,
    generator: torch.Generator | None = None,
    denoise: bool = False,
) -> Tensor:
    """Langevin dynamics at each noise level in turn, with steps of step_size * (sigma / last sigma)^2.

    Args:
        score: (x, sigma) -> the score of the data noised by sigma.
        x: (B, *event), where the chains start.
        sigmas: decreasing.
        step_size: at the last level.
        steps: at each level.
        generator: of the noise.
        denoise: end with the mean of the data given the chain, x + sigma^2 * score (Jolicoeur-Martineau et al. 2021).

    Raises:
        NonFinite: naming the step.
    """
    for level, sigma in enumerate(sigmas):
        size = step_size * (sigma / sigmas[-1]) ** 2
        x = langevin(lambda x, sigma=sigma: score(x, sigma), x, size, steps, generator, level * steps)  # type: ignore[misc]
    with torch.no_grad():
        return x + sigmas[-1] ** 2 * score(x, sigmas[-1]) if denoise else x

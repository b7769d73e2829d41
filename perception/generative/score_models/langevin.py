"""Langevin dynamics on a score, at one noise level and annealed over several (Song and Ermon 2019, algorithm 1)."""

from collections.abc import Callable

import torch
from torch import Tensor

from embodia.perception.generative.noise import check_finite, noise_like

CHECK = 50  # steps between two looks for NaN


@torch.no_grad()
def langevin(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    step_size: float,
    steps: int,
    generator: torch.Generator | None = None,
    done: int = 0,
) -> Tensor:
    """x <- x + step_size / 2 * score(x) + sqrt(step_size) * noise, `steps` times.

    Args:
        score: gradient of the log density.
        x: (B, *event), where the chains start.
        step_size: biased for any step that is not small.
        steps: of each chain.
        generator: of the noise.
        done: steps made before, for messages.

    Raises:
        NonFinite: naming the step.
    """
    for step in range(1, steps + 1):
        x = x + step_size / 2 * score(x) + step_size**0.5 * noise_like(x, generator)
        if step % CHECK == 0 or step == steps:
            check_finite(x, "the chain", done + step)
    return x


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

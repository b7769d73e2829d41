"""Noise schedules: how much of the data is left at each of T noise levels."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

LEFT = 0.1
"""Largest share of the data's amplitude at the last level that still counts as noise."""


class Schedule:
    """x_t = alpha_t x_0 + sigma_t noise at the levels t = 0 ... T - 1, with alpha_t^2 + sigma_t^2 = 1.

    Level -1 is the data: alpha 1, sigma 0.

    Args:
        alpha_bar: alpha_t^2, (T,), decreasing from nearly 1 to nearly 0.

    Raises:
        ValueError: if it does not decrease, or does not end in noise.
    """

    def __init__(self, alpha_bar: ArrayLike):
        bar = np.asarray(alpha_bar, np.float64)
        if bar.ndim != 1 or len(bar) < 2 or not (np.diff(bar) < 0).all() or not 0 < bar[-1] <= bar[0] < 1:
            raise ValueError("a schedule is at least two values of alpha_bar, decreasing, all between 0 and 1")
        if bar[-1] > LEFT**2:
            raise ValueError(
                f"the schedule does not end in noise: {bar[-1] ** 0.5:.0%} of the data's amplitude is left at its last "
                f"level, and samplers start from pure noise; raise beta, or use the cosine schedule"
            )
        self.steps = len(bar)
        self.alpha_bar = bar
        self.alphas: list[float] = [*np.sqrt(bar).tolist(), 1.0]  # the last one is level -1
        self.sigmas: list[float] = [*np.sqrt(1 - bar).tolist(), 0.0]
        self.table = torch.tensor([self.alphas, self.sigmas])
        self.log_snr: list[float] = (0.5 * (np.log(bar) - np.log1p(-bar))).tolist()  # log(alpha / sigma)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma, float32, of levels t (B,)."""
        return self.table[0].to(t.device)[t], self.table[1].to(t.device)[t]

    def time(self, t: Tensor) -> Tensor:
        """Levels (B,) as the times of a denoiser, from 1 / T to 1."""
        return (t + 1) / self.steps


def of_betas(betas: ArrayLike) -> Schedule:
    """The schedule of forward variances beta_t, (T,)."""
    return Schedule(np.cumprod(1 - np.asarray(betas, np.float64)))


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """Betas that rise linearly (Ho et al. 2020). The values are those for 1000 steps; fewer need a larger `last`."""
    return of_betas(np.linspace(first, last, steps))


def cosine(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> Schedule:
    """alpha_bar falls as a squared cosine, with betas of at most `largest` (Nichol and Dhariwal 2021, equation 17)."""
    angle = (np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2
    bar = np.cos(angle) ** 2
    return of_betas(np.minimum(1 - bar[1:] / bar[:-1], largest))


def levels(steps: int, count: int, spacing: str = "linspace") -> list[int]:
    """`count` levels out of `steps`, from noise to data.

    Args:
        steps: T, the levels of the schedule.
        count: of at most T levels.
        spacing: "linspace" from T - 1 to 0; "trailing" from T - 1 in equal steps that end at -1; "leading" in equal
            steps that end at 0, as in the code of DDIM (its first level is not the noisiest); "quadratic" is dense
            near the data.

    Raises:
        ValueError: for more levels than there are, or an unknown spacing.
    """
    if not 1 <= count <= steps:
        raise ValueError(f"{count} sampling steps; the schedule has {steps} levels, so choose 1 to {steps}")
    if spacing == "leading":
        chosen: NDArray[Any] = np.arange(count) * (steps // count)
    elif spacing == "trailing":
        chosen = steps - 1 - np.arange(count)[::-1] * (steps / count)
    elif spacing == "linspace":
        chosen = np.linspace(0 if count > 1 else steps - 1, steps - 1, count)
    elif spacing == "quadratic":
        chosen = np.linspace(0 if count > 1 else (steps - 1) ** 0.5, (steps - 1) ** 0.5, count) ** 2
    else:
        raise ValueError(f"spacing {spacing!r}: choose linspace, trailing, leading or quadratic")
    return np.unique(np.round(chosen).astype(int))[::-1].tolist()

"""Learning-rate schedules as functions of the update."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

Schedule = Literal["cosine", "linear", "constant", "trapezoid", "one_cycle"]


class Share(NamedTuple):
    """Factors of an update's learning rate, which is the peak learning rate times `rise` times `fall`."""

    rise: float
    """Warm-up, from 0 to 1."""
    fall: float
    """Decay, from 1 to 0; does not apply to `steady` submodules."""
    momentum: float | None = None
    """Adam's beta 1 or SGD's momentum, if the schedule changes it too."""


def cosine(update: int, updates: int, warmup: int) -> Share:
    """Linear warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017)."""
    progress = max(0, update - warmup) / max(1, updates - warmup)
    return Share(warm_up(update + 1, warmup), (1 + math.cos(math.pi * min(1.0, progress))) / 2)


def linear(update: int, updates: int, warmup: int) -> Share:
    """Linear warm-up, times a linear decay to a twentieth over all updates."""
    return Share(warm_up(update + 1, warmup), 1 - 0.95 * min(update + 1, updates) / updates)


def constant(update: int, updates: int, warmup: int) -> Share:
    """Linear warm-up, then constant."""
    return Share(warm_up(update + 1, warmup), 1.0)


def trapezoid(update: int, updates: int, warmup: int) -> Share:
    """Linear warm-up from 0, constant, and linear to 0 over the last quarter (Zhai et al. 2022, section 3.5)."""
    return Share(warm_up(update, warmup), min(1.0, 4 * (1 - update / updates)))


def one_cycle(update: int, updates: int, warmup: int) -> Share:
    """Rise along a cosine for 30 % of the updates, then fall; momentum does the opposite (Smith & Topin 2018).

    The defaults of `torch.optim.lr_scheduler.OneCycleLR`; `warmup` does not apply.
    """
    peak, last = 0.3 * updates - 1, updates - 1
    if update <= peak:
        progress = update / peak
        return Share(1.0, annealed(1 / 25, 1.0, progress), annealed(0.95, 0.85, progress))
    progress = (update - peak) / (last - peak)
    return Share(1.0, annealed(1.0, 1 / 25 / 1e4, progress), annealed(0.85, 0.95, progress))


def warm_up(update: int, warmup: int) -> float:
    return min(1.0, update / warmup) if warmup else 1.0


def annealed(start: float, end: float, progress: float) -> float:
    """Interpolate along half a cosine from `start` to `end`, at `progress` from 0 to 1."""
    return end + (start - end) / 2 * (math.cos(math.pi * progress) + 1)


SCHEDULES: dict[Schedule, Callable[[int, int, int], Share]] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "trapezoid": trapezoid,
    "one_cycle": one_cycle,
}
"""(update, counted from 0; total updates; warm-up updates) -> `Share`."""

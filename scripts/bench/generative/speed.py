"""Seconds of a DDIM step against those of diffusers, in turns in the same process."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from embodia.perception.generative.diffusion.parametrization import of_eps
from embodia.perception.generative.diffusion.samplers import DDIM, State
from embodia.perception.generative.diffusion.schedule import linear
from embodia.scripts.bench.generative.training import Budget, Numbers, seeded
from embodia.scripts.mistake import Mistake

SHAPE = (64, 40, 2)
T, S = 500, 480


def ddim_step(seed: int, budget: Budget) -> Numbers:
    """Milliseconds of one step of (64, 40, 2), the network's answer being there already."""
    try:
        from diffusers import DDIMScheduler
    except ImportError as error:
        raise Mistake("the row `ddim step` compares with diffusers; pip install diffusers") from error
    schedule, ours = linear(1000), DDIM(50, spacing="leading")
    theirs: Any = DDIMScheduler(1000, clip_sample=False)
    theirs.set_timesteps(50)
    x, eps = (torch.randn(SHAPE, generator=seeded(seed + i)) for i in (0, 1))
    state = State(x, x, T, {})

    def our_step() -> torch.Tensor:
        predict = lambda x, t: of_eps(eps, x, schedule.alphas[t], schedule.sigmas[t])  # noqa: E731
        return ours.step(predict, schedule, state, S, None).x

    def their_step() -> torch.Tensor:
        return theirs.step(eps, T, x).prev_sample

    difference = (our_step() - their_step()).abs().max().item()
    times: dict[str, list[float]] = {"ours": [], "diffusers": []}
    with torch.no_grad():
        for _ in range(budget.steps(40)):
            times["ours"].append(seconds(our_step))
            times["diffusers"].append(seconds(their_step))
    found = {name: 1000 * median(each) for name, each in times.items()}
    return {"ratio": found["diffusers"] / found["ours"], **found, "difference": difference}


def seconds(step: Callable[[], torch.Tensor], repeats: int = 50) -> float:
    """CPU seconds of one call, of `repeats`."""
    started = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - started) / repeats

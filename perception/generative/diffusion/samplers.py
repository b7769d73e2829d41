"""Samplers: from noise to data along decreasing levels of a schedule.

A sampler knows no network. It is given `predict(x, t)`: what a network, guided or not, says of x at level t.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from embodia.perception.generative.diffusion.parametrization import Prediction
from embodia.perception.generative.diffusion.schedule import Schedule, levels
from embodia.perception.generative.noise import check_finite, noise_like

Predict = Callable[[Tensor, int], Prediction]
"""(x (B, *event), level t) -> the data and the noise in x."""
Carry = dict[str, Tensor]
"""What a multistep sampler remembers, each (B, *event); {} at the start."""
Spacing = Literal["linspace", "trailing", "leading", "quadratic"]


class State(NamedTuple):
    """Where sampling stands."""

    x: Tensor
    """The sample at level `t`, (B, *event)."""
    x0: Tensor
    """The data predicted by the step that led here, (B, *event)."""
    t: int
    """The level; -1 is the data."""
    carry: Carry


Between = Callable[[State], State]
"""What runs after each step: inpainting, steering. It may replace x, reorder the samples and their carry."""


class Sampler(Protocol):
    """How one step is made, and which levels are visited."""

    def levels(self, schedule: Schedule) -> list[int]:
        """From the noisiest level down; the last step leads to the data."""

    def step(
        self,
        predict: Predict,
        schedule: Schedule,
        state: State,
        s: int,
        generator: torch.Generator | None,
    ) -> State:
        """From `state` to level s < state.t; s = -1 is the data."""


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), on all levels or some of them."""

    steps: int | None = None
    """Number of levels visited; None for all."""
    variance: Literal["small", "large"] = "small"
    """Of a step: "small" is that of the posterior, beta tilde; "large" is beta."""
    spacing: Spacing = "linspace"

    def levels(self, schedule: Schedule) -> list[int]:
        return levels(schedule.steps, self.steps or schedule.steps, self.spacing)

    def step(
        self, predict: Predict, schedule: Schedule, state: State, s: int, generator: torch.Generator | None
    ) -> State:
        x, t = state.x, state.t
        x0 = predict(x, t).x0
        bar_t, bar_s = schedule.alphas[t] ** 2, schedule.alphas[s] ** 2
        beta = 1 - bar_t / bar_s
        mean = (bar_s**0.5 * beta * x0 + (bar_t / bar_s) ** 0.5 * (1 - bar_s) * x) / (1 - bar_t)
        if s < 0:
            return State(mean, x0, s, {})
        variance = beta if self.variance == "large" else beta * (1 - bar_s) / (1 - bar_t)
        return State(mean + variance**0.5 * noise_like(x, generator), x0, s, {})


@dataclass(frozen=True)
class DDIM:
    """Implicit sampling (Song et al. 2021, equation 12): deterministic for eta 0, ancestral for eta 1."""

    steps: int = 50
    """Number of levels visited."""
    eta: float = 0.0
    """Noise of a step, as a multiple of the ancestral sampler's."""
    spacing: Spacing = "linspace"

    def levels(self, schedule: Schedule) -> list[int]:
        return levels(schedule.steps, self.steps, self.spacing)

    def step(
        self, predict: Predict, schedule: Schedule, state: State, s: int, generator: torch.Generator | None
    ) -> State:
        x0, eps = predict(state.x, state.t)
        alpha, sigma = schedule.alphas[s], schedule.sigmas[s]
        if self.eta == 0 or s < 0:
            return State(torch.add(alpha * x0, eps, alpha=sigma), x0, s, {})
        noise = self.eta * ancestral_std(schedule, state.t, s)
        x = torch.add(alpha * x0, eps, alpha=(sigma**2 - noise**2) ** 0.5)
        return State(x.add_(noise_like(x, generator), alpha=noise), x0, s, {})


@dataclass(frozen=True)
class DPMSolver:
    """DPM-Solver++(2M): second order, one evaluation a step (Lu et al. 2022, algorithm 2), deterministic."""

    steps: int = 20
    """Number of levels visited."""
    order: Literal[1, 2] = 2
    """1 is DDIM."""
    spacing: Spacing = "quadratic"
    """Dense near the data, where log(alpha / sigma), the time of this solver, changes most between levels."""

    def levels(self, schedule: Schedule) -> list[int]:
        return levels(schedule.steps, self.steps, self.spacing)

    def step(
        self, predict: Predict, schedule: Schedule, state: State, s: int, generator: torch.Generator | None
    ) -> State:
        x, t = state.x, state.t
        x0 = predict(x, t).x0
        if s < 0:
            return State(x0, x0, s, {})
        h = schedule.log_snr[s] - schedule.log_snr[t]
        data, carry = x0, {"x0": x0, "h": torch.full((len(x),), h, dtype=torch.float64)}
        if self.order == 2 and state.carry:
            ratio = float(state.carry["h"][0]) / h
            data = x0 + (x0 - state.carry["x0"]) / (2 * ratio)
        ratio_sigma = schedule.sigmas[s] / schedule.sigmas[t]
        weight = schedule.alphas[s] - ratio_sigma * schedule.alphas[t]  # alpha_s (1 - exp(-h))
        return State(ratio_sigma * x + weight * data, x0, s, carry)


def ancestral_std(schedule: Schedule, t: int, s: int) -> float:
    """Standard deviation of the posterior's noise in a step from level t to s."""
    bar_t, bar_s = schedule.alphas[t] ** 2, schedule.alphas[s] ** 2
    return ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)) ** 0.5


@torch.no_grad()
def sample_path(
    predict: Predict,
    schedule: Schedule,
    sampler: Sampler,
    noise: Tensor,
    generator: torch.Generator | None = None,
    between: Between | None = None,
) -> Iterator[State]:
    """Yield the state after each step, down to the data.

    Args:
        predict: the denoiser.
        schedule: its noise levels.
        sampler: how a step is made.
        noise: (B, *event), the sample at the first level.
        generator: of the steps' noise.
        between: called on each state, and gives the state to go on with.

    Raises:
        NonFinite: naming the step.
    """
    visited = sampler.levels(schedule)
    state = State(noise, noise, visited[0], {})
    for number, s in enumerate([*visited[1:], -1], start=1):
        state = sampler.step(predict, schedule, state, s, generator)
        check_finite(state.x, "the sample", number)
        state = between(state) if between is not None else state
        yield state


def final(path: Iterator[State]) -> Tensor:
    """The data (B, *event) that a path ends in."""
    (state,) = deque(path, maxlen=1)
    return state.x


@torch.no_grad()
def invert(predict: Predict, schedule: Schedule, x: Tensor, steps: int, spacing: Spacing = "linspace") -> Tensor:
    """The noise from which deterministic DDIM makes the data x (B, *event), by the same steps the other way round.

    The step from the data itself takes the noise predicted at the first level.
    """
    visited = levels(schedule.steps, steps, spacing)[::-1]
    x0, eps = x, predict(x, visited[0]).eps
    for s in visited:
        x = schedule.alphas[s] * x0 + schedule.sigmas[s] * eps
        x0, eps = predict(x, s)
    return x

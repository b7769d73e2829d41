"""Feynman-Kac steering: sampling from p(x) exp(scale * reward(x)) by resampling particles (Singhal et al. 2025)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from embodia.perception.generative import Condition
from embodia.perception.generative.conditions import repeated
from embodia.perception.generative.diffusion.diffusion import Diffusion
from embodia.perception.generative.diffusion.guidance import Scale
from embodia.perception.generative.diffusion.samplers import Predict, Sampler, State

Reward = Callable[[Tensor], Tensor]
"""Data (B, *event) -> (B,). It needs no gradient."""


@dataclass(frozen=True)
class SteeringConfig:
    """How particles are weighted and resampled."""

    particles: int = 8
    """Particles per sample (k)."""
    scale: float = 1.0
    """Of the reward in the tilted law, lambda."""
    potential: Literal["difference", "max", "sum"] = "difference"
    """What a step's weight says: the gain in reward since the last resampling, the best reward so far, or the sum of
    the rewards so far. The last step corrects the product of all weights to exp(scale * reward)."""
    every: int = 5
    """Steps between two resamplings."""
    start: float = 1.0
    """Resample once the level is at most this share of all levels; predicted data say little at high noise."""
    adaptive: bool = False
    """Resample only where the effective sample size is below half of the particles."""


class Steering:
    """Runs between the steps of a sampler, on n groups of k particles, the particles of a group being neighbours.

    Args:
        reward: of data; during sampling it is asked about the predicted data.
        config: weights and resampling.
        levels: T of the schedule.
        generator: of the resampling.

    Raises:
        ValueError: if the reward does not give one finite number per sample.
    """

    def __init__(self, reward: Reward, config: SteeringConfig, levels: int, generator: torch.Generator | None = None):
        self.reward, self.config, self.levels, self.generator = reward, config, levels, generator
        self.step = 0
        self.log_weight: Tensor | None = None  # (n, k): since the last resampling
        self.spent: Tensor | None = None  # (n, k): log of all weights along each particle's own path
        self.previous: Tensor | None = None  # (n, k): reward when it was last asked, or its best, or its sum

    def __call__(self, state: State) -> State:
        self.step += 1
        last = state.t < 0
        due = last or (self.step % self.config.every == 0 and state.t < self.config.start * self.levels)
        return self.resampled(state, self.weigh(state, last)) if due else state

    def rewards(self, x0: Tensor) -> Tensor:
        """(n, k)."""
        found = self.reward(x0)
        if not isinstance(found, Tensor) or found.shape != (len(x0),):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"the reward of {len(x0)} samples has the shape {shape}; give one number each, (B,)")
        if not torch.isfinite(found).all():
            raise ValueError(f"the reward is NaN or infinite at step {self.step}; give finite numbers")
        return found.double().view(-1, self.config.particles)

    def weigh(self, state: State, last: bool) -> Tensor:
        """Log weights (n, k) of this step, and those left from steps without resampling."""
        reward = self.config.scale * self.rewards(state.x if last else state.x0)
        zero = torch.zeros_like(reward)
        spent = zero if self.spent is None else self.spent
        previous = self.previous
        if last:
            potential = reward - spent  # the product of all weights becomes exp(scale * reward)
        elif self.config.potential == "difference":
            potential = reward - (zero if previous is None else previous)
            self.previous = reward
        elif self.config.potential == "max":
            self.previous = potential = reward if previous is None else torch.maximum(previous, reward)
        else:
            self.previous = potential = reward if previous is None else previous + reward
        self.spent = spent + potential
        return potential + (zero if self.log_weight is None else self.log_weight)

    def resampled(self, state: State, log_weight: Tensor) -> State:
        """The state with its particles drawn anew within each group, by their weights."""
        n, k = log_weight.shape
        weight = log_weight.softmax(1)
        if self.config.adaptive and state.t >= 0:
            keep = 1 / weight.square().sum(1) >= k / 2
        else:
            keep = torch.zeros(n, dtype=torch.bool, device=weight.device)
        drawn = torch.multinomial(weight.cpu(), k, replacement=True, generator=self.generator).to(weight.device)
        drawn = torch.where(keep[:, None], torch.arange(k, device=weight.device), drawn)
        self.log_weight = torch.where(keep[:, None], log_weight, torch.zeros_like(log_weight))
        self.spent, self.previous = (each if each is None else each.gather(1, drawn) for each in self.memory())
        rows = (drawn + k * torch.arange(n, device=drawn.device)[:, None]).flatten()
        carry = {name: value[rows.to(value.device)] for name, value in state.carry.items()}
        return State(state.x[rows], state.x0[rows], state.t, carry)

    def memory(self) -> tuple[Tensor | None, Tensor | None]:
        return self.spent, self.previous


def steer(
    model: Diffusion,
    n: int,
    reward: Reward,
    config: SteeringConfig,
    sampler: Sampler,
    condition: Condition | None = None,
    generator: torch.Generator | None = None,
    guidance: Scale = 1.0,
    predict: Predict | None = None,
    known: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """n samples (n, *event) of about p(x) exp(scale * reward(x)), each from particles of its own.

    Use a stochastic sampler: copies of a particle stay copies under a deterministic one.
    """
    particles = config.particles
    steering = Steering(reward, config, model.schedule.steps, generator)
    x = model.sample(
        n * particles,
        repeated(condition, particles),
        generator,
        sampler=sampler,
        guidance=guidance.repeat_interleave(particles) if isinstance(guidance, Tensor) else guidance,
        predict=predict,
        known=known,
        between=steering,
    )
    return x[::particles]


def best_of(x: Tensor, reward: Tensor, k: int) -> Tensor:
    """The best of every k neighbouring samples, (n * k, *event) and (n * k,) -> (n, *event): the control."""
    best = reward.view(-1, k).argmax(1)
    return x.unflatten(0, (-1, k))[torch.arange(len(best)), best]

"""Langevin dynamics: unadjusted (ULA), and with a Metropolis test (MALA; Roberts and Tweedie 1996)."""

from collections.abc import Callable

import torch
from torch import Tensor

from embodia.perception.generative.mcmc import Kernel, LogProb, State
from embodia.perception.generative.mcmc.density import check_start, check_step_size, log_prob_and_score, score_of
from embodia.perception.generative.mcmc.metropolis_hastings import accept
from embodia.perception.generative.noise import check_finite, flat_sum, noise_like

CHECK = 50  # steps between two looks for NaN


def langevin_step(
    x: Tensor, score: Tensor, step_size: float, generator: torch.Generator | None = None, temperature: float = 1.0
) -> Tensor:
    """x + step_size / 2 * score + sqrt(step_size * temperature) * noise."""
    return x + step_size / 2 * score + (step_size * temperature) ** 0.5 * noise_like(x, generator)


@torch.no_grad()
def langevin(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    step_size: float,
    steps: int,
    generator: torch.Generator | None = None,
    done: int = 0,
    temperature: float = 1.0,
    bounds: tuple[float, float] | None = None,
) -> Tensor:
    """Return where the chains are after `steps` Langevin steps.

    Args:
        score: gradient of the log density.
        x: (B, *event), where the chains start.
        step_size: biased for any step that is not small.
        steps: of each chain.
        generator: of the noise.
        done: steps made before, for messages.
        temperature: scales the variance of the noise; below 1 the chains stay closer to the modes.
        bounds: smallest and largest coordinate; positions are clamped to them after each step.

    Raises:
        NonFinite: naming the step.
    """
    for step in range(1, steps + 1):
        x = langevin_step(x, score(x), step_size, generator, temperature)
        x = x if bounds is None else x.clamp(*bounds)
        if step % CHECK == 0 or step == steps:
            check_finite(x, "the chain", done + step)
    return x


class ULA(Kernel):
    """Langevin steps without a test. The law of the chain differs from the target by a bias that grows with the step.

    Args:
        log_prob: log density up to a constant.
        step_size: of a step.
    """

    def __init__(self, log_prob: LogProb, step_size: float):
        check_step_size(step_size)
        self.score, self.step_size = score_of(log_prob), step_size

    def start(self, x: Tensor) -> State:
        return State(x, torch.ones(len(x), dtype=torch.bool, device=x.device))

    def step(self, state: State, generator: torch.Generator | None = None) -> State:
        x = langevin_step(state.x, self.score(state.x), self.step_size, generator)
        check_finite(x, "the chain", state.step + 1)
        return State(x, state.accepted, state.step + 1)


class MALA(Kernel):
    """Langevin steps as proposals of Metropolis-Hastings: exact at any step size.

    Args:
        log_prob: log density up to a constant.
        step_size: of a step; about 57 % accepted proposals is best in many dimensions (Roberts and Rosenthal 1998).
    """

    def __init__(self, log_prob: LogProb, step_size: float):
        check_step_size(step_size)
        self.log_prob, self.step_size = log_prob, step_size

    def start(self, x: Tensor) -> State:
        log_prob, score = log_prob_and_score(self.log_prob, x)
        check_start(log_prob)
        return State(x, torch.ones(len(x), dtype=torch.bool, device=x.device), 0, log_prob, score)

    def step(self, state: State, generator: torch.Generator | None = None) -> State:
        assert state.log_prob is not None
        assert state.score is not None
        x = langevin_step(state.x, state.score, self.step_size, generator)
        log_prob, score = log_prob_and_score(self.log_prob, x)
        back, there = self.log_proposal(x, score, state.x), self.log_proposal(state.x, state.score, x)
        proposal = State(x, state.accepted, state.step + 1, log_prob, score)
        return accept(state, proposal, log_prob - state.log_prob + back - there, generator)

    def log_proposal(self, x: Tensor, score: Tensor, new: Tensor) -> Tensor:
        """Log density of proposing `new` from x, up to a constant, (C,)."""
        return -flat_sum((new - x - self.step_size / 2 * score).square()) / (2 * self.step_size)

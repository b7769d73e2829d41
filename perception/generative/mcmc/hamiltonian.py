"""Hamiltonian Monte Carlo with the leapfrog integrator (Duane et al. 1987; Neal 2011)."""

from collections.abc import Callable

import torch
from torch import Tensor

from embodia.perception.generative.mcmc import Kernel, LogProb, State
from embodia.perception.generative.mcmc.density import check_start, check_step_size, checked_shape, score_of
from embodia.perception.generative.mcmc.metropolis_hastings import accept
from embodia.perception.generative.noise import flat_sum, noise_like


def leapfrog(
    score: Callable[[Tensor], Tensor], x: Tensor, momentum: Tensor, step_size: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Follow Hamilton's equations with unit mass.

    The map is reversible (negate the momentum to return) and keeps volume; the energy's error is of order step_size^2.

    Args:
        score: gradient of the log density.
        x: positions, (C, *event).
        momentum: (C, *event).
        step_size: of a step.
        steps: number of steps.

    Returns:
        Positions and momenta, (C, *event) each.
    """
    momentum = momentum + step_size / 2 * score(x)
    for step in range(1, steps + 1):
        x = x + step_size * momentum
        momentum = momentum + (step_size if step < steps else step_size / 2) * score(x)
    return x, momentum


class HMC(Kernel):
    """A fresh momentum, `steps` leapfrog steps, and a Metropolis test on the total energy.

    Args:
        log_prob: log density up to a constant.
        step_size: of a leapfrog step.
        steps: leapfrog steps of a transition.
    """

    def __init__(self, log_prob: LogProb, step_size: float, steps: int):
        check_step_size(step_size)
        if steps < 1:
            raise ValueError(f"{steps} leapfrog steps; give at least one")
        self.log_prob, self.step_size, self.steps = log_prob, step_size, steps

    def start(self, x: Tensor) -> State:
        log_prob = checked_shape(self.log_prob(x), x)
        check_start(log_prob)
        return State(x, torch.ones(len(x), dtype=torch.bool, device=x.device), 0, log_prob)

    @torch.no_grad()
    def step(self, state: State, generator: torch.Generator | None = None) -> State:
        assert state.log_prob is not None
        momentum = noise_like(state.x, generator).to(state.x.dtype)
        x, after = leapfrog(score_of(self.log_prob), state.x, momentum, self.step_size, self.steps)
        log_prob = self.log_prob(x)
        kinetic = 0.5 * flat_sum(momentum.square() - after.square())
        proposal = State(x, state.accepted, state.step + 1, log_prob)
        return accept(state, proposal, log_prob - state.log_prob + kinetic, generator)

"""Metropolis-Hastings: proposals that are accepted so that the law stays invariant (Metropolis 1953, Hastings 1970)."""

from collections.abc import Callable

import torch
from torch import Tensor

from embodia.perception.generative.mcmc import Kernel, LogProb, State
from embodia.perception.generative.mcmc.density import check_density, check_start, check_step_size, checked_shape
from embodia.perception.generative.noise import noise_like, per_sample, uniform

Propose = Callable[[Tensor, torch.Generator | None], tuple[Tensor, Tensor | float]]
"""(x, generator) -> (proposal x', log q(x | x') - log q(x' | x)); 0 for a symmetric proposal."""


class MetropolisHastings(Kernel):
    """Accept x' with probability min(1, p(x') q(x | x') / (p(x) q(x' | x))).

    Args:
        log_prob: log density up to a constant.
        propose: the proposal.
    """

    def __init__(self, log_prob: LogProb, propose: Propose):
        self.log_prob, self.propose = log_prob, propose

    def start(self, x: Tensor) -> State:
        log_prob = checked_shape(self.log_prob(x), x)
        check_start(log_prob)
        return State(x, torch.ones(len(x), dtype=torch.bool, device=x.device), 0, log_prob)

    @torch.no_grad()
    def step(self, state: State, generator: torch.Generator | None = None) -> State:
        x, log_proposals = self.propose(state.x, generator)
        proposal = State(x, state.accepted, state.step + 1, self.log_prob(x))
        assert state.log_prob is not None
        assert proposal.log_prob is not None
        return accept(state, proposal, proposal.log_prob - state.log_prob + log_proposals, generator)


def accept(old: State, new: State, log_ratio: Tensor, generator: torch.Generator | None) -> State:
    """Take `new` with probability min(1, exp(log_ratio)) in each chain, and `old` elsewhere."""
    assert new.log_prob is not None
    check_density(new.log_prob, new.step)
    accepted = uniform(log_ratio.shape, generator, log_ratio.device).log() < log_ratio

    def chosen(after: Tensor | None, before: Tensor | None) -> Tensor | None:
        return None if after is None or before is None else torch.where(per_sample(accepted, after), after, before)

    x = torch.where(per_sample(accepted, new.x), new.x, old.x)
    return State(x, accepted, new.step, chosen(new.log_prob, old.log_prob), chosen(new.score, old.score))


def random_walk(step_size: float) -> Propose:
    """A Gaussian step with this standard deviation on each axis."""
    check_step_size(step_size)
    return lambda x, generator: (x + step_size * noise_like(x, generator), 0.0)

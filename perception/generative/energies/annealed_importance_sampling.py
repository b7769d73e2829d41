"""Annealed importance sampling: an estimate of log Z from a known law (Neal 2001; Salakhutdinov and Murray 2008)."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from embodia.perception.generative.energies.rbm import RBM
from embodia.perception.generative.noise import bernoulli, check_finite


@dataclass(frozen=True)
class Estimate:
    """Log ratio of normalisers, Z / Z_0, estimated by C chains."""

    log_ratio: float
    """Log of the mean weight [nats]. The mean weight is unbiased, so its log is too low on average."""
    low: float
    """Log of (mean weight - 3 standard errors); -inf if that is negative."""
    high: float
    """Log of (mean weight + 3 standard errors)."""


def annealed_importance_sampling(
    log_prob: Callable[[Tensor, float], Tensor],
    transition: Callable[[Tensor, float], Tensor],
    x: Tensor,
    betas: Sequence[float],
) -> Estimate:
    """Estimate log(Z_1 / Z_0) on a path of laws from beta = 0, which can be sampled, to beta = 1.

    Args:
        log_prob: (x (C, *event), beta) -> log density up to a constant, (C,).
        transition: (x, beta) -> x after a step that leaves the law of beta invariant.
        x: (C, *event), independent samples of the law at beta = 0.
        betas: rising from 0 to 1.

    Raises:
        NonFinite: if a weight is NaN or infinite; the message names the temperature by its place.
        ValueError: if the betas do not rise from 0 to 1.
    """
    rising = all(a < b for a, b in itertools.pairwise(betas))
    if len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or not rising:
        raise ValueError("the inverse temperatures must rise from 0 to 1")
    weights = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for step, (before, beta) in enumerate(itertools.pairwise(betas), start=1):
        weights += (log_prob(x, beta) - log_prob(x, before)).double()
        check_finite(weights, "the importance weight", step)
        x = transition(x, beta)
    return estimate(weights)


def estimate(log_weights: Tensor) -> Estimate:
    """Mean weight of C chains and its interval, from log weights (C,)."""
    largest = log_weights.max()
    weights = (log_weights - largest).exp()
    mean, error = weights.mean().item(), 3 * (weights.std() / len(weights) ** 0.5).item()
    logs = [math.log(each) if each > 0 else -math.inf for each in (mean, mean - error, mean + error)]
    return Estimate(*(largest.item() + each for each in logs))


@torch.no_grad()
def rbm_log_partition(
    rbm: RBM, base_bias: Tensor, chains: int, temperatures: int, generator: torch.Generator | None = None
) -> Estimate:
    """Estimate log Z of an RBM with Bernoulli visible units.

    The path starts at an RBM without weights and with the visible biases `base_bias`. The law at beta is that of an RBM
    with weights beta W, visible biases (1 - beta) base_bias + beta b and hidden biases beta c.

    Args:
        rbm: the machine.
        base_bias: (V,), for example `data_bias` of the training data.
        chains: number of chains (C).
        temperatures: number of inverse temperatures, evenly spaced; 1000 or more.
        generator: of all random numbers.
    """
    if rbm.units != "bernoulli":
        raise ValueError("this path needs Bernoulli visible units")
    weight, hidden = rbm.weight, len(rbm.hidden_bias)

    def bias(beta: float) -> Tensor:
        return (1 - beta) * base_bias + beta * rbm.visible_bias

    def log_prob(v: Tensor, beta: float) -> Tensor:
        return v @ bias(beta) + F.softplus(beta * (rbm.hidden_bias + v @ weight)).sum(1)

    def transition(v: Tensor, beta: float) -> Tensor:
        h = bernoulli((beta * (rbm.hidden_bias + v @ weight)).sigmoid(), generator)
        return bernoulli((bias(beta) + beta * h @ weight.T).sigmoid(), generator)

    start = bernoulli(base_bias.sigmoid().expand(chains, -1), generator)
    betas = torch.linspace(0, 1, temperatures).tolist()
    found = annealed_importance_sampling(log_prob, transition, start, betas)
    base = F.softplus(base_bias.double()).sum().item() + hidden * math.log(2)
    return Estimate(base + found.log_ratio, base + found.low, base + found.high)


def data_bias(x: Tensor, smoothing: float = 1.0) -> Tensor:
    """Visible biases (V,) of independent units with the means of binary data (B, V)."""
    return ((x.sum(0) + smoothing) / (len(x) + 2 * smoothing)).logit()

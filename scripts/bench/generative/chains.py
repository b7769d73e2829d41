"""Markov chains on laws that are known: quantiles, the bias of unadjusted Langevin, the order of the leapfrog."""

import torch
from torch import Tensor

from embodia.perception.generative.mcmc import Kernel
from embodia.perception.generative.mcmc.chains import run_chains
from embodia.perception.generative.mcmc.diagnostics import effective_sample_size, split_r_hat
from embodia.perception.generative.mcmc.gibbs import Gibbs, Update
from embodia.perception.generative.mcmc.hamiltonian import HMC, leapfrog
from embodia.perception.generative.mcmc.langevin import MALA, ULA
from embodia.perception.generative.mcmc.metropolis_hastings import MetropolisHastings, random_walk
from embodia.perception.generative.toy_densities import GaussianMixture
from embodia.scripts.bench.generative.diffusion_toy import slope
from embodia.scripts.bench.generative.training import Budget, Numbers, seeded

P = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
RHO = 0.95
"""Correlation of the Gaussian on which chains are compared."""
PRECISION = torch.linalg.inv(torch.tensor([[1.0, RHO], [RHO, 1.0]]))


def logistic(x: Tensor) -> Tensor:
    """Log density of the standard logistic law on each axis; its quantiles are logit(p)."""
    return (-x - 2 * torch.nn.functional.softplus(-x)).sum(1)


def correlated(x: Tensor) -> Tensor:
    return -0.5 * ((x @ PRECISION) * x).sum(1)


def one_axis(i: int) -> Update:
    """The Gibbs update of a coordinate of the correlated Gaussian."""

    def sampled(x: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.randn(len(x), 1, generator=generator)
        new = RHO * x[:, 1 - i : 2 - i] + (1 - RHO**2) ** 0.5 * noise
        return torch.cat([new, x[:, 1:]] if i == 0 else [x[:, :1], new], 1)

    return sampled


def samplers(seed: int, budget: Budget) -> Numbers:
    """All numbers of one seed."""
    return quantiles(seed, budget) | bias(seed, budget) | order(seed, budget) | mixing(seed, budget)


def quantiles(seed: int, budget: Budget) -> Numbers:
    """Largest error of five quantiles of a logistic law, in units of the law's standard deviation (1.81)."""
    kernels: dict[str, Kernel] = {
        "metropolis": MetropolisHastings(logistic, random_walk(3.0)),
        "mala": MALA(logistic, 2.0),
        "ula": ULA(logistic, 2.0),
        "hmc": HMC(logistic, 0.9, 4),
    }
    start = torch.zeros(budget.samples(500), 1)
    numbers: Numbers = {}
    for name, kernel in kernels.items():
        x = run_chains(kernel, start, budget.steps(200), 50, 1, seeded(seed)).x.flatten()
        numbers[f"{name} quantile error"] = ((x.quantile(P) - P.logit()).abs().max() / 1.8138).item()
    return numbers


def bias(seed: int, budget: Budget) -> Numbers:
    """Variance of chains on a standard Gaussian with a step of 1: 4/3 for ULA by theory, 1 for the law itself."""
    start = torch.randn(budget.samples(1000), 1, generator=seeded(seed))

    def variance(kernel: Kernel) -> float:
        return run_chains(kernel, start, budget.steps(100), 10, 1, seeded(seed)).x.var().item()

    def gaussian(x: Tensor) -> Tensor:
        return -0.5 * x.square().sum(1)

    return {"mala variance": variance(MALA(gaussian, 1.0)), "ula variance": variance(ULA(gaussian, 1.0))}


def order(seed: int, budget: Budget) -> Numbers:
    """The power of the step with which the energy error of a path of fixed length falls."""
    law = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64), 0.8)
    x, momentum = (
        torch.randn(budget.samples(500), 2, generator=seeded(seed + i), dtype=torch.float64) for i in (0, 100)
    )

    def energy(x: Tensor, momentum: Tensor) -> Tensor:
        return 0.5 * momentum.square().sum(1) - law.log_prob(x)

    errors = {}
    for steps in (10, 20, 40, 80):
        there = leapfrog(law.score, x, momentum, 1.6 / steps, steps)
        errors[steps] = (energy(*there) - energy(x, momentum)).abs().mean().item()
    return {"hmc order": slope(errors), "hmc error, step 0.16": errors[10], "hmc error, step 0.02": errors[80]}


def mixing(seed: int, budget: Budget) -> Numbers:
    """Effective draws per draw on a Gaussian with correlation 0.95, and the worst R-hat."""
    kernels: dict[str, Kernel] = {
        "metropolis": MetropolisHastings(correlated, random_walk(0.5)),
        "gibbs": Gibbs([one_axis(0), one_axis(1)]),
        "mala": MALA(correlated, 0.15),
        "hmc": HMC(correlated, 0.25, 8),
    }
    start, draws = torch.zeros(20, 2) + 1.5, budget.steps(1000)
    numbers: Numbers = {}
    paths = {}
    for name, kernel in kernels.items():
        x = run_chains(kernel, start, draws, 100, 1, seeded(seed)).x
        numbers[f"{name} efficiency"] = effective_sample_size(x).min().item() / (draws * len(start))
        numbers[f"{name} r-hat"] = split_r_hat(x).max().item()
        paths[name] = x[:60, 0]
    budget.keep(f"chains-{seed}", **paths)
    return numbers

"""Kernels against known laws: detailed balance, moments and quantiles, the leapfrog integrator, and bad input."""

import math

import pytest
import torch

from embodia.perception.generative import NonFinite
from embodia.perception.generative.energies.graphical_model import enumerated, ising
from embodia.perception.generative.mcmc.chains import run_chains
from embodia.perception.generative.mcmc.density import log_prob_and_score
from embodia.perception.generative.mcmc.gibbs import Gibbs
from embodia.perception.generative.mcmc.hamiltonian import HMC, leapfrog
from embodia.perception.generative.mcmc.langevin import MALA, ULA, langevin
from embodia.perception.generative.mcmc.metropolis_hastings import MetropolisHastings, random_walk
from embodia.perception.generative.toy_densities import GaussianMixture


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(x):
    return -0.5 * x.square().sum(1)


def logistic(x):
    """Log density of the standard logistic law, whose quantiles are log(p / (1 - p))."""
    return (-x - 2 * torch.nn.functional.softplus(-x)).sum(1)


# Detailed balance -------------------------------------------------------------------------------------------------


def test_detailed_balance_on_a_discrete_chain_with_a_lopsided_proposal():
    weights, forward = torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.8
    law = weights / weights.sum()

    def propose(x, generator):
        """One step around a ring of four states, forward more often than back."""
        ahead = torch.rand(len(x), generator=generator) < forward
        ratio = torch.where(ahead, math.log((1 - forward) / forward), math.log(forward / (1 - forward)))
        return (x + torch.where(ahead, 1, -1)) % 4, ratio

    kernel = MetropolisHastings(lambda x: weights[x].log(), propose)
    x = torch.arange(4).repeat_interleave(50_000)
    after = kernel.step(kernel.start(x), seeded()).x
    moves = torch.bincount(4 * x + after, minlength=16).view(4, 4) / 50_000
    flow = law[:, None] * moves
    torch.testing.assert_close(flow, flow.T, atol=4e-3, rtol=0)
    assert flow[0, 1].item() == pytest.approx(0.1 * forward * 0.5, abs=4e-3)  # accepted in 2 * 0.2 / 0.8 of all cases


@pytest.mark.parametrize(
    "kernel",
    [
        MetropolisHastings(gaussian, random_walk(1.5)),
        MALA(gaussian, 1.2),
        HMC(gaussian, 0.8, 3),
    ],
    ids=["metropolis", "mala", "hmc"],
)
def test_one_step_leaves_a_gaussian_as_it_is(kernel):
    """Started from the law itself, and with pairs (before, after) that cannot be told from (after, before)."""
    x = torch.randn(100_000, 1, generator=seeded())
    after = kernel.step(kernel.start(x), seeded(1)).x
    assert after.mean().item() == pytest.approx(0, abs=0.015)
    assert after.var().item() == pytest.approx(1, abs=0.02)
    moved = after - x
    assert (moved * (x.square() + after.square())).mean().item() == pytest.approx(0, abs=0.08)
    assert moved.abs().mean() > 0.3


# Moments and quantiles --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kernel",
    [MetropolisHastings(logistic, random_walk(3.0)), MALA(logistic, 2.0), HMC(logistic, 0.9, 4)],
    ids=["metropolis", "mala", "hmc"],
)
def test_quantiles_of_a_logistic_law(kernel):
    found = run_chains(kernel, torch.zeros(1000, 1), 60, burn=60, thin=2, generator=seeded()).x.flatten()
    p = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    torch.testing.assert_close(found.quantile(p), p.logit(), atol=0.12, rtol=0)
    assert found.var().item() == pytest.approx(math.pi**2 / 3, rel=0.05)


def test_mala_is_exact_where_ula_is_biased():
    """The variance of ULA on N(0, 1) is 1 / (1 - step / 4)."""
    x = torch.randn(4000, 1, generator=seeded())
    variance = {
        kernel: run_chains(kernel(gaussian, 1.0), x, 30, burn=10, generator=seeded(1)).x.var().item()
        for kernel in (ULA, MALA)
    }
    assert variance[ULA] == pytest.approx(4 / 3, abs=0.03)
    assert variance[MALA] == pytest.approx(1, abs=0.03)


def test_ula_is_langevin():
    x = torch.randn(5, 2, generator=seeded())
    chain = run_chains(ULA(gaussian, 0.1), x, 1, burn=6, generator=seeded(1)).x[0]
    torch.testing.assert_close(chain, langevin(lambda x: -x, x, 0.1, 7, seeded(1)))


def test_langevin_at_a_temperature_and_between_bounds():
    cold = langevin(lambda x: -x, torch.zeros(20_000, 1), 0.1, 100, seeded(), temperature=0.25)
    assert cold.var().item() == pytest.approx(0.25 / (1 - 0.025), rel=0.03)
    assert langevin(lambda x: -x, torch.zeros(1000, 1), 0.1, 20, seeded(), bounds=(-0.5, 0.2)).max() == 0.2


def test_gibbs_of_a_correlated_gaussian():
    rho = 0.8

    def update(i):
        def sampled(x, generator):
            noise = torch.randn(len(x), generator=generator)
            x = x.clone()
            x[:, i] = rho * x[:, 1 - i] + (1 - rho**2) ** 0.5 * noise
            return x

        return sampled

    draws = run_chains(Gibbs([update(0), update(1)]), torch.zeros(2000, 2), 30, burn=30, generator=seeded()).x
    expected = torch.tensor([[1.0, rho], [rho, 1.0]])
    torch.testing.assert_close(torch.cov(draws.flatten(0, 1).T), expected, atol=0.03, rtol=0)


def test_gibbs_of_a_graphical_model_has_its_exact_marginals():
    model = ising(2, 3, 0.4 * torch.randn(7, generator=seeded()), 0.3 * torch.randn(6, generator=seeded(1)))
    start = torch.randint(2, (1500, 6), generator=seeded(2))
    draws = run_chains(Gibbs(model.gibbs_updates()), start, 20, burn=10, generator=seeded(3)).x
    torch.testing.assert_close(draws.double().mean((0, 1)), enumerated(model).single[:, 1], atol=0.015, rtol=0)


# Leapfrog ---------------------------------------------------------------------------------------------------------

LAW = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=torch.float64), 0.8)


def hamiltonian(x, momentum):
    return -LAW.log_prob(x) + 0.5 * momentum.square().sum(1)


def start():
    return (torch.randn(50, 2, generator=seeded(i), dtype=torch.float64) for i in (0, 1))


def test_leapfrog_is_reversible():
    x, momentum = start()
    there, with_momentum = leapfrog(LAW.score, x, momentum, 0.2, 15)
    back, with_minus = leapfrog(LAW.score, there, -with_momentum, 0.2, 15)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(-with_minus, momentum)
    assert (there - x).abs().mean() > 0.3


def test_leapfrog_keeps_volume():
    x, momentum = (each[:1] for each in start())

    def flow(state):
        return torch.cat(leapfrog(LAW.score, state[None, :2], state[None, 2:], 0.3, 7), 1)[0]

    jacobian = torch.autograd.functional.jacobian(flow, torch.cat([x, momentum], 1)[0])
    assert torch.linalg.det(jacobian).item() == pytest.approx(1, abs=1e-10)
    assert not torch.allclose(jacobian, torch.eye(4, dtype=torch.float64), atol=0.1)


def test_the_energy_error_falls_with_the_square_of_the_step():
    x, momentum = start()
    errors = []
    for steps in (16, 32, 64):
        there = leapfrog(LAW.score, x, momentum, 1.6 / steps, steps)
        errors.append((hamiltonian(*there) - hamiltonian(x, momentum)).abs().mean().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


# Gradients and bad input ------------------------------------------------------------------------------------------


def test_the_score_is_the_gradient():
    x = torch.randn(7, 2, generator=seeded(), dtype=torch.float64)
    log_prob, score = log_prob_and_score(LAW.log_prob, x)
    torch.testing.assert_close(log_prob, LAW.log_prob(x))
    torch.testing.assert_close(score, LAW.score(x))


def kernels(log_prob):
    return [
        MetropolisHastings(log_prob, random_walk(0.5)),
        ULA(log_prob, 0.1),
        MALA(log_prob, 0.1),
        HMC(log_prob, 0.1, 2),
    ]


@pytest.mark.parametrize("which", range(4))
def test_a_density_that_becomes_nan_stops_with_the_step(which):
    calls = []

    def log_prob(x):
        calls.append(0)
        return x.sum(1) * (math.nan if len(calls) > 12 else 0.0)

    with pytest.raises(NonFinite, match=r"at step \d+; take smaller steps"):
        run_chains(kernels(log_prob)[which], torch.zeros(3, 1), 50)


def test_the_named_step_is_the_one_that_failed():
    def propose(x, generator):
        return x + 1, 0.0

    kernel = MetropolisHastings(lambda x: torch.where(x[:, 0] > 4, math.nan, x[:, 0]), propose)
    with pytest.raises(NonFinite, match="at step 5;"):
        run_chains(kernel, torch.zeros(3, 1), 50)


def test_a_density_of_zero_is_never_entered_and_never_left():
    half = MetropolisHastings(lambda x: torch.where(x[:, 0] < 0, -math.inf, -x[:, 0]), random_walk(1.0))
    draws = run_chains(half, torch.ones(500, 1), 50, burn=50, generator=seeded())
    assert draws.x.min() >= 0
    assert draws.x.mean().item() == pytest.approx(1, abs=0.1)
    assert 0.3 < draws.acceptance.mean() < 0.9
    with pytest.raises(NonFinite, match="at step 0; start the chains where the density is positive"):
        half.start(-torch.ones(2, 1))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: ULA(gaussian, 0.0), "step size is 0.0"),
        (lambda: MALA(gaussian, -1.0), "step size is -1.0"),
        (lambda: HMC(gaussian, math.nan, 3), "step size is nan"),
        (lambda: HMC(gaussian, 0.1, 0), "0 leapfrog steps"),
        (lambda: random_walk(0.0), "step size is 0.0"),
        (lambda: Gibbs([]), "at least one update"),
        (lambda: run_chains(ULA(gaussian, 0.1), torch.zeros(2, 1), 0), "draws >= 1"),
        (lambda: run_chains(ULA(lambda x: -x.square(), 0.1), torch.zeros(2, 1), 1), r"return \(2,\)"),
    ],
)
def test_bad_input_is_one_message(made, said):
    with pytest.raises(ValueError, match=said):
        made()

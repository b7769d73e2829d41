"""Scores: the three losses recover a Gaussian; Langevin, NCSN's toy, SDEs and exact likelihood against closed forms."""

import math

import pytest
import torch
from torch import nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.perception.generative import NonFinite
from embodia.perception.generative.denoisers.mlp import MLPDenoiser
from embodia.perception.generative.mcmc.langevin import langevin
from embodia.perception.generative.score_models.annealed_langevin import annealed_langevin
from embodia.perception.generative.score_models.ncsn import NCSN, geometric
from embodia.perception.generative.score_models.score_matching import (
    ScoreModel,
    denoising_score_matching,
    exact_score_matching,
    sliced_score_matching,
)
from embodia.perception.generative.score_models.score_sde import ScoreSDE
from embodia.perception.generative.score_models.sde import VE, VP, SubVP
from embodia.perception.generative.score_models.sde_samplers import (
    log_likelihood,
    predictor_corrector,
    probability_flow,
)
from embodia.perception.generative.toy_densities import GaussianMixture, eight_gaussians, unequal_pair
from embodia.perception.scores.mmd import mmd2

SDES = {"ve": VE(0.01, 10.0), "vp": VP(), "subvp": SubVP()}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Rows:
    """Data for `fit`: random rows of a table."""

    def __init__(self, table):
        self.table = table

    def batch(self, n):
        return {"x": self.table[torch.randint(len(self.table), (n,))]}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


# Score matching ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["exact", "denoising", "sliced"])
def test_each_loss_recovers_the_precision_of_a_gaussian(by):
    basis = torch.linalg.qr(torch.randn(4, 4, generator=seeded()))[0]
    covariance = basis @ torch.diag(torch.linspace(0.5, 2.0, 4)) @ basis.T
    x = torch.randn(10_000, 4, generator=seeded(1)) @ torch.linalg.cholesky(covariance).T
    torch.manual_seed(0)
    model = ScoreModel(nn.Linear(4, 4), (4,), by, sigma=0.5)
    fit(model, Rows(x), FitConfig(steps=500, batch_size=500, learning_rate=0.05, weight_decay=0.0, average=0.98))
    noise = 0.25 * torch.eye(4) if by == "denoising" else 0  # the score of the noised density
    precision = torch.linalg.inv(covariance + noise)
    found = -model.network.weight.detach()
    assert ((found - precision).norm() / precision.norm()).item() < 0.05


def test_the_losses_agree_on_a_linear_score():
    """Of N(0, 1) and the score -a x: a^2 / 2 - a per dimension; the denoising loss differs by a constant."""
    torch.manual_seed(0)
    x = torch.randn(200_000, 1)
    for a in (0.5, 1.0, 2.0):
        expected = a**2 / 2 - a

        def score(x, a=a):
            return -a * x

        assert exact_score_matching(score, x).item() == pytest.approx(expected, abs=0.03)
        assert sliced_score_matching(score, x).item() == pytest.approx(expected, abs=0.05)
        noised = denoising_score_matching(score, x, 0.1).item()
        assert (noised - 0.5) / 0.01 == pytest.approx(a**2 / 2 * 1.01 - a, abs=0.2)


@pytest.mark.slow
def test_the_score_in_a_gap_without_data_is_not_learned():
    """The published argument for several noise levels (Song and Ermon 2019, section 3.2)."""
    law = GaussianMixture(torch.tensor([[-3.0], [3.0]]), 0.5)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    model = ScoreModel(net, (1,), "denoising", sigma=0.2)
    fit(model, Rows(law.sample(5000, seeded())), FitConfig(steps=500, batch_size=128, learning_rate=3e-3))
    noised = law.noised(1.0, 0.2)

    def relative_error(x):
        with torch.no_grad():
            return ((net(x) - noised.score(x)).norm() / noised.score(x).norm()).item()

    dense, gap = law.sample(1000, seeded(1)), torch.linspace(-1, 1, 100)[:, None]
    assert relative_error(dense) < 0.2
    assert relative_error(gap) > 2 * relative_error(dense)


# Langevin ---------------------------------------------------------------------------------------------------------


def test_langevin_has_the_moments_of_a_gaussian_but_for_its_known_bias():
    """Of N(0, 1) the chain's variance is 1 / (1 - step / 4)."""
    x = langevin(lambda x: -x, torch.zeros(20_000, 1), 0.4, 100, seeded())
    assert x.mean().item() == pytest.approx(0, abs=0.03)
    assert x.var().item() == pytest.approx(1 / (1 - 0.1), abs=0.03)


def test_annealing_finds_the_weights_of_modes_that_plain_langevin_does_not():
    law = unequal_pair()
    start = 16 * torch.rand(1280, 2, generator=seeded()) - 8
    plain = langevin(law.score, start, 0.1, 1000, seeded(1))
    sigmas = geometric(20.0, 1.0, 10)

    def score(x, sigma):
        return law.noised(1.0, sigma).score(x)

    annealed = annealed_langevin(score, start, sigmas, 0.1, 100, seeded(2))
    assert (plain[:, 0] < 0).float().mean().item() == pytest.approx(0.5, abs=0.06)
    assert (annealed[:, 0] < 0).float().mean().item() == pytest.approx(0.2, abs=0.04)


def test_a_chain_that_is_not_finite_stops_with_its_step():
    with pytest.raises(NonFinite, match="at step 150"):
        langevin(lambda x: x * math.inf, torch.ones(2, 2), 0.1, 50, seeded(), done=100)


def test_noise_levels_fall_geometrically():
    sigmas = geometric(8.0, 1.0, 4)
    assert sigmas == pytest.approx([8, 4, 2, 1])
    with pytest.raises(ValueError, match="first > last"):
        geometric(1.0, 2.0, 3)


@pytest.mark.slow
def test_ncsn_learns_the_scores_of_all_levels():
    law, sigmas = eight_gaussians(), geometric(4.0, 0.1, 10)
    torch.manual_seed(0)
    model = NCSN(MLPDenoiser((2,), 64, 3), (2,), sigmas, step_size=2e-3, steps=20)
    settings = FitConfig(steps=500, batch_size=256, learning_rate=5e-3, average=0.98)
    fit(model, Rows(law.sample(20_000, seeded())), settings)
    x = law.sample(500, seeded(1))
    for sigma in sigmas[:6]:
        noised = x + sigma * torch.randn(x.shape, generator=seeded(2))
        truth = law.noised(1.0, sigma).score(noised)
        assert ((model.score(noised, sigma) - truth).norm() / truth.norm()).item() < 0.45
    assert mmd2(model.sample(500, generator=seeded(3)), x) < 0.03


# SDEs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SDES)
def test_marginals_are_those_of_the_simulated_sde(name):
    sde, steps = SDES[name], 2000
    x0 = torch.full((20_000,), 1.5)
    x = x0
    for i in range(steps // 2):
        t = i / steps
        x = x + sde.drift(t) * x / steps + sde.diffusion(t) * steps**-0.5 * torch.randn(len(x), generator=seeded(i))
    mean, std = sde.marginal(torch.tensor(0.5))
    assert x.mean().item() == pytest.approx(1.5 * mean.item(), abs=0.02)
    assert x.std().item() == pytest.approx(std.item(), rel=0.04)
    assert sde.marginal(torch.tensor(1.0))[1].item() == pytest.approx(sde.prior_std, rel=0.01)


def exact_score(law, sde):
    def score(x, t):
        mean, std = (each.item() for each in sde.marginal(torch.tensor(t, dtype=torch.float64)))
        return law.noised(mean, std).score(x)

    return score


@pytest.mark.parametrize("name", SDES)
def test_the_likelihood_is_exact(name):
    law, sde = eight_gaussians(std=0.3), SDES[name]
    law = GaussianMixture(law.means.double(), 0.3)
    x = law.sample(40, seeded())
    found = log_likelihood(exact_score(law, sde), sde, x, steps=60)
    # VE's noise at time 1 is not quite its prior: the data are 2 wide and the noise is 10.
    assert (found - law.log_prob(x)).abs().mean().item() < (0.05 if name == "ve" else 0.01)


def test_hutchinsons_probes_give_the_exact_divergence_on_average():
    law = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), 0.5)
    x, sde = law.sample(50, seeded()), VP()
    found = log_likelihood(exact_score(law, sde), sde, x, steps=30, probes=1, generator=seeded(1))
    exact = log_likelihood(exact_score(law, sde), sde, x, steps=30)
    assert not torch.allclose(found, exact)
    many = log_likelihood(exact_score(law, sde), sde, x, steps=30, probes=20, generator=seeded(1))
    assert (many - exact).abs().mean() < 0.5 * (found - exact).abs().mean()


@pytest.mark.parametrize("name", SDES)
def test_sde_and_ode_have_the_same_marginal(name):
    law, sde = eight_gaussians(), SDES[name]
    noise = sde.prior_std * torch.randn(700, 2, generator=seeded())
    score, data = exact_score(law, sde), law.sample(700, seeded(1))
    ode = probability_flow(score, sde, noise, 40)
    reverse = predictor_corrector(score, sde, noise, 200, 0, generator=seeded(2))
    corrected = predictor_corrector(score, sde, noise, 60, 1, generator=seeded(3))
    for x in (ode, reverse, corrected):
        assert mmd2(x, data) < 0.006


def test_the_flow_of_a_gaussian_is_known():
    law, sde = GaussianMixture(torch.zeros(1, 2, dtype=torch.float64), 0.5), VP()
    noise = torch.randn(20, 2, generator=seeded(), dtype=torch.float64)
    found = probability_flow(exact_score(law, sde), sde, noise, 100)
    last, first = (law.noised(*(each.item() for each in sde.marginal(torch.tensor(t)))).std[0] for t in (sde.end, 1.0))
    torch.testing.assert_close(found, noise * last / first, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        probability_flow(exact_score(law, sde), sde, found, 100, encode=True), noise, atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("name", ["ve", "vp"])
def test_a_learned_score_samples_and_gives_likelihoods(name):
    law = GaussianMixture(torch.tensor([[0.5, -0.5]]), 0.5)
    torch.manual_seed(0)
    model = ScoreSDE(MLPDenoiser((2,), 32, 2), (2,), SDES[name], steps=60)
    fit(model, Rows(law.sample(5000, seeded())), FitConfig(steps=300, batch_size=128, learning_rate=5e-3, average=0.98))
    x = model.sample(500, generator=seeded())
    torch.testing.assert_close(x.mean(0), law.means[0], atol=0.15, rtol=0)
    torch.testing.assert_close(x.std(0), law.std.expand(2), atol=0.15, rtol=0)
    data = law.sample(100, seeded(5))
    assert (model.log_prob(data, steps=20).mean() - law.log_prob(data).mean()).abs() < 0.25

"""The VAE against exact likelihoods: probabilistic PCA, the importance-weighted bound, closed forms, collapse."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli as ExactBernoulli
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.generative.autoencoders.likelihoods import Bernoulli, Gaussian, likelihood
from embodia.perception.generative.autoencoders.posterior_collapse import active_by_kl, active_units
from embodia.perception.generative.autoencoders.vae import VAE, kl_to_standard_normal

STD = 0.6
AXES = torch.tensor([[1.5, 0.0], [0.5, 1.0], [-0.3, 0.4], [0.0, 0.2]], dtype=torch.float64)
SHIFT = torch.tensor([0.2, -0.1, 0.0, 1.0], dtype=torch.float64)
LAW = MultivariateNormal(SHIFT, AXES @ AXES.T + STD**2 * torch.eye(4, dtype=torch.float64))
"""p(x) of the linear decoder x = AXES z + SHIFT with noise of standard deviation STD: probabilistic PCA."""


class LinearPosterior(nn.Module):
    """The exact posterior of a linear decoder; its log variances, if it is diagonal, are moved by `off`."""

    def __init__(self, axes, off=0.0):
        super().__init__()
        precision = torch.eye(2, dtype=torch.float64) + axes.T @ axes / STD**2
        self.gain = torch.linalg.inv(precision) @ axes.T / STD**2
        self.log_variance = -precision.diagonal().log() + off

    def forward(self, x):
        mean = (x - SHIFT) @ self.gain.T
        return torch.cat([mean, self.log_variance.expand_as(mean)], 1)


def linear_vae(off=0.0, turn=True):
    """A linear-Gaussian VAE with p(x) = LAW. With `turn`, its latent axes are those where the posterior is diagonal."""
    axes = AXES @ torch.linalg.svd(AXES)[2].T if turn else AXES
    decoder = nn.Linear(2, 4).double()
    decoder.load_state_dict({"weight": axes, "bias": SHIFT})
    return VAE(LinearPosterior(axes, off), decoder, (4,), 2, Gaussian(STD).double())


def sampled(n, seed=0):
    torch.manual_seed(seed)
    return LAW.sample((n,))


@torch.no_grad()
def test_with_the_exact_posterior_the_bound_is_the_likelihood_of_probabilistic_pca():
    x, vae = sampled(50), linear_vae()
    for k in (1, 3):
        torch.testing.assert_close(vae.bound(x, k), LAW.log_prob(x))
    decoded, divergences = vae.elbo(x.repeat(4000, 1))
    elbo = (decoded - divergences.sum(1)).view(4000, 50).mean(0)
    torch.testing.assert_close(elbo, LAW.log_prob(x), atol=0.1, rtol=0)


@torch.no_grad()
def test_the_gap_of_the_elbo_is_the_divergence_from_the_exact_posterior():
    x, vae = sampled(1), linear_vae(off=1.0)
    bound = vae.bound(x.repeat(40_000, 1)).mean()
    wide, exact = (each.posterior(x) for each in (vae, linear_vae()))
    q, p = (Normal(mean, (0.5 * log_variance).exp()) for mean, log_variance in (wide, exact))
    assert LAW.log_prob(x).item() - bound.item() == pytest.approx(kl_divergence(q, p).sum().item(), abs=0.02)


@torch.no_grad()
def test_the_importance_weighted_bound_rises_with_k_to_the_likelihood():
    x, vae = sampled(20), linear_vae(off=0.7, turn=False)
    exact = LAW.log_prob(x).mean().item()
    many = x.repeat(300, 1)
    bounds = [vae.bound(many, k, torch.Generator().manual_seed(k)).mean().item() for k in (1, 4, 16, 64)]
    assert bounds == sorted(bounds)
    assert exact - bounds[0] > 0.3
    assert exact - bounds[-1] == pytest.approx(0, abs=0.02)


def test_the_divergence_in_closed_form_is_that_of_monte_carlo_and_of_torch():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    q, p = Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)
    found = kl_to_standard_normal(mean, log_variance)
    torch.testing.assert_close(found, kl_divergence(q, p))
    z = q.sample((200_000,))
    torch.testing.assert_close(found, (q.log_prob(z) - p.log_prob(z)).mean(0), atol=0.02, rtol=0)


def test_likelihoods_are_those_of_torch_and_draw_what_they_say():
    torch.manual_seed(0)
    output, x = torch.randn(5, 2, 3), torch.rand(5, 2, 3)
    std = torch.rand(2, 3) + 0.1
    torch.testing.assert_close(Gaussian(std).log_prob(x, output), Normal(output, std).log_prob(x).flatten(1).sum(1))
    binary = x.round()
    exact = ExactBernoulli(logits=output).log_prob(binary).flatten(1).sum(1)
    torch.testing.assert_close(Bernoulli().log_prob(binary, output), exact)
    many, generator = output.expand(4000, *output.shape), torch.Generator().manual_seed(0)
    for law, spread in ((Gaussian(std), std.expand(5, 2, 3)), (Bernoulli(), ExactBernoulli(logits=output).stddev)):
        drawn = law.draw(many, generator)
        torch.testing.assert_close(drawn.mean(0), law.mean(output), atol=0.08, rtol=0)
        torch.testing.assert_close(drawn.std(0), spread, atol=0.08, rtol=0)


def test_samples_with_noise_have_the_moments_of_the_law():
    x = linear_vae().sample(50_000, generator=torch.Generator().manual_seed(0), noise=True)
    torch.testing.assert_close(torch.cov(x.T), LAW.covariance_matrix, atol=0.06, rtol=0)
    means = linear_vae().sample(50_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.cov(means.T), AXES @ AXES.T, atol=0.06, rtol=0)


def mlp_vae(beta=1.0, samples=1, std=0.5):
    torch.manual_seed(0)
    encoder, decoder = (nn.Sequential(nn.Linear(i, 32), nn.Tanh(), nn.Linear(32, o)) for i, o in ((4, 4), (2, 4)))
    return VAE(encoder, decoder, (4,), 2, Gaussian(std, learned=True), beta, samples)


def trained(model, steps=300):
    x = sampled(4000, seed=1).float()
    config = FitConfig(steps=steps, batch_size=128, learning_rate=0.01, weight_decay=0.0, warmup=10, device="cpu")
    data = RandomBatches(lambda rng, n: {"x": x[rng.integers(0, len(x), n)]}, 0)
    fit(model, data, config, logger=Logger(console=False))
    return model, x


@pytest.mark.parametrize("samples", [1, 5])
def test_training_reaches_the_entropy_of_the_law(samples):
    model, x = trained(mlp_vae(samples=samples))
    with torch.no_grad():
        bound = model.bound(x, 16).mean().item()
    assert bound == pytest.approx(LAW.log_prob(x.double()).mean().item(), abs=0.1)
    assert model.likelihood.std.item() == pytest.approx(STD, abs=0.06)


def test_a_larger_beta_lowers_the_divergence_until_the_posterior_collapses():
    divergences = []
    for beta in (0.1, 1.0, 20.0):
        model, x = trained(mlp_vae(beta), steps=150)
        with torch.no_grad():
            _, found = model.elbo(x)
            active = active_units(model.encode(x))
        divergences.append(found.sum(1).mean().item())
        assert active.any() == active_by_kl(found).any() == (beta < 20)
    assert divergences == sorted(divergences, reverse=True)
    assert divergences[-1] == pytest.approx(0, abs=0.02)


def test_the_loss_is_the_bound_per_value():
    model, x = mlp_vae(), sampled(64).float()
    torch.manual_seed(1)
    loss, logs = model.loss({"x": x})
    torch.manual_seed(1)
    decoded, divergences = model.elbo(x)
    assert loss.item() == pytest.approx(-(decoded - divergences.sum(1)).mean().item() / 4, rel=1e-5)
    assert logs["bound"].item() == pytest.approx(-4 * loss.item(), rel=1e-5)
    assert set(logs) == {"loss", "bound", "kl", "active_units"}
    heavy, _ = mlp_vae(beta=3.0).loss({"x": x})
    assert math.isfinite(heavy.item())


def test_the_same_generator_gives_the_same_samples_and_no_condition_is_taken():
    model = mlp_vae()
    one, two = (model.sample(3, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (3, 4)
    with pytest.raises(ValueError, match="takes no condition"):
        model.sample(2, torch.zeros(2))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: VAE(nn.Identity(), nn.Identity(), (4,), 0, Bernoulli()), "at least one dimension; dim is 0"),
        (lambda: mlp_vae(beta=-1.0), "beta >= 0"),
        (lambda: mlp_vae(samples=0), "samples >= 1"),
        (lambda: mlp_vae(beta=4.0, samples=5), "importance-weighted bound has no beta"),
        (lambda: likelihood("poisson"), "unknown likelihood poisson; choose gaussian or bernoulli"),
        (lambda: Gaussian(0.0), "must be positive; got 0"),
        (lambda: Bernoulli().log_prob(2 * torch.ones(1, 2), torch.ones(1, 2)), "values from 0 to 1; got 2 to 2"),
        (lambda: Bernoulli().log_prob(torch.full((1, 2), torch.nan), torch.ones(1, 2)), "values from 0 to 1"),
    ],
)
def test_what_cannot_be_says_so(make, said):
    with pytest.raises(ValueError, match=said):
        make()

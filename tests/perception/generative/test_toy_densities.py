"""Densities in the plane: scores, noised and tilted laws against their definitions."""

import math

import numpy as np
import pytest
import torch

from embodia.perception.generative.toy_densities import (
    POINT_SETS,
    GaussianMixture,
    checkerboard,
    checkerboard_log_prob,
    eight_gaussians,
    unequal_pair,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_the_score_is_the_gradient_of_the_log_density(generator):
    mixture = GaussianMixture(torch.randn(3, 2, generator=generator), torch.tensor([0.5, 1.0, 0.2]), torch.arange(1, 4))
    x = torch.randn(20, 2, generator=generator).requires_grad_()
    (slope,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    torch.testing.assert_close(mixture.score(x.detach()), slope, atol=1e-4, rtol=1e-4)


def test_the_density_integrates_to_one():
    mixture = eight_gaussians(std=0.4)
    axis = torch.linspace(-5, 5, 201)
    grid = torch.cartesian_prod(axis, axis)
    assert (mixture.log_prob(grid).exp().sum() * 0.05**2).item() == pytest.approx(1, abs=1e-3)


def test_the_noised_law_is_that_of_noised_samples(generator):
    mixture = unequal_pair()
    x = mixture.sample(50_000, generator)
    noised = 0.5 * x + 2.0 * torch.randn(x.shape, generator=generator)
    law = mixture.noised(0.5, 2.0)
    drawn = law.sample(50_000, generator)
    torch.testing.assert_close(noised.mean(0), drawn.mean(0), atol=0.06, rtol=0)
    torch.testing.assert_close(torch.cov(noised.T), torch.cov(drawn.T), atol=0.2, rtol=0)
    assert law.log_prob(noised).mean().item() == pytest.approx(law.log_prob(drawn).mean().item(), abs=0.03)


def test_the_tilted_law_is_the_law_times_an_exponential():
    mixture, direction = eight_gaussians(), torch.tensor([2.0, 0.0])
    x = mixture.sample(8, torch.Generator().manual_seed(1))
    difference = mixture.tilted(direction).log_prob(x) - (mixture.log_prob(x) + x @ direction)
    torch.testing.assert_close(difference, difference[:1].expand(8), atol=1e-4, rtol=0)
    assert (mixture.tilted(direction).weights @ mixture.tilted(direction).means)[0] == pytest.approx(1.777, abs=0.06)


def test_the_checkerboard_has_an_eighth_on_its_dark_fields():
    x = torch.from_numpy(checkerboard(np.random.default_rng(0), 1000))
    torch.testing.assert_close(checkerboard_log_prob(x), torch.full((1000,), -math.log(8)))
    assert checkerboard_log_prob(torch.tensor([[0.5, -0.5], [3.0, 0.5]])).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("name", POINT_SETS)
def test_point_sets_are_seeded_and_of_about_unit_size(name):
    draw = POINT_SETS[name]
    x = draw(np.random.default_rng(3), 2000)
    assert x.shape == (2000, 2)
    assert np.array_equal(x, draw(np.random.default_rng(3), 2000))
    assert np.abs(x).max() < 2.5
    assert 0.3 < x.std() < 1.5

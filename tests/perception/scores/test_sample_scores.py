"""Measures of samples: MMD, modes, total variation, Frechet distance."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from embodia.perception.generative.toy_densities import eight_gaussians
from embodia.perception.scores.frechet import copies_ratio, frechet_distance, principal_features
from embodia.perception.scores.mmd import mmd2
from embodia.perception.scores.modes import mode_weights, modes_found, near_modes, total_variation


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_mmd_is_that_of_its_definition(generator):
    x, y = torch.randn(30, 2, generator=generator), torch.randn(40, 2, generator=generator) + 1
    kernel = [rbf_kernel(a, b, gamma=1 / (2 * 0.7**2)).astype(np.float64) for a, b in ((x, x), (y, y), (x, y))]
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    assert mmd2(x, y, (0.7,)) == pytest.approx(sum(within) - 2 * kernel[2].mean(), abs=1e-5)


def test_mmd_tells_a_missing_mode_from_noise(generator):
    mixture = eight_gaussians()
    a, b = mixture.sample(2000, generator), mixture.sample(2000, generator)
    without = a[torch.cdist(a, mixture.means).argmin(1) != 0]
    assert abs(mmd2(a, b)) < 0.001
    assert mmd2(without, b) > 0.004


def test_modes_are_counted(generator):
    mixture = eight_gaussians()
    x = mixture.sample(4000, generator)
    torch.testing.assert_close(mode_weights(x, mixture.means), torch.full((8,), 0.125), atol=0.02, rtol=0)
    assert modes_found(x, mixture.means) == 8
    assert modes_found(x[x[:, 0] > 0.5], mixture.means) == 3
    assert near_modes(x, mixture.means, 3 * 0.15) == pytest.approx(1 - np.exp(-4.5), abs=0.005)


def test_total_variation():
    assert total_variation(torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2])) == pytest.approx(0.3)


def test_frechet_distance_of_gaussians_is_known(generator):
    x = torch.randn(100_000, 2, generator=generator)
    y = 2 * torch.randn(100_000, 2, generator=generator) + torch.tensor([3.0, 0.0])
    assert frechet_distance(x, y) == pytest.approx(9 + 2 * (1 - 2) ** 2, abs=0.1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_principal_axes_are_orthonormal(generator):
    mean, axes = principal_features(torch.randn(50, 1, 3, 4, generator=generator), 5)
    assert mean.shape == (12,)
    torch.testing.assert_close(axes.T @ axes, torch.eye(5), atol=1e-5, rtol=0)


def test_copies_are_told(generator):
    train, test = torch.randn(200, 3, generator=generator), torch.randn(200, 3, generator=generator)
    assert copies_ratio(train + 0.001, test, train) < 0.05
    assert copies_ratio(torch.randn(200, 3, generator=generator), test, train) == pytest.approx(1, abs=0.25)

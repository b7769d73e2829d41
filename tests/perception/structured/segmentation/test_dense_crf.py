"""Dense CRFs: kernels and filters against brute force, mean field against enumeration and an independent one."""

from itertools import combinations, product

import numpy as np
import pytest
import torch

from embodia.perception.generative.energies.graphical_model import PairwiseModel
from embodia.perception.generative.energies.mean_field import mean_field as pairwise_mean_field
from embodia.perception.pictures.noisy_regions import corrupted, noisy_regions
from embodia.perception.scores.segmentation_scores import boundary_band, pixel_accuracy
from embodia.perception.structured.segmentation import BadLabels
from embodia.perception.structured.segmentation.dense_crf import (
    DenseCRFConfig,
    as_matrix,
    filters,
    free_energy,
    mean_field,
    potts,
    refine,
    sequential_mean_field,
    weighted,
)
from embodia.perception.structured.segmentation.gaussian_kernels import (
    appearance,
    exact_filter,
    kernel_matrix,
    normalized,
    positions,
)
from embodia.perception.structured.segmentation.permutohedral_lattice import PermutohedralLattice, lattice_filter

CONFIG = DenseCRFConfig(appearance_sigma=2.0, colour_sigma=0.4)


def tiny(seed=0, side=3, classes=2, channels=3):
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.uniform(0, 1, (1, channels, side, side)))
    kernel = as_matrix(weighted(filters(image, CONFIG, normalize=False), CONFIG), side**2)
    return rng.normal(size=(side**2, classes)), kernel, image


def test_the_kernel_follows_its_formula():
    _, kernel, image = tiny()
    pixels = [(row, column, image[0, :, row, column].numpy()) for row in range(3) for column in range(3)]
    for (i, one), (j, other) in combinations(enumerate(pixels), 2):
        far = (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2
        colour = np.square(one[2] - other[2]).sum()
        expected = 4 * np.exp(-far / 8 - colour / 0.32) + np.exp(-far / (2 * 1.5**2))
        assert kernel[i, j] == pytest.approx(expected) == kernel[j, i]
    assert not kernel.diagonal().any()


@pytest.mark.parametrize("seed", range(3))
def test_free_energy_bounds_the_partition_function_and_never_rises(seed):
    unary, kernel, _ = tiny(seed)
    mu = potts(2).numpy()
    pairs = list(combinations(range(9), 2))
    energies = [
        sum(unary[i, x[i]] for i in range(9)) + sum(kernel[i, j] * (x[i] != x[j]) for i, j in pairs)
        for x in product(range(2), repeat=9)
    ]
    log_z = np.log(np.exp(-np.array(energies)).sum())
    q, path = sequential_mean_field(unary, kernel, mu, 20)
    assert (np.diff(path) <= 1e-12).all()
    assert path[0] > path[-1] >= -log_z
    assert path[-1] == pytest.approx(free_energy(unary, kernel, mu, q))
    certain = np.eye(2)[[1, 0, 1, 1, 0, 0, 1, 0, 1]]
    by_hand = energies[list(product(range(2), repeat=9)).index((1, 0, 1, 1, 0, 0, 1, 0, 1))]
    assert free_energy(unary, kernel, mu, certain) == pytest.approx(by_hand)


def test_sequential_mean_field_equals_that_of_a_pairwise_model():
    unary, kernel, _ = tiny(1, classes=3)
    mu = np.random.default_rng(0).uniform(0, 1, (3, 3))
    mu = mu + mu.T
    edges = np.array(list(combinations(range(9), 2)))
    tables = -kernel[edges[:, 0], edges[:, 1], None, None] * mu
    model = PairwiseModel(torch.from_numpy(-unary), torch.from_numpy(edges), torch.from_numpy(tables))
    start = torch.full((9, 3), 1 / 3, dtype=torch.float64)
    other = pairwise_mean_field(model, start, sweeps=4, tolerance=-np.inf)
    q, path = sequential_mean_field(unary, kernel, mu, 4, start.numpy())
    np.testing.assert_allclose(q, other.single, atol=1e-12)
    np.testing.assert_allclose(path, other.free_energies)


def test_a_fixed_point_of_parallel_updates_is_one_of_sequential_updates():
    unary, kernel, _ = tiny(2)
    kernel, mu = 0.2 * kernel, potts(2).double()
    apply = exact_like(kernel)
    q = mean_field(torch.from_numpy(unary)[None], apply, mu, 200)[0].exp().numpy()
    one, _ = sequential_mean_field(unary, kernel, mu.numpy(), 1, q)
    np.testing.assert_allclose(one, q, atol=1e-8)


def exact_like(kernel):
    matrix = torch.from_numpy(kernel)
    return lambda values: matrix @ values


def test_damping_stops_the_oscillation_of_strong_kernels():
    """Repulsion between all pixels makes undamped parallel updates flip without end."""
    unary, kernel = torch.zeros(1, 6, 2, dtype=torch.float64), 5 * (np.ones((6, 6)) - np.eye(6))
    unary[:, :, 0] += 0.1
    apply, repulsion = exact_like(kernel), torch.eye(2, dtype=torch.float64)
    last, before = (mean_field(unary, apply, repulsion, n)[0].exp() for n in (100, 99))
    assert (last - before).abs().max() > 0.9
    last, before = (mean_field(unary, apply, repulsion, n, damping=0.9)[0].exp() for n in (400, 399))
    assert (last - before).abs().max() < 1e-6


# The lattice ------------------------------------------------------------------------------------------------------


def test_weights_are_barycentric():
    features = np.random.default_rng(0).normal(size=(50, 3))
    lattice = PermutohedralLattice(features)
    weights = lattice.slice.toarray()
    assert weights.min() >= -1e-12
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (np.count_nonzero(weights, axis=1) <= 4).all()


@pytest.mark.parametrize("kind", ["appearance", "positions"])
def test_the_lattice_filters_like_the_exact_kernel(kind):
    scenes = noisy_regions(1, 0, 32)
    images = torch.from_numpy(scenes.images).permute(0, 3, 1, 2) / 255
    features = appearance(images, 12, 0.2) if kind == "appearance" else positions(32, 32, 3.0)
    values = torch.rand(1, 32 * 32, 3, generator=torch.Generator().manual_seed(0))
    exact, fast = (
        normalized(make(features), torch.ones_like(values[..., :1]))(values) for make in (exact_filter, lattice_filter)
    )
    assert ((exact - fast).norm() / exact.norm()).item() < 0.03
    response = lattice_filter(features)(torch.eye(1024)[None, :, 500:501])[0, :, 0]
    assert np.corrcoef(response, kernel_matrix(features).reshape(1024, 1024)[500])[0, 1] > 0.95


def test_the_lattice_has_the_integral_of_the_gaussian():
    """On a fine grid of the plane, the sum of a kernel is 2 pi sigma^2."""
    lattice = PermutohedralLattice(positions(64, 64, 5.0).double().numpy())
    middle = lattice.filter(np.ones((64 * 64, 1)))[32 * 64 + 32, 0]
    assert middle == pytest.approx(2 * np.pi * 25, rel=0.03)


def test_the_lattice_is_differentiable_in_the_values():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 12, 5)))
    apply = lattice_filter(features)
    values = torch.rand(1, 12, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(apply, values)


# On images --------------------------------------------------------------------------------------------------------


def test_the_crf_repairs_noisy_labels_and_the_fast_filter_agrees():
    scenes = noisy_regions(2, 0)
    images = torch.from_numpy(scenes.images).permute(0, 3, 1, 2) / 255
    noisy = torch.from_numpy(corrupted(scenes.labels, 3, 1)).permute(0, 3, 1, 2).float().log()
    band = boundary_band(scenes.labels)
    exact, fast = (refine(noisy, images, fast=each).argmax(1).numpy() for each in (False, True))
    before = noisy.argmax(1).numpy()
    assert pixel_accuracy(scenes.labels, before) == pytest.approx(0.78, abs=0.01)
    for after in (exact, fast):
        assert pixel_accuracy(scenes.labels, after) > 0.97
        assert pixel_accuracy(scenes.labels, after, band) > 0.1 + pixel_accuracy(scenes.labels, before, band)
    assert (exact == fast).mean() > 0.995


@pytest.mark.parametrize("image", [torch.zeros(1, 3, 0, 4), torch.full((1, 3, 4, 4), float("nan"))])
def test_empty_or_nan_images_are_refused(image):
    with pytest.raises(BadLabels, match="must have pixels, and all of them finite"):
        filters(image, CONFIG)


def test_features_too_far_apart_are_refused():
    with pytest.raises(ValueError, match="use wider kernels"):
        PermutohedralLattice(np.array([[0.0] * 5, [1e6] * 5]))

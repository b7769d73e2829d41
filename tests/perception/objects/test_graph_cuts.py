"""Tests of normalised cut, TokenCut and MaskCut on small graphs and on noisy prototypes."""

from itertools import product

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy import sparse

from embodia.perception.encoders.patch_statistics import PatchStatistics
from embodia.perception.encoders.vit import ViT
from embodia.perception.objects.mask_cut import MaskCut, mask_cut
from embodia.perception.objects.normalized_cut import (
    NormalizedCut,
    bipartition,
    cut_value,
    eigenvectors,
    k_way_cut,
    merged,
    pixel_affinity,
    prefix_costs,
    recursive_cut,
    second_eigenvector,
)
from embodia.perception.objects.token_cut import TokenCut, patch_graph, token_cut
from embodia.perception.pictures.sprites import sprites
from embodia.perception.scores.clustering_scores import adjusted_rand_index, ari, box_of, corloc, mask_iou

SPACE = spaces.Dict({"image": spaces.Box(0, 255, (64, 64, 3), np.uint8)})


def planted(rng, nodes=10, noise=0.3):
    """A graph of two groups: strong edges inside, weak ones between."""
    side = np.zeros(nodes, bool)
    side[: rng.integers(3, 8)] = True
    weights = np.where(side[:, None] == side, 1.0, 0.1) + noise * rng.uniform(0, 1, (nodes, nodes))
    weights = (weights + weights.T) / 2
    np.fill_diagonal(weights, 0.0)
    return weights, side


def test_eigenvectors_solve_the_generalised_problem_dense_and_sparse():
    graph, _ = planted(np.random.default_rng(0), 20)
    degree = graph.sum(1)
    values, vectors = eigenvectors(graph, 4)
    np.testing.assert_allclose((np.diag(degree) - graph) @ vectors, degree[:, None] * vectors * values, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ np.diag(degree) @ vectors, np.eye(4), atol=1e-12)
    again, same = eigenvectors(sparse.csr_array(graph), 4)
    np.testing.assert_allclose(again, values, atol=1e-9)
    np.testing.assert_allclose(np.abs((same * degree[:, None]).T @ vectors), np.eye(4), atol=1e-6)


def test_blocks_without_edges_between_are_free_to_cut():
    graph = np.kron(np.eye(3), np.ones((4, 4)))
    values, _ = eigenvectors(graph, 4)
    np.testing.assert_allclose(values, [0, 0, 0, 1], atol=1e-12)
    assert adjusted_rand_index(k_way_cut(graph, 3), np.repeat([0, 1, 2], 4)) == 1.0
    assert adjusted_rand_index(recursive_cut(graph), np.repeat([0, 1, 2], 4)) == 1.0
    assert cut_value(graph, np.arange(12) < 4) == 0.0
    # One node of a block of four against the rest costs 3 / 4 + 3 / 44.
    assert cut_value(graph, np.arange(12) < 1) == pytest.approx(3 / 4 + 3 / 44)
    with pytest.raises(ValueError, match="has no edge"):
        eigenvectors(np.zeros((3, 3)), 2)
    with pytest.raises(ValueError, match="empty"):
        cut_value(graph, np.ones(12, bool))


def test_the_eigenvector_finds_the_best_of_all_cuts():
    """Compare with brute force over all 511 cuts of planted graphs of ten nodes; at least 95 % must agree."""
    rng = np.random.default_rng(0)
    sides = np.array(list(product((False, True), repeat=9)))[1:]
    sides = np.column_stack([np.zeros(len(sides), bool), sides])
    agree = 0
    for _ in range(40):
        graph, _ = planted(rng)
        degree = graph.sum(1)
        inside = np.einsum("si,ij,sj->s", sides, graph, sides)
        volume = sides @ degree
        cost = (volume - inside) * (1 / volume + 1 / (degree.sum() - volume))
        best = sides[cost.argmin()]
        assert cut_value(graph, best) == pytest.approx(cost.min())
        agree += adjusted_rand_index(second_eigenvector(graph) > 0, best) == 1.0
        assert adjusted_rand_index(bipartition(graph), best) == 1.0
    assert agree >= 38


def test_all_places_of_a_cut_are_priced_at_once():
    rng = np.random.default_rng(0)
    graph, _ = planted(rng)
    np.fill_diagonal(graph, 0.5)
    rank = rng.permutation(10)
    expected = [cut_value(graph, rank <= t) for t in range(9)]
    np.testing.assert_allclose(prefix_costs(graph, rank), expected)
    np.testing.assert_allclose(prefix_costs(sparse.csr_array(graph), rank), expected)


def test_segments_are_merged_where_the_cut_that_is_left_costs_least():
    """Compare with all unions of two of five parts of a random graph, and of fine segments of three blocks."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        weights = rng.uniform(0, 1, (15, 15)) ** 4
        weights += weights.T
        fine = rng.permutation(np.arange(15) % 5)
        found = merged(weights, fine, 4)
        assert found.max() == 3

        def cost(labels, weights=weights):
            return sum(weights[labels == name][:, labels != name].sum() / weights[labels == name].sum()
                       for name in np.unique(labels))  # fmt: skip

        unions = [np.where(fine == b, a, fine) for a in range(5) for b in range(a + 1, 5)]
        assert cost(found) == pytest.approx(min(map(cost, unions)))
    blocks = np.kron(np.eye(3), np.ones((4, 4))) + 0.01
    assert adjusted_rand_index(merged(blocks, np.arange(12) // 2, 3), np.arange(12) // 4) == 1.0
    assert adjusted_rand_index(k_way_cut(blocks, 3, fine=6), np.arange(12) // 4) == 1.0


def regions(rng, k, size=40):
    """An image of k uniform regions (Voronoi cells of distant seeds) with noise, and its labels."""
    while True:
        seeds, colours = rng.uniform(4, size - 4, (k, 2)), rng.uniform(0, 1, (k, 3))
        if min(np.abs(a - b).sum() for i, a in enumerate(colours) for b in colours[:i]) > 0.8:
            labels = np.square(np.mgrid[:size, :size][:, None] - seeds.T[:, :, None, None]).sum(0).argmin(0)
            if np.bincount(labels.ravel(), minlength=k).min() > size * size / (3 * k):
                return colours[labels] + rng.normal(0, 0.1, (size, size, 3)), labels


@pytest.mark.parametrize(("k", "least"), [(2, 0.95), (4, 0.9)])
def test_flat_regions_come_out(k, least):
    rng = np.random.default_rng(k)
    pictures, truth = zip(*(regions(rng, k) for _ in range(4)))
    space = spaces.Dict({"image": spaces.Box(0, 255, (40, 40, 3), np.uint8)})
    images = torch.from_numpy(np.stack(pictures).clip(0, 1) * 255).byte()
    model = NormalizedCut(space, segments=k, sigma_value=0.3)
    masks = model.masks({"image": images})
    assert masks.shape == (4, k, 40, 40)
    assert ari(np.stack(truth), masks.argmax(1).numpy()).mean() >= least
    tokens = model({"image": images})
    assert tokens.shape == (4, k, 3)
    inside = masks[0, 0].bool()
    torch.testing.assert_close(tokens[0, 0], images[0][inside].float().mean(0) / 255 - 0.5, atol=1e-4, rtol=0)


def test_pixel_affinity_by_hand():
    image = np.array([[[0.0], [0.5], [0.0]]])
    graph = pixel_affinity(image, 0.5, 2.0, 1.5).toarray()
    near = np.exp(-1 - 1 / 4)
    np.testing.assert_allclose(graph, [[1, near, 0], [near, 1, near], [0, near, 1]])
    whole = pixel_affinity(np.random.default_rng(0).uniform(size=(6, 7, 3)), 0.3, 3.0, 3.0).toarray()
    np.testing.assert_allclose(whole, whole.T)
    place = np.stack(np.unravel_index(np.arange(42), (6, 7)), 1)
    near = np.hypot(*(place[:, None] - place).transpose(2, 0, 1)) < 3
    assert ((whole > 0) == near).all()


def oracle(label, noise, rng, dim=64):
    """Patches (P, dim): the prototype of the patch's object, from an orthonormal basis, plus noise of this length."""
    prototypes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return prototypes[label.ravel()] + rng.normal(0, noise / np.sqrt(dim), (label.size, dim))


def discs(rng, objects, grid=28):
    """Labels (grid, grid) of discs that do not touch."""
    label = np.zeros((grid, grid), np.int64)
    y, x = np.mgrid[:grid, :grid]
    while label.max() < objects:
        radius = rng.uniform(3, 5)
        row, column = rng.uniform(radius, grid - radius, 2)
        far = np.hypot(y - row, x - column)
        if not label[far < radius + 1.5].any():
            label[far < radius] = label.max() + 1
    return label


def test_token_cut_finds_the_object_through_noise():
    rng = np.random.default_rng(0)
    labels = [discs(rng, 1) for _ in range(20)]
    truths = [np.array([box_of(label == 1)]) for label in labels]
    for noise, least in ((0.05, 1.0), (1.0, 0.9)):
        cuts = [token_cut(oracle(label, noise, rng), (28, 28)) for label in labels]
        assert corloc([box_of(cut.mask) for cut in cuts], truths).mean() >= least
    assert all(cut.vector[cut.mask].min() > cut.vector.mean() for cut in cuts)


def test_token_cut_keeps_the_part_around_the_seed():
    label = np.zeros((10, 10), np.int64)
    label[1:5, 1:5], label[7:9, 7:9] = 1, 1
    cut = token_cut(oracle(label, 0.0, np.random.default_rng(0)), (10, 10))
    assert cut.mask.sum() in (16, 4)  # only one connected component
    assert (label[cut.mask] == 1).all()


def test_centring_takes_away_what_all_patches_share():
    scenes = sprites(4, 1, (1, 1), (0.1, 0.4))
    obs = {"image": torch.from_numpy(scenes.images)}
    plain = PatchStatistics(SPACE)

    class Shifted(PatchStatistics):
        def patch_keys(self, images):
            return super().patch_keys(images) + 5.0

    shifted = Shifted(SPACE)
    expected = TokenCut(plain).masks(obs)
    assert torch.equal(TokenCut(shifted, centred=True).masks(obs), expected)
    assert torch.equal(MaskCut(shifted, centred=True).masks(obs), MaskCut(plain).masks(obs))
    assert not torch.equal(TokenCut(shifted).masks(obs), expected)  # all cosines are near 1


def test_what_is_usual_at_a_place_is_taken_away():
    scenes = sprites(4, 1, (1, 1), (0.1, 0.4))
    obs = {"image": torch.from_numpy(scenes.images)}
    plain = PatchStatistics(SPACE)
    usual = torch.randn(plain.num_tokens, plain.dim, generator=torch.Generator().manual_seed(0)).double()

    class Placed(PatchStatistics):
        def patch_keys(self, images):
            return super().patch_keys(images) + usual

    placed = Placed(SPACE)
    expected = TokenCut(plain, centred=True).masks(obs)
    assert torch.equal(TokenCut(placed, centred=True, usual=usual.numpy()).masks(obs), expected)
    assert not torch.equal(TokenCut(placed, centred=True).masks(obs), expected)
    several = MaskCut(placed, centred=True, usual=usual.numpy()).masks(obs)
    assert torch.equal(several, MaskCut(plain, centred=True).masks(obs))


def test_patch_graph():
    graph = patch_graph(np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.0, 0.0]]), 0.2, 1e-5)
    np.testing.assert_array_equal(graph, [[1, 1, 1e-5, 1e-5], [1, 1, 1e-5, 1e-5], [1e-5, 1e-5, 1, 1e-5], [1e-5] * 4])


def test_mask_cut_finds_one_after_another():
    rng = np.random.default_rng(0)
    for objects in (1, 2, 3):
        label = discs(rng, objects)
        found = mask_cut(oracle(label, 0.3, rng), (28, 28), objects=objects)
        truth = np.stack([label == k for k in range(1, objects + 1)])
        assert (mask_iou(truth, found).max(1) > 0.8).all()
        assert found.sum(0).max() == 1  # no patch is in two masks


def test_mask_cut_does_not_take_the_corners():
    """An object that fills most of the image is the larger side; three corners identify the background."""
    label = np.ones((12, 12), np.int64)
    label[0], label[-1], label[:, 0], label[:, -1] = 0, 0, 0, 0
    found = mask_cut(oracle(label, 0.0, np.random.default_rng(0)), (12, 12), objects=1)
    np.testing.assert_array_equal(found[0], label == 1)


@pytest.mark.parametrize("build", [TokenCut, lambda encoder: MaskCut(encoder, objects=3)])
def test_masks_and_tokens_of_any_encoder(build):
    scenes = sprites(2, 0)
    obs = {"image": torch.from_numpy(scenes.images)[:, None]}
    for encoder in (ViT(SPACE, dim=24, depth=1, num_heads=3), PatchStatistics(SPACE)):
        model = build(encoder)
        masks, tokens = model.masks(obs), model(obs)
        assert masks.shape == (2, 1, model.num_tokens, 64, 64)
        assert tokens.shape == (2, 1, model.num_tokens, encoder.dim)
        assert (masks.sum(2) == 1).all()
        mask, patches = masks[0, 0, -1], encoder(obs)[0, 0]
        under = patches[mask[::8, ::8].reshape(-1).bool()].mean(0)
        torch.testing.assert_close(tokens[0, 0, -1], under, atol=1e-5, rtol=1e-4)


def test_patch_statistics_by_hand():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 8:] = 255
    space = spaces.Dict({"image": spaces.Box(0, 255, (16, 16, 3), np.uint8)})
    encoder = PatchStatistics(space, patch_size=8, bins=2)
    cells = encoder({"image": torch.from_numpy(image)[None]})[0]
    assert cells.shape == (4, 5)
    torch.testing.assert_close(cells[:, 0], torch.tensor([-0.5, 0.5, -0.5, 0.5]))
    torch.testing.assert_close(cells[:, 3:], torch.zeros(4, 2))  # every cell has the same edge
    upright = encoder({"image": torch.from_numpy(image.transpose(1, 0, 2).copy())[None]})[0]
    torch.testing.assert_close(upright[:, 0], torch.tensor([-0.5, -0.5, 0.5, 0.5]))

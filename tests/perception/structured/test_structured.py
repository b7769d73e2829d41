"""Structured outputs: inference equals enumeration, the SVM reaches its optimum, the CRF its likelihood."""

from itertools import product

import numpy as np
import pytest
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.structured.chain import ChainProblem, viterbi
from embodia.perception.structured.chain_crf import ChainCRF, log_partition, marginals
from embodia.perception.structured.graph_cut import SegmentationProblem, graph_cut, grid_edges
from embodia.perception.structured.structured_svm import fit_structured_svm

T, K = 4, 3


def random_chain(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, K)), rng.normal(size=(K, K))


def score(unary, transition, y):
    return sum(unary[t, y[t]] for t in range(T)) + sum(transition[y[t], y[t + 1]] for t in range(T - 1))


@pytest.mark.parametrize("seed", range(10))
def test_viterbi_equals_enumeration(seed):
    unary, transition = random_chain(seed)
    best = max(product(range(K), repeat=T), key=lambda y: score(unary, transition, y))
    assert viterbi(unary, transition).tolist() == list(best)


@pytest.mark.parametrize("seed", range(3))
def test_forward_backward_equals_enumeration(seed):
    unary, transition = random_chain(seed)
    labels = list(product(range(K), repeat=T))
    weights = np.exp([score(unary, transition, y) for y in labels])
    law = weights / weights.sum()
    batch, links = torch.from_numpy(unary)[None], torch.from_numpy(transition)
    assert log_partition(batch, links).item() == pytest.approx(np.log(weights.sum()))
    single, pairs = marginals(batch, links)
    for t, k in product(range(T), range(K)):
        truth = sum(p for p, y in zip(law, labels, strict=True) if y[t] == k)
        assert single[0, t, k].item() == pytest.approx(truth)
    for t, k, j in product(range(T - 1), range(K), range(K)):
        truth = sum(p for p, y in zip(law, labels, strict=True) if (y[t], y[t + 1]) == (k, j))
        assert pairs[0, t, k, j].item() == pytest.approx(truth)


@pytest.mark.parametrize("seed", range(10))
def test_a_graph_cut_equals_enumeration(seed):
    rng = np.random.default_rng(seed)
    edges = grid_edges(3, 3)
    unary, weights = rng.normal(size=(9, 2)), rng.uniform(0, 1, len(edges))

    def energy(y):
        y = np.array(y)
        return unary[np.arange(9), y].sum() + weights[y[edges[:, 0]] != y[edges[:, 1]]].sum()

    lowest = min(product((0, 1), repeat=9), key=energy)
    found = graph_cut(unary, edges, weights)
    assert energy(found) == pytest.approx(energy(lowest), abs=1e-5)


@pytest.mark.parametrize(
    ("unary", "weight", "message"),
    [([[0.0, 1.0], [1.0, 0.0]], -1.0, "edge 0 has weight -1"), ([[0.0, np.nan], [1.0, 0.0]], 1.0, "not finite")],
)
def test_energies_that_cannot_be_cut_are_named(unary, weight, message):
    with pytest.raises(ValueError, match=message):
        graph_cut(np.array(unary), np.array([[0, 1]]), np.array([weight]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["chain", "segmentation"])
def test_loss_augmented_decoding_equals_enumeration(kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "chain":
        problem, x, truth = ChainProblem(2, K), rng.normal(size=(T, 2)), rng.integers(0, K, T)
        outputs = [np.array(y) for y in product(range(K), repeat=T)]
    else:
        problem, x, truth = SegmentationProblem(2, 3, 2), rng.normal(size=(2, 3, 2)), rng.integers(0, 2, (2, 3))
        outputs = [np.array(y).reshape(2, 3) for y in product((0, 1), repeat=6)]
    weights = rng.normal(size=problem.size)
    weights = np.where(problem.nonnegative, np.abs(weights), weights)

    def total(y):
        return weights @ problem.features(x, y) + problem.distance(truth, y)

    assert total(problem.decode(weights, x, truth)) == pytest.approx(max(map(total, outputs)), abs=1e-6)


def words(seed, n, noise=0.8):
    """Labels that alternate 0, 1, 2, 0, ...; their noisy one-hot codes."""
    rng = np.random.default_rng(seed)
    labels = (rng.integers(0, K, n)[:, None] + np.arange(6)) % K
    return np.eye(K)[labels] + rng.normal(0, noise, (n, 6, K)), labels


def errors(decode, x, y):
    return np.mean([np.mean(decode(each) != truth) for each, truth in zip(x, y, strict=True)])


def test_a_structured_svm_learns_what_labels_follow_each_other():
    (x, y), (held_x, held_y) = words(0, 40), words(1, 100)
    found = {}
    for linked in (False, True):
        problem = ChainProblem(K, K, linked)
        solution = fit_structured_svm(problem, list(zip(x, y, strict=True)), 0.02)
        assert solution.gap <= 1e-2
        found[linked] = errors(lambda each, p=problem, s=solution: p.decode(s.weights, each), held_x, held_y)
    assert found[True] < 0.3 * found[False]


def test_the_solution_is_the_minimum_of_the_objective():
    (x, y), problem = words(0, 5), ChainProblem(K, K)
    solution = fit_structured_svm(problem, list(zip(x, y, strict=True)), 0.1, 1e-5, 1000)

    def objective(weights):
        hinges = []
        for each, truth in zip(x, y, strict=True):
            worst = problem.decode(weights, each, truth)
            psi = problem.features(each, truth) - problem.features(each, worst)
            hinges.append(problem.distance(truth, worst) - weights @ psi)
        return 0.05 * weights @ weights + np.mean(hinges)

    assert objective(solution.weights) == pytest.approx(solution.objective)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert objective(solution.weights + 0.05 * rng.normal(size=problem.size)) > solution.objective


def test_weights_that_must_not_be_negative_are_not():
    rng = np.random.default_rng(0)
    problem = SegmentationProblem(4, 4, 2)
    checkerboard = np.indices((4, 4)).sum(0) % 2  # neighbours differ, which a submodular energy cannot reward
    examples = [(np.dstack([checkerboard + rng.normal(0, 1, (4, 4)), np.ones((4, 4))]), checkerboard) for _ in range(4)]
    solution = fit_structured_svm(problem, examples, 0.05, 1e-3)
    assert (solution.weights[problem.nonnegative] >= 0).all()
    assert solution.gap < 1e-3


@pytest.mark.parametrize(
    ("examples", "message"),
    [([], "there are no examples"), ([(np.full((T, 1), np.inf), np.zeros(T, int))], "features of example 0")],
)
def test_examples_that_cannot_be_learned_from_are_named(examples, message):
    with pytest.raises(ValueError, match=message):
        fit_structured_svm(ChainProblem(1, 2), examples)


def test_a_chain_crf_learns_by_likelihood():
    (x, y), (held_x, held_y) = words(0, 40), words(1, 100)
    batch = {"x": torch.from_numpy(x).float(), "y": torch.from_numpy(y)}
    learner = ChainCRF(K, K, 0.01)
    config = FitConfig(steps=60, learning_rate=0.2, warmup=1, weight_decay=0.0, device="cpu")
    fit(learner, RandomBatches(lambda rng, n: batch), config, logger=Logger(console=False))
    found = learner(torch.from_numpy(held_x).float()).numpy()
    alone = held_x.argmax(-1)
    assert np.mean(found != held_y) < 0.3 * np.mean(alone != held_y)

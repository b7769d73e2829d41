"""Structured SVMs: words of noisy digits with a grammar, and noisy segmentations, beside models without structure."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.structured.chain import ChainProblem
from embodia.perception.structured.chain_crf import ChainCRF
from embodia.perception.structured.graph_cut import SegmentationProblem
from embodia.perception.structured.structured_svm import Solution, fit_structured_svm
from embodia.scripts.bench.generative.training import Budget, Numbers

Array = NDArray[Any]
DIGITS, LENGTH, NOISE, FOLLOWERS = 10, 6, 0.5, 2
TRAIN, TEST = 100, 300
REGULARIZATION = 0.01
SIDE, IMAGES, SPECKLE = 16, 40, 1.2


def words(seed: int, budget: Budget) -> Numbers:
    """Share of wrong characters of a chain SVM, over that of an SVM of single characters; and of a chain CRF."""
    rng = np.random.default_rng(seed)
    n = (20, 20) if budget.smoke else (TRAIN, TEST)
    (x, y), (held_x, held_y) = spelled(rng, *n)
    wrong: dict[str, float] = {}
    numbers: Numbers = {}
    for name, linked in (("chain SVM", True), ("unary SVM", False)):
        problem = ChainProblem(x.shape[-1], DIGITS, linked)
        solution = fit_structured_svm(
            problem, list(zip(x, y)), REGULARIZATION, passes=budget.steps(300), seed=seed, every=20
        )
        found = np.stack([problem.decode(solution.weights, each) for each in held_x])
        wrong[name] = float(np.mean(found != held_y))
        numbers |= {f"errors, {name}": wrong[name], f"duality gap, {name}": solution.gap}
    wrong["chain CRF"] = numbers["errors, chain CRF"] = random_field(x, y, held_x, held_y, budget)
    numbers["chain CRF"] = wrong["chain CRF"] / wrong["unary SVM"]
    return numbers | {"ssvm": wrong["chain SVM"] / wrong["unary SVM"]}


def spelled(rng: np.random.Generator, *counts: int) -> list[tuple[Array, Array]]:
    """Sample sets of words: noisy pictures (n, LENGTH, 65) with a constant, and digits (n, LENGTH).

    Each digit is followed by one of two others, with probabilities from a Dirichlet distribution. Sets use different
    handwriting.
    """
    from sklearn.datasets import load_digits

    loaded: Any = load_digits()
    pictures, labels = loaded.data / 16, loaded.target
    follows = np.zeros((DIGITS, DIGITS))
    for digit in range(DIGITS):
        follows[digit, rng.choice(DIGITS, FOLLOWERS, replace=False)] = rng.dirichlet(np.ones(FOLLOWERS))
    order = rng.permutation(len(pictures))
    found = []
    for n, mine in zip(counts, np.array_split(order, len(counts))):
        y = np.empty((n, LENGTH), int)
        y[:, 0] = rng.integers(0, DIGITS, n)
        for t in range(1, LENGTH):
            y[:, t] = [rng.choice(DIGITS, p=follows[before]) for before in y[:, t - 1]]
        by_digit = [mine[labels[mine] == digit] for digit in range(DIGITS)]
        chosen = np.array([[rng.choice(by_digit[digit]) for digit in word] for word in y])
        noisy = pictures[chosen] + rng.normal(0, NOISE, (n, LENGTH, pictures.shape[1]))
        found.append((np.concatenate([noisy, np.ones((n, LENGTH, 1))], -1), y))
    return found


def random_field(x: Array, y: Array, held_x: Array, held_y: Array, budget: Budget) -> float:
    """Return the share of wrong characters of a chain CRF, trained by likelihood."""
    whole = {"x": torch.from_numpy(x).float(), "y": torch.from_numpy(y)}
    learner = ChainCRF(x.shape[-1], DIGITS, REGULARIZATION)
    config = FitConfig(steps=budget.steps(200), learning_rate=0.05, warmup=1, weight_decay=0.0, device="cpu")
    fit(learner, RandomBatches(lambda rng, n: whole, 0), config, logger=Logger(console=False))
    with torch.no_grad():
        found = learner(torch.from_numpy(held_x).float()).numpy()
    return float(np.mean(found != held_y))


def segments(seed: int, budget: Budget) -> Numbers:
    """Intersection over union of segmentations by a graph-cut SVM, and by an SVM of single pixels."""
    rng = np.random.default_rng(seed)
    train, test = ([blob(rng) for _ in range(6 if budget.smoke else IMAGES)] for _ in range(2))
    numbers: Numbers = {}
    shown = {"image": test[0][0][..., 0], "truth": test[0][1]}
    for name, linked in (("graph cut", True), ("single pixels", False)):
        problem = SegmentationProblem(SIDE, SIDE, train[0][0].shape[-1], linked=linked)
        solution: Solution = fit_structured_svm(problem, train, 1e-3, passes=budget.steps(60), seed=seed)
        found = [problem.decode(solution.weights, x) for x, _ in test]
        numbers[f"IoU, {name}"] = [iou(each, y) for each, (_, y) in zip(found, test)]
        numbers[f"segmentation gap, {name}"] = solution.gap
        shown[name.replace(" ", "_")] = found[0]
    budget.keep(f"segments-{seed}", **{key: torch.from_numpy(value) for key, value in shown.items()})
    return numbers


def blob(rng: np.random.Generator) -> tuple[Array, Array]:
    """Sample a shape (SIDE, SIDE) and its noisy image: brightness, the mean around each pixel, a constant."""
    smooth = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 3)
    y = (smooth > np.quantile(smooth, 0.6)).astype(int)
    bright = y + rng.normal(0, SPECKLE, y.shape)
    return np.stack([bright, uniform_filter(bright, 3), np.ones(y.shape)], -1), y


def iou(found: Array, truth: Array) -> float:
    return float((found & truth).sum() / (found | truth).sum())

"""Structured support vector machines with margin rescaling (Taskar et al. 2003; Tsochantaridis et al. 2005).

    min_w  lambda / 2 |w|^2 + 1/n sum_i max_y [ loss(y_i, y) - w . (phi(x_i, y_i) - phi(x_i, y)) ]

is solved in its dual by the block-coordinate Frank-Wolfe algorithm (Lacoste-Julien et al. 2013), which needs nothing
but loss-augmented decoding, has no step size, and knows its duality gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodia.perception.structured import Array, Structured


@dataclass(frozen=True)
class Solution:
    """Weights of a structured SVM, and how far they are from the optimum."""

    weights: Array
    """(D,)."""
    gap: float
    """Duality gap: an upper bound of the objective's distance to its minimum."""
    objective: float
    """Value of the primal objective."""
    passes: int
    """Passes over the examples."""


def fit_structured_svm(
    problem: Structured,
    examples: Sequence[tuple[Any, Any]],
    regularization: float = 0.01,
    tolerance: float = 1e-2,
    passes: int = 500,
    every: int = 10,
    seed: int = 0,
) -> Solution:
    """Minimise the objective until the duality gap is below `tolerance`.

    Args:
        problem: features, loss and inference.
        examples: pairs (x, y).
        regularization: lambda.
        tolerance: the duality gap to stop at.
        passes: maximum number of passes over the examples.
        every: passes between two computations of the gap, each of which costs a pass.
        seed: random seed of the order of examples.

    Raises:
        ValueError: if there are no examples, or features are not finite.
    """
    if not examples:
        raise ValueError("there are no examples; a structured SVM needs at least one pair (x, y)")
    work = [(x, y, checked(problem.features(x, y), number)) for number, (x, y) in enumerate(examples)]
    dual = Dual(problem, len(examples), regularization)
    rng = np.random.default_rng(seed)
    for done in range(1, passes + 1):
        for i in rng.permutation(len(examples)):
            dual.step(int(i), *corner(problem, dual.weights, *work[i]))
        if done % every == 0 or done == passes:
            corners = [corner(problem, dual.weights, *each) for each in work]
            hinge = float(np.mean([loss - dual.weights @ psi for psi, loss in corners]))
            objective = regularization / 2 * float(dual.weights @ dual.weights) + hinge
            if objective - dual.value() <= tolerance:
                break
    return Solution(dual.weights, objective - dual.value(), objective, done)


def checked(phi: Array, number: int) -> Array:
    if not np.isfinite(phi).all():
        raise ValueError(f"the features of example {number} are not finite; correct its x")
    return phi


def corner(problem: Structured, weights: Array, x: Any, y: Any, phi: Array) -> tuple[Array, float]:
    """Return phi(x, y) - phi(x, y*) and loss(y, y*) of the output y* that violates the margin most."""
    found = problem.decode(weights, x, truth=y)
    return phi - problem.features(x, found), problem.distance(y, found)


class Dual:
    """Dual variables of the margin constraints, as sums: w = sum_i w_i and l = sum_i l_i.

    Weights that must not be negative have a multiplier of their own, whose best value clips them at 0.
    """

    def __init__(self, problem: Structured, examples: int, regularization: float):
        self.nonnegative, self.regularization, self.examples = problem.nonnegative, regularization, examples
        self.parts, self.losses = np.zeros((examples, problem.size)), np.zeros(examples)
        self.total, self.loss = np.zeros(problem.size), 0.0
        self.weights = self.total.copy()

    def step(self, i: int, psi: Array, loss: float) -> None:
        """Move example i's variables towards a corner of its simplex, by the best step."""
        target, target_loss = psi / (self.regularization * self.examples), loss / self.examples
        towards = self.parts[i] - target
        size = self.regularization * float(towards @ towards)
        gain = self.regularization * float(towards @ self.weights) - self.losses[i] + target_loss
        share = float(np.clip(gain / size, 0, 1)) if size > 0 else float(gain > 0)
        change, change_loss = -share * towards, share * (target_loss - self.losses[i])
        self.parts[i] += change
        self.losses[i] += change_loss
        self.total += change
        self.loss += change_loss
        self.weights = np.where(self.nonnegative, np.maximum(self.total, 0), self.total)

    def value(self) -> float:
        """Return the dual objective."""
        return self.loss - self.regularization / 2 * float(self.weights @ self.weights)

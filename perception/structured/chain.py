"""Chains of labels: score sum_t (unary_t[y_t] + transition[y_t, y_t+1]), with Viterbi decoding (Viterbi 1967)."""

import numpy as np

from embodia.perception.structured import Array


def viterbi(unary: Array, transition: Array) -> Array:
    """Return the labels (T,) with the highest score, for scores (T, K) and transitions (K, K)."""
    best, came = unary[0], []
    for scores in unary[1:]:
        through = best[:, None] + transition
        came.append(through.argmax(0))
        best = through.max(0) + scores
    labels = [int(best.argmax())]
    for back in came[::-1]:
        labels.append(int(back[labels[-1]]))
    return np.array(labels[::-1])


class ChainProblem:
    """Sequences x (T, D) of vectors with labels y (T,) of K classes, as a structured output.

    Features and loss are means over the sequence; the loss is the share of wrong labels. Weights: those of the vectors,
    class by class (K, D), then the transitions (K, K).

    Args:
        dimensions: D.
        classes: K.
        linked: whether labels depend on each other; otherwise all transitions are 0, a multi-class SVM.
    """

    def __init__(self, dimensions: int, classes: int, linked: bool = True):
        self.dimensions, self.classes, self.linked = dimensions, classes, linked
        self.size = classes * dimensions + classes**2
        self.nonnegative = np.zeros(self.size, bool)

    def features(self, x: Array, y: Array) -> Array:
        chosen = np.eye(self.classes)[y]
        unary, transition = chosen.T @ x, self.linked * (chosen[:-1].T @ chosen[1:])
        return np.concatenate([unary.ravel(), transition.ravel()]) / len(y)

    def distance(self, y: Array, other: Array) -> float:
        return float(np.mean(y != other))

    def decode(self, weights: Array, x: Array, truth: Array | None = None) -> Array:
        split = self.classes * self.dimensions
        scores = x @ weights[:split].reshape(self.classes, self.dimensions).T
        if truth is not None:
            scores = scores + (np.arange(self.classes) != truth[:, None])
        if not self.linked:
            return scores.argmax(1)
        return viterbi(scores, weights[split:].reshape(self.classes, self.classes))

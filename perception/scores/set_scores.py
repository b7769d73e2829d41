"""Scores of predicted sets of labelled points against true ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[Any]


def hits(found: tuple[Array, Array], true: tuple[Array, Array], tolerance: float) -> int:
    """Return the number of pairs of equal labels (n,) and of points (n, D) within `tolerance`, matched one-to-one."""
    (labels, values), (true_labels, true_values) = found, true
    apart = np.linalg.norm(np.asarray(values)[:, None] - np.asarray(true_values), axis=-1)
    good = (np.asarray(labels)[:, None] == np.asarray(true_labels)) & (apart <= tolerance)
    return int(good[linear_sum_assignment(good, maximize=True)].sum())


def set_f1(found: tuple[Array, Array], true: tuple[Array, Array], tolerance: float) -> float:
    """Return 2 hits / (number found + number true), 1 if both sets are empty."""
    size = len(found[0]) + len(true[0])
    return 2 * hits(found, true, tolerance) / size if size else 1.0

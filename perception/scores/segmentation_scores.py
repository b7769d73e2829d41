"""Scores of label maps (pixel accuracy, IoU of classes, at borders) and of instances (symmetric best Dice, counts)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

Array = NDArray[Any]


def pixel_accuracy(truth: Array, found: Array, where: Array | None = None) -> float:
    """Return the share of right pixels of label maps (n, H, W), ignoring pixels with negative true labels.

    Args:
        truth, found: Labels.
        where: Count only these pixels (n, H, W) bool.
    """
    counted = truth >= 0 if where is None else (truth >= 0) & where
    return float((truth == found)[counted].mean()) if counted.any() else float("nan")


def class_iou(truth: Array, found: Array, classes: int) -> Array:
    """Return the IoU (classes,) over all pixels of label maps (n, H, W); NaN for a class that occurs in neither.

    Pixels with negative true labels are ignored.
    """
    counted = truth >= 0
    table = np.bincount(truth[counted] * classes + found[counted], minlength=classes**2).reshape(classes, classes)
    both = table.diagonal()
    either = table.sum(0) + table.sum(1) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def boundary_band(labels: Array, width: int = 2) -> Array:
    """Return the pixels (n, H, W) bool within `width` pixels of a border between labels, the trimap of a CRF paper."""
    border = np.zeros(labels.shape, bool)
    down, across = labels[:, 1:] != labels[:, :-1], labels[:, :, 1:] != labels[:, :, :-1]
    border[:, 1:] |= down
    border[:, :-1] |= down
    border[:, :, 1:] |= across
    border[:, :, :-1] |= across
    return binary_dilation(border, np.ones((1, 3, 3)), width - 1) if width > 1 else border


def dice(truth: Array, found: Array) -> Array:
    """Return 2 |A and B| / (|A| + |B|) of the instances 1.. of two label maps (H, W), (true, found)."""
    a, b = _masks(truth), _masks(found)
    return 2 * (a @ b.T) / np.maximum(a.sum(1)[:, None] + b.sum(1), 1)


def _masks(labels: Array) -> Array:
    """Return the masks (n, H * W) of instances; one empty mask if there are none."""
    masks = [labels == k for k in np.unique(labels) if k > 0] or [np.zeros(labels.shape, bool)]
    return np.stack(masks).reshape(len(masks), -1).astype(np.float64)


def symmetric_best_dice(truth: Array, found: Array) -> float:
    """Return the lower of the mean best Dice of true and of found instances, for label maps (H, W).

    Source:
        Scharr et al. 2014, the score of the CVPPP leaf segmentation challenge.
    """
    table = dice(truth, found)
    return float(min(table.max(1).mean(), table.max(0).mean()))


def count_difference(truth: Array, found: Array) -> int:
    """Return the number of found instances minus the number of true ones (DiC), for label maps (H, W)."""
    return len(np.unique(found[found > 0])) - len(np.unique(truth[truth > 0]))

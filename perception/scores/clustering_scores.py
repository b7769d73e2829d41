"""Scores of discovered objects against true ones: ARI, mIoU, CorLoc and AP.

Segmentations are labels (H, W). In the truth, 0 is background, 1.. are objects, and OVERLAP pixels are ignored. Boxes
are (x0, y0, x1, y1) with exclusive x1 and y1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from embodia.perception.pictures.scenes import OVERLAP

Array = NDArray[Any]


def adjusted_rand_index(truth: ArrayLike, found: ArrayLike) -> float:
    """Adjusted Rand index of two labellings (P,): 0 in expectation for random labels, 1 for equal partitions.

    Two labellings with one cluster each score 1.

    Source:
        Hubert & Arabie 1985.
    """
    table = contingency(truth, found).astype(np.float64)
    together = _pairs(table).sum()
    rows, columns = _pairs(table.sum(1)).sum(), _pairs(table.sum(0)).sum()
    every = _pairs(table.sum())
    chance = rows * columns / every if every else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == chance else float((together - chance) / (most - chance))


def _pairs(count: Array) -> Array:
    return count * (count - 1) / 2


def contingency(truth: ArrayLike, found: ArrayLike) -> NDArray[np.int64]:
    """Contingency table (true labels, found labels): the number of points with both labels."""
    a, b = (np.unique(np.ravel(x), return_inverse=True)[1] for x in (truth, found))
    table = np.zeros((a.max(initial=-1) + 1, b.max(initial=-1) + 1), np.int64)
    np.add.at(table, (a, b), 1)
    return table


def ari(truth: Array, found: Array, background: bool = True) -> Array:
    """Adjusted Rand indices (N,) of segmentations truth and found (N, H, W).

    Args:
        truth: True labels (N, H, W).
        found: Predicted labels (N, H, W).
        background: True counts the background as one object (ARI+BG). False scores only pixels of true objects, which
            the literature calls ARI-BG, FG-ARI or ARI-FG.
    """
    least = 0 if background else 1
    return np.array([adjusted_rand_index(t[t >= least], f[t >= least]) for t, f in zip(truth, found)])


def mean_iou(truth: Array, found: Array, background: bool = False) -> Array:
    """Mean IoU (N,) of each image's true objects with the predicted segments that Hungarian matching assigns to them.

    An object without a match counts 0. Images without objects give NaN. truth and found are labels (N, H, W).
    """
    return np.array([_matched_iou(t, f, background) for t, f in zip(truth, found)])


def _matched_iou(truth: Array, found: Array, background: bool) -> float:
    counted = truth != OVERLAP
    names = [name for name in np.unique(truth[counted]) if background or name > 0]
    if not names:
        return float("nan")
    true = np.stack([truth == name for name in names])
    guessed = np.stack([(found == name) & counted for name in np.unique(found[counted])])
    iou = mask_iou(true, guessed)
    return float(iou[linear_sum_assignment(iou, maximize=True)].sum() / len(names))


def mask_iou(a: Array, b: Array) -> Array:
    """Intersection over union (A, B) of masks (A, H, W) and (B, H, W); 0 if both are empty."""
    a, b = a.reshape(len(a), -1).astype(np.float32), b.reshape(len(b), -1).astype(np.float32)
    both = a @ b.T
    return both / np.maximum(a.sum(1)[:, None] + b.sum(1) - both, 1)


def box_iou(a: ArrayLike, b: ArrayLike) -> Array:
    """Intersection over union (A, B) of boxes (A, 4) and (B, 4)."""
    one, other = (np.asarray(x, np.float64).reshape(-1, 4) for x in (a, b))
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(0).prod(2)
    areas = [(x[:, 2:] - x[:, :2]).clip(0).prod(1) for x in (one, other)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-12)


def box_of(mask: Array) -> tuple[int, int, int, int]:
    """Return the bounding box of a mask (H, W). Raises ValueError if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        raise ValueError("an empty mask has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def corloc(found: ArrayLike, truths: Sequence[ArrayLike], threshold: float = 0.5) -> Array:
    """Correct localisation (N,) bool: whether the predicted box of an image has an IoU of `threshold` with a true box.

    Args:
        found: One predicted box per image (N, 4).
        truths: Per image, the true boxes (M, 4).
        threshold: Minimum IoU.

    Source:
        Deselaers et al. 2010.
    """
    boxes = np.asarray(found, np.float64)
    return np.array([box_iou(box, truth).max(initial=0.0) >= threshold for box, truth in zip(boxes, truths)])


def average_precision(ious: Sequence[Array], scores: Sequence[ArrayLike], threshold: float = 0.5) -> float:
    """Average precision over a set of images, averaged at 101 recalls as in COCO. The default threshold gives AP50.

    Args:
        ious: Per image, the IoU (found, true) of boxes or masks.
        scores: Per image, the confidences (found,). Predictions are matched in this order, each true object once.
        threshold: Minimum IoU of a match.

    Raises:
        ValueError: If no image has a true object.
    """
    total = sum(iou.shape[1] for iou in ious)
    if total == 0:
        raise ValueError("no true object in any image, so average precision is undefined")
    confidence = np.concatenate([np.asarray(s, np.float64).ravel() for s in scores])
    right = np.concatenate([_taken(iou, np.asarray(s), threshold) for iou, s in zip(ious, scores)])
    hits = right[np.argsort(-confidence, kind="stable")].cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(hits / total, np.linspace(0, 1, 101) - 1e-12)  # the first detection of that recall
    return float(np.append(best_from_here, 0.0)[np.minimum(first, len(hits))].mean())


def _taken(iou: Array, score: Array, threshold: float) -> Array:
    """Return (found,) bool: whether each prediction gets a true object, greedily by score, the best free one first."""
    free = np.ones(iou.shape[1], bool)
    right = np.zeros(len(iou), bool)
    for i in np.argsort(-score, kind="stable"):
        open_iou = np.where(free, iou[i], -1.0)
        if open_iou.max(initial=-1.0) >= threshold:
            free[open_iou.argmax()] = False
            right[i] = True
    return right

"""How well found objects agree with true ones: ARI, mIoU, CorLoc, AP.

Segmentations are labels (H, W): in the truth 0 is background, 1.. are objects and OVERLAP pixels are not counted.
Boxes are (x0, y0, x1, y1), the far corner outside.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from embodia.perception.pictures.scenes import OVERLAP

Array = NDArray[Any]


def adjusted_rand_index(truth: ArrayLike, found: ArrayLike) -> float:
    """Agreement of two labellings (P,) over pairs of points, 0 by chance, 1 where they are one up to names.

    Hubert & Arabie 1985. Two labellings of one cluster each agree fully.
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
    """(true labels, found labels): how many points have both."""
    a, b = (np.unique(np.ravel(x), return_inverse=True)[1] for x in (truth, found))
    table = np.zeros((a.max(initial=-1) + 1, b.max(initial=-1) + 1), np.int64)
    np.add.at(table, (a, b), 1)
    return table


def ari(truth: Array, found: Array, background: bool = True) -> Array:
    """(N,) adjusted Rand indices of pictures, truth and found (N, H, W).

    With `background` the background is one object of the truth (ARI+BG); without it only pixels of objects count, which
    the literature calls ARI-BG, FG-ARI or ARI-FG.
    """
    least = 0 if background else 1
    return np.array([adjusted_rand_index(t[t >= least], f[t >= least]) for t, f in zip(truth, found)])


def mean_iou(truth: Array, found: Array, background: bool = False) -> Array:
    """(N,) mean over a picture's true objects of the IoU with the found segment that Hungarian matching gives each.

    An object without a partner counts 0. Pictures without objects give nan. truth and found (N, H, W).
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
    """(A, H, W) and (B, H, W) bool -> (A, B) intersection over union, 0 where both are empty."""
    a, b = a.reshape(len(a), -1).astype(np.float32), b.reshape(len(b), -1).astype(np.float32)
    both = a @ b.T
    return both / np.maximum(a.sum(1)[:, None] + b.sum(1) - both, 1)


def box_iou(a: ArrayLike, b: ArrayLike) -> Array:
    """(A, 4) and (B, 4) -> (A, B) intersection over union."""
    one, other = (np.asarray(x, np.float64).reshape(-1, 4) for x in (a, b))
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(0).prod(2)
    areas = [(x[:, 2:] - x[:, :2]).clip(0).prod(1) for x in (one, other)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-12)


def box_of(mask: Array) -> tuple[int, int, int, int]:
    """The smallest box around a mask (H, W). Raises ValueError for an empty one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        raise ValueError("an empty mask has no box")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def corloc(found: ArrayLike, truths: Sequence[ArrayLike], threshold: float = 0.5) -> Array:
    """(N,) whether the one box found in a picture (4,) overlaps any of its true boxes (M, 4) by `threshold` IoU.

    Correct localisation, Deselaers et al. 2010.
    """
    boxes = np.asarray(found, np.float64)
    return np.array([box_iou(box, truth).max(initial=0.0) >= threshold for box, truth in zip(boxes, truths)])


def average_precision(ious: Sequence[Array], scores: Sequence[ArrayLike], threshold: float = 0.5) -> float:
    """AP over a set of pictures: precision at 101 recalls, as COCO averages it; AP50 at the default threshold.

    Args:
        ious: per picture (found, true), of boxes or masks.
        scores: per picture (found,): those found with confidence take their truth first, and each truth once.

    Raises:
        ValueError: where no picture has a true object.
    """
    total = sum(iou.shape[1] for iou in ious)
    if total == 0:
        raise ValueError("no true object in any picture: average precision is undefined")
    confidence = np.concatenate([np.asarray(s, np.float64).ravel() for s in scores])
    right = np.concatenate([_taken(iou, np.asarray(s), threshold) for iou, s in zip(ious, scores)])
    hits = right[np.argsort(-confidence, kind="stable")].cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(hits / total, np.linspace(0, 1, 101) - 1e-12)  # the first detection of that recall
    return float(np.append(best_from_here, 0.0)[np.minimum(first, len(hits))].mean())


def _taken(iou: Array, score: Array, threshold: float) -> Array:
    """(found,) whether each takes a true object: greedily by score, the best one still free."""
    free = np.ones(iou.shape[1], bool)
    right = np.zeros(len(iou), bool)
    for i in np.argsort(-score, kind="stable"):
        open_iou = np.where(free, iou[i], -1.0)
        if open_iou.max(initial=-1.0) >= threshold:
            free[open_iou.argmax()] = False
            right[i] = True
    return right

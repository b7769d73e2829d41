"""Non-maximum suppression: greedy, and soft (Bodla et al. 2017). Compiled; groups are suppressed separately."""

from typing import Literal

import numpy as np

from embodia.envs.compiled import compiled_exactly
from embodia.perception.structured.detection import Array


def nms(boxes: Array, scores: Array, threshold: float = 0.5, groups: Array | None = None) -> Array:
    """Keep the best of boxes that overlap.

    In order of decreasing score (ties in order of index), a box is kept unless its IoU with a kept box of the same
    group exceeds the threshold. Boxes without area overlap nothing.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,).
        threshold: largest IoU of two boxes that are both kept.
        groups: (n,) integers, such as class or image * classes + class; by default all boxes are one group.

    Returns:
        Indices (k,) int64 of the kept boxes, in order of decreasing score.

    Raises:
        ValueError: if shapes do not fit, or a value is NaN.
    """
    boxes, scores, groups = checked(boxes, scores, groups)
    order = np.lexsort((-scores, groups))
    kept = order[_greedy(boxes[order], groups[order], threshold)]
    return kept[np.lexsort((kept, -scores[kept]))]


def soft_nms(
    boxes: Array,
    scores: Array,
    sigma: float = 0.5,
    threshold: float = 0.3,
    method: Literal["gaussian", "linear"] = "gaussian",
    lowest: float = 1e-3,
    groups: Array | None = None,
) -> tuple[Array, Array]:
    """Lower the scores of boxes that overlap better ones, instead of removing them.

    Args:
        boxes: (n, 4) left, top, right, bottom.
        scores: (n,), not negative.
        sigma: "gaussian" multiplies a score by exp(-IoU^2 / sigma) for each better box.
        threshold: "linear" multiplies a score by 1 - IoU for each better box whose IoU exceeds this.
        method: how scores decay.
        lowest: boxes whose score falls below this are removed.
        groups: (n,) integers; by default all boxes are one group.

    Returns:
        Indices (k,) int64 of the remaining boxes in order of decreasing new score, and these scores (k,).

    Raises:
        ValueError: if shapes do not fit, a value is NaN, or sigma is not positive.
    """
    boxes, scores, groups = checked(boxes, scores, groups)
    if sigma <= 0:
        raise ValueError(f"sigma is {sigma}; it must be positive")
    order = np.argsort(groups, kind="stable")
    found = np.empty_like(scores)
    found[order] = _decayed(boxes[order], scores[order], groups[order], method == "linear", sigma, threshold, lowest)
    kept = np.flatnonzero(found >= lowest)
    kept = kept[np.argsort(-found[kept], kind="stable")]
    return kept, found[kept]


def checked(boxes: Array, scores: Array, groups: Array | None) -> tuple[Array, Array, Array]:
    """Return the arguments as float64 and int64. Raises ValueError."""
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    groups = np.zeros(len(scores), np.int64) if groups is None else np.asarray(groups, np.int64)
    if boxes.shape != (len(scores), 4) or groups.shape != scores.shape or scores.ndim != 1:
        raise ValueError(
            f"boxes {boxes.shape}, scores {scores.shape} and groups {groups.shape}; expected (n, 4), (n,) and (n,)"
        )
    if np.isnan(boxes).any() or np.isnan(scores).any():
        raise ValueError("boxes or scores are NaN; correct the network's output")
    return boxes, scores, groups


@compiled_exactly
def _iou(boxes: Array, i: int, j: int) -> float:
    width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
    height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
    if width <= 0 or height <= 0:
        return 0.0
    first = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
    second = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
    return width * height / (first + second - width * height)


@compiled_exactly
def _greedy(boxes: Array, groups: Array, threshold: float) -> Array:
    """Positions of the kept boxes, which are sorted by group and then by score."""
    kept = np.empty(len(boxes), np.int64)
    count = first = 0  # kept boxes, and the first one of the group
    for i in range(len(boxes)):
        if i > 0 and groups[i] != groups[i - 1]:
            first = count
        alone = True
        for k in range(first, count):
            if _iou(boxes, kept[k], i) > threshold:
                alone = False
                break
        if alone:
            kept[count] = i
            count += 1
    return kept[:count]


@compiled_exactly
def _decayed(
    boxes: Array, scores: Array, groups: Array, linear: bool, sigma: float, threshold: float, lowest: float
) -> Array:
    """New scores of boxes that are sorted by group. Boxes below the lowest score decay no others."""
    scores = scores.copy()
    waiting = np.ones(len(scores), np.bool_)
    begin = 0
    while begin < len(scores):
        end = begin
        while end < len(scores) and groups[end] == groups[begin]:
            end += 1
        for _ in range(begin, end):
            best = -1
            for i in range(begin, end):
                if waiting[i] and (best < 0 or scores[i] > scores[best]):
                    best = i
            if scores[best] < lowest:
                break
            waiting[best] = False
            for i in range(begin, end):
                if waiting[i]:
                    overlap = _iou(boxes, best, i)
                    if not linear:
                        scores[i] *= np.exp(-overlap * overlap / sigma)
                    elif overlap > threshold:
                        scores[i] *= 1 - overlap
        begin = end
    return scores

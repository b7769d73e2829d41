"""Bounding volume hierarchy of triangles, built with the surface area heuristic in 12 bins.

Source: I. Wald, "On fast Construction of SAH-based Bounding Volume Hierarchies", RT 2007, section 3.
"""

import numpy as np

from embodia.envs.compiled import compiled
from embodia.envs.drawing.scene import Array

BINS = 12
LEAF = 6  # maximum number of triangles of a leaf that could be split
MAX_DEPTH = 48  # maximum depth of the tree; deeper nodes stay leaves


def build_bvh(triangles: Array) -> tuple[Array, Array, Array]:
    """Build the hierarchy of triangles (F, 3, 3) float32.

    Returns:
        Boxes (M, 6) float32 (low, high), children (M, 2) int32 and the order of the triangles (F,) int64. An inner node
        stores its two children's indices, a leaf (-count, first position in the order).
    """
    low, high = triangles.min(axis=1), triangles.max(axis=1)
    boxes = np.zeros((2 * len(triangles), 6), np.float32)
    children = np.zeros((2 * len(triangles), 2), np.int32)
    order = np.arange(len(triangles))
    count = _build(low, high, (low + high) / 2, boxes, children, order)
    return boxes[:count].copy(), children[:count].copy(), order


@compiled
def _build(low, high, centre, boxes, children, order):  # type: ignore[no-untyped-def]
    todo = np.zeros((2 * MAX_DEPTH + 2, 4), np.int64)  # node, begin, end, depth
    todo[0, 2] = len(order)
    waiting, count = 1, 1
    while waiting > 0:
        waiting -= 1
        node, begin, end, depth = todo[waiting, 0], todo[waiting, 1], todo[waiting, 2], todo[waiting, 3]
        _bound(low, high, order, begin, end, boxes[node])
        middle = begin
        if end - begin > LEAF and depth < MAX_DEPTH:
            axis, place = _best_split(low, high, centre, order, begin, end)
            middle = _partition(centre, order, begin, end, axis, place)
        if middle in (begin, end):
            children[node, 0], children[node, 1] = begin - end, begin
            continue
        children[node, 0], children[node, 1] = count, count + 1
        for side in range(2):
            todo[waiting, 0] = count + side
            todo[waiting, 1] = begin if side == 0 else middle
            todo[waiting, 2] = middle if side == 0 else end
            todo[waiting, 3] = depth + 1
            waiting += 1
        count += 2
    return count


@compiled
def _bound(low, high, order, begin, end, box):  # type: ignore[no-untyped-def]
    for axis in range(3):
        box[axis], box[axis + 3] = np.inf, -np.inf
        for i in range(begin, end):
            box[axis] = min(box[axis], low[order[i], axis])
            box[axis + 3] = max(box[axis + 3], high[order[i], axis])


@compiled
def _half_area(box):  # type: ignore[no-untyped-def]
    x, y, z = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    return x * y + y * z + z * x


@compiled
def _best_split(low, high, centre, order, begin, end):  # type: ignore[no-untyped-def]
    """Axis and position of the cheapest binned split; the position is NaN if all centres coincide."""
    best_axis, best_place, best_cost = 0, np.nan, np.inf
    bins = np.empty((BINS, 6), np.float32)
    sizes = np.empty(BINS, np.int64)
    right_cost = np.empty(BINS)
    box = np.empty(6, np.float32)
    for axis in range(3):
        first, last = np.inf, -np.inf
        for i in range(begin, end):
            first, last = min(first, centre[order[i], axis]), max(last, centre[order[i], axis])
        if last - first < 1e-6:
            continue
        bins[:, :3], bins[:, 3:] = np.inf, -np.inf
        sizes[:] = 0
        scale = BINS / (last - first)
        for i in range(begin, end):
            slot = min(BINS - 1, int((centre[order[i], axis] - first) * scale))
            sizes[slot] += 1
            _grow(bins[slot], low[order[i]], high[order[i]])
        total = 0
        box[:3], box[3:] = np.inf, -np.inf
        for slot in range(BINS - 1, 0, -1):
            total += sizes[slot]
            _grow(box, bins[slot, :3], bins[slot, 3:])
            right_cost[slot] = total * _half_area(box) if total > 0 else 0.0
        total = 0
        box[:3], box[3:] = np.inf, -np.inf
        for slot in range(BINS - 1):
            total += sizes[slot]
            _grow(box, bins[slot, :3], bins[slot, 3:])
            if total > 0 and total < end - begin:
                cost = total * _half_area(box) + right_cost[slot + 1]
                if cost < best_cost:
                    best_axis, best_cost, best_place = axis, cost, first + (slot + 1) / scale
    return best_axis, best_place


@compiled
def _grow(box, low, high):  # type: ignore[no-untyped-def]
    for axis in range(3):
        box[axis] = min(box[axis], low[axis])
        box[axis + 3] = max(box[axis + 3], high[axis])


@compiled
def _partition(centre, order, begin, end, axis, place):  # type: ignore[no-untyped-def]
    """Move the triangles below `place` to the front. If that separates nothing, split in half by position."""
    if np.isnan(place):
        return (begin + end) // 2
    i, j = begin, end
    while i < j:
        if centre[order[i], axis] < place:
            i += 1
        else:
            j -= 1
            order[i], order[j] = order[j], order[i]
    return i if i != begin and i != end else (begin + end) // 2

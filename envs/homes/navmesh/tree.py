"""Which polygons lie near a place: Detour's bounding volume tree, with its order and its rounding.

The nearest polygon is the first of equals in this order, and whether one is looked at at all depends on how boxes are
rounded to cells. Source: Detour `createBVTree` and `dtNavMeshQuery::queryPolygonsInTile`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly

Array = NDArray[Any]

LOW, HIGH, POLYGON = 0, 3, 6
"""Columns of a node: lowest and highest cell of its box, each x, y, z, and its polygon; of an inner node, minus the
number of nodes to pass over with it."""


def build_tree(low: Array, high: Array) -> Array:
    """(2 P, 7) int64 nodes in the order of a walk from the root, left before right, from boxes (P, 3) in cells.

    The last node is empty, as in Detour: a leaf of polygon 0 with a box at the lowest corner. Whoever asks near that
    corner is shown polygon 0, wherever it lies.
    """
    nodes = np.zeros((2 * len(low), 7), np.int64)
    _divide(nodes, np.arange(len(low)), low, high, 0)
    return nodes


def _divide(nodes: Array, members: Array, low: Array, high: Array, at: int) -> int:
    """Fill the nodes of some polygons from number `at` on; returns the number of the next free one."""
    box = low[members].min(axis=0), high[members].max(axis=0)
    nodes[at, LOW:HIGH], nodes[at, HIGH:POLYGON] = box
    if len(members) == 1:
        nodes[at, POLYGON] = members[0]
        return at + 1
    longest = int(np.argmax(box[1] - box[0]))
    members = members[np.argsort(low[members, longest], kind="stable")]
    half = len(members) // 2
    following = _divide(nodes, members[:half], low, high, at + 1)
    following = _divide(nodes, members[half:], low, high, following)
    nodes[at, POLYGON] = at - following
    return following


@compiled_exactly
def box_in_cells(place: Array, reach: Array, tile: Array, cells_per_metre: float) -> tuple[bool, Array]:
    """The box around a place (3,) as cells (6,), clamped to the tile (2, 3) [m]; False if it misses the tile."""
    box = np.empty(6, np.int64)
    for axis in range(3):
        low, high = place[axis] - reach[axis], place[axis] + reach[axis]
        if axis != 1:
            length = tile[1, axis] - tile[0, axis]
            if np.floor((low - tile[0, axis]) / length) > 0 or np.floor((high - tile[0, axis]) / length) < 0:
                return False, box
        low = min(max(low, tile[0, axis]), tile[1, axis]) - tile[0, axis]
        high = min(max(high, tile[0, axis]), tile[1, axis]) - tile[0, axis]
        box[LOW + axis] = int(cells_per_metre * low) & ~1
        box[HIGH + axis] = int(cells_per_metre * high + np.float32(1)) | 1
    return True, box


@compiled_exactly
def next_polygon(tree: Array, node: int, box: Array) -> tuple[int, int]:
    """The next polygon from `node` on whose box touches `box`, and the node behind it; -1 at the end."""
    while node < len(tree):
        overlap = True
        for axis in range(3):
            overlap = overlap and box[LOW + axis] <= tree[node, HIGH + axis]
            overlap = overlap and box[HIGH + axis] >= tree[node, LOW + axis]
        p = tree[node, POLYGON]
        if p < 0 and not overlap:
            node -= p
            continue
        node += 1
        if p >= 0 and overlap:
            return p, node
    return -1, node

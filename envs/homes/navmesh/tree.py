"""Which polygons lie near a place: Detour's bounding volume tree, with its order and its rounding.

The nearest polygon is the first of equals in this order, and whether one is looked at at all depends on how boxes are
rounded to cells. Source: Detour `createBVTree` and `dtNavMeshQuery::queryPolygonsInTile`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly

Array = NDArray[Any]


class Tree(NamedTuple):
    """Nodes in the order of a walk from the root, left before right; the last one is empty, as in Detour.

    The empty node is a leaf of polygon 0 with a box at the lowest corner: whoever asks near that corner is shown
    polygon 0, wherever it lies.
    """

    low: Array  # (2 P, 3) int64 cells
    high: Array  # (2 P, 3) int64
    polygon: Array  # (2 P,) int64; of an inner node, minus the number of nodes to pass over with it


def build_tree(low: Array, high: Array) -> Tree:
    """From boxes of the polygons (P, 3) int64, low and high corner in cells."""
    count = len(low)
    tree = Tree(*(np.zeros((2 * count, 3), np.int64) for _ in range(2)), np.zeros(2 * count, np.int64))
    _divide(tree, np.arange(count), low, high, 0)
    return tree


def _divide(tree: Tree, members: Array, low: Array, high: Array, node: int) -> int:
    """Fill the nodes of some polygons from `node` on; returns the number of the next free one."""
    tree.low[node], tree.high[node] = low[members].min(axis=0), high[members].max(axis=0)
    if len(members) == 1:
        tree.polygon[node] = members[0]
        return node + 1
    longest = int(np.argmax(tree.high[node] - tree.low[node]))
    members = members[np.argsort(low[members, longest], kind="stable")]
    half = len(members) // 2
    following = _divide(tree, members[:half], low, high, node + 1)
    following = _divide(tree, members[half:], low, high, following)
    tree.polygon[node] = node - following
    return following


@compiled_exactly
def box_in_cells(place: Array, reach: Array, tile: Array, inverse_size: float) -> tuple[bool, Array]:
    """The box around a place (3,) as cells (2, 3), clamped to the tile (2, 3) [m]; False if it misses the tile."""
    box = np.empty((2, 3), np.int64)
    for axis in range(3):
        low, high = place[axis] - reach[axis], place[axis] + reach[axis]
        if axis != 1:
            length = tile[1, axis] - tile[0, axis]
            if np.floor((low - tile[0, axis]) / length) > 0 or np.floor((high - tile[0, axis]) / length) < 0:
                return False, box
        low = min(max(low, tile[0, axis]), tile[1, axis]) - tile[0, axis]
        high = min(max(high, tile[0, axis]), tile[1, axis]) - tile[0, axis]
        box[0, axis] = int(inverse_size * low) & ~1
        box[1, axis] = int(inverse_size * high + np.float32(1)) | 1
    return True, box


@compiled_exactly
def next_polygon(low: Array, high: Array, polygon: Array, node: int, box: Array) -> tuple[int, int]:
    """The next polygon from `node` of a tree on whose box touches `box`, and the node behind it; -1 at the end."""
    while node < len(polygon):
        overlap = True
        for axis in range(3):
            overlap = overlap and box[0, axis] <= high[node, axis] and box[1, axis] >= low[node, axis]
        p = polygon[node]
        if p < 0 and not overlap:
            node -= p
            continue
        node += 1
        if p >= 0 and overlap:
            return p, node
    return -1, node

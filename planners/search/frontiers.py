"""Frontiers: the borders between seen floor and the unknown (Yamauchi 1997), and which one to look at next."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Array = NDArray[Any]
AROUND = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Frontiers:
    """The frontiers of one map."""

    groups: Array
    """(H, W) int: k in the cells of the k-th frontier, 0 elsewhere."""
    size: Array
    """(K,) number of cells."""
    nearest: Array
    """(K, 2) cell of each frontier with the lowest cost."""
    cost: Array
    """(K,) cost to get there."""


def frontiers(seen: Array, passable: Array, cost: Array, least: int = 3) -> Frontiers:
    """Find the frontiers that can be reached.

    Args:
        seen: Cells (H, W) that have been seen.
        passable: Cells (H, W) that a body can be in, as far as is known; also those never seen.
        cost: Cost to get to each cell (H, W), infinite if it cannot be reached.
        least: Smallest number of cells of a frontier.
    """
    unseen = passable & ~seen
    border = seen & passable & ndimage.binary_dilation(unseen) & np.isfinite(cost)
    groups, count = ndimage.label(border, structure=AROUND)
    size = np.bincount(groups.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(size >= least)
    number = np.zeros(count + 1, np.int64)
    number[large + 1] = np.arange(1, len(large) + 1)
    groups = number[groups]
    rows, columns = np.nonzero(groups)
    order = np.argsort(cost[rows, columns], kind="stable")[::-1]
    nearest = np.zeros((len(large), 2), np.int64)
    nearest[groups[rows, columns][order] - 1] = np.stack([rows, columns], 1)[order]  # the cheapest is written last
    return Frontiers(groups, size[large], nearest, cost[nearest[:, 0], nearest[:, 1]])


def best_frontier(
    found: Frontiers, place: ArrayLike, direction: float, turn_cost: float, size_gain: float
) -> int | None:
    """Return the index of the frontier with the lowest cost, or None if there is none.

    Args:
        found: Frontiers.
        place: Where the body is, (row, column).
        direction: Where it looks: the angle of (row += -cos, column += -sin) [rad], the yaw of a body.
        turn_cost: What a radian of turning costs.
        size_gain: What a cell of a frontier is worth.
    """
    if not len(found.size):
        return None
    ahead = found.nearest + 0.5 - np.asarray(place, np.float64)
    bearing = np.arctan2(-ahead[:, 1], -ahead[:, 0])
    turns = np.abs((bearing - direction + np.pi) % (2 * np.pi) - np.pi)
    return int(np.argmin(found.cost + turn_cost * turns - size_gain * found.size))

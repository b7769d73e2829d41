"""Detour's priority queue of polygons, and the state of a search for each polygon.

Equal totals leave the heap in the order that its sifting gives them, which decides between equally good corridors.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly

Array = NDArray[Any]

UNSEEN, OPEN, CLOSED = 0, 1, 2
MOST_NODES = 2048  # polygons that habitat-sim lets one search see


class Search(NamedTuple):
    """Room for a search over P polygons, used again by the next one."""

    state: Array  # (P,) int8 UNSEEN, OPEN or CLOSED
    place: Array  # (P, 3) float32 [m] where the search enters the polygon
    cost: Array  # (P,) float32 [m]
    total: Array  # (P,) float32 [m], the key of the queue
    parent: Array  # (P,) int64, -1 = none
    queue: Array  # (P + 1,) int64 polygons as a binary heap


def room_for(polygons: int) -> Search:
    cost, total = np.zeros((2, polygons), np.float32)
    return Search(
        state=np.zeros(polygons, np.int8),
        place=np.zeros((polygons, 3), np.float32),
        cost=cost,
        total=total,
        parent=np.zeros(polygons, np.int64),
        queue=np.zeros(polygons + 1, np.int64),
    )


@compiled_exactly
def begin(search: Search, p: int, place: Array, total: float) -> None:
    """Start anew with polygon p as the only open one."""
    search.state[:] = UNSEEN
    search.state[p], search.parent[p], search.queue[0] = OPEN, -1, p
    search.place[p, 0], search.place[p, 1], search.place[p, 2] = place[0], place[1], place[2]
    search.cost[p], search.total[p] = np.float32(0), total


@compiled_exactly
def meet(search: Search, p: int, left: Array, right: Array) -> None:
    """See polygon p for the first time, through an edge whose middle stands for it."""
    for axis in range(3):
        search.place[p, axis] = (left[axis] + right[axis]) * np.float32(0.5)


@compiled_exactly
def pop(search: Search, size: int) -> int:
    """Take the nearest of `size` open polygons off the queue and close it."""
    queue, total = search.queue, search.total
    first, last = queue[0], queue[size - 1]
    i, child = 0, 1
    while child < size - 1:
        if child + 1 < size - 1 and total[queue[child]] > total[queue[child + 1]]:
            child += 1
        queue[i] = queue[child]
        i, child = child, 2 * child + 1
    _sift_up(search, i, last)
    search.state[first] = CLOSED
    return first


@compiled_exactly
def put(search: Search, size: int, p: int, parent: int, total: float) -> int:
    """Open polygon p, or move it up if it is open already; returns how many are open."""
    search.parent[p], search.total[p] = parent, total
    i = size
    if search.state[p] == OPEN:
        i = 0
        while search.queue[i] != p:
            i += 1
        size -= 1
    search.state[p] = OPEN
    _sift_up(search, i, p)
    return size + 1


@compiled_exactly
def _sift_up(search: Search, i: int, p: int) -> None:
    queue, total = search.queue, search.total
    while i > 0 and total[queue[(i - 1) // 2]] > total[p]:
        queue[i] = queue[(i - 1) // 2]
        i = (i - 1) // 2
    queue[i] = p

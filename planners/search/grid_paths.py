"""Cheapest paths over the cells of a grid: A* (Hart, Nilsson & Raphael 1968), compiled.

Cells are (row, column). A path costs the mean cost of two neighbouring cells times the distance of their centres in
cells; cells of infinite cost cannot be entered, and diagonal steps do not cut their corners.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.compiled import compiled

Array = NDArray[Any]


def cost_to_go(cost: Array, goals: ArrayLike, start: ArrayLike | None = None, margin: float = 0.0) -> Array:
    """Return the cost of the cheapest path from each cell to the nearest goal.

    Args:
        cost: Costs (H, W), at least 1, or infinite.
        goals: Goal cells (G, 2). They may have infinite cost; paths then end beside them.
        start: A cell (2,): the search stops when it knows all cells that lie on a path from here which is at most
            `margin` longer than the cheapest one. None searches the whole grid.
        margin: See `start`.

    Returns:
        Costs (H, W) float64, infinite where there is no path, or beyond the margin.

    Raises:
        ValueError: If a finite cost is below 1, since the search would not find the cheapest paths.
    """
    cost = np.ascontiguousarray(cost, np.float64)
    if not (cost >= 1).all():
        raise ValueError(f"the cheapest cell costs {np.nanmin(cost):g}; costs must be at least 1")
    cells = np.asarray(goals, np.int64).reshape(-1, 2)
    target = np.full(2, -1) if start is None else np.asarray(start, np.int64)
    return np.asarray(_search(cost, cells, target, float(margin)))


def downhill(to_go: Array, start: ArrayLike) -> Array:
    """Return the cells (T, 2) of the path from `start` to the goal down `to_go`; only the start if it has no path."""
    return np.asarray(_downhill(to_go, np.asarray(start, np.int64)))


def travel_costs(
    blocked: Array, open_cells: Array, radius: float, distance: float, unknown: float, wall: float = 3.0
) -> Array:
    """Return the costs of moving a round body through a map.

    Args:
        blocked: Cells (H, W) with obstacles; their cost is infinite.
        open_cells: Cells (H, W) known to be free; their cost is 1.
        radius: Radius of the body [cells]: so near to an obstacle, its centre costs 30 more.
        distance: Distance to obstacles that it keeps where it can [cells].
        unknown: Cost of all other cells; infinite to keep out of them.
        wall: What the body pays more at the nearest place it fits in; it falls linearly to 0 at `distance`.
    """
    return np.asarray(_costs(blocked, open_cells, radius, distance, unknown, wall))


@compiled
def _costs(blocked: Array, open_cells: Array, radius: float, distance: float, unknown: float, wall: float) -> Array:
    rows, columns = blocked.shape
    reach = int(np.ceil(max(distance, radius)))
    nearest = np.full((rows, columns), np.inf)
    for row in range(rows):
        for column in range(columns):
            if not blocked[row, column] or not _edge(blocked, row, column):
                continue
            for r in range(max(row - reach, 0), min(row + reach + 1, rows)):
                for c in range(max(column - reach, 0), min(column + reach + 1, columns)):
                    apart = (r - row) ** 2 + (c - column) ** 2
                    if apart < nearest[r, c]:
                        nearest[r, c] = apart
    cost = np.empty((rows, columns))
    for row in range(rows):
        for column in range(columns):
            apart = np.sqrt(nearest[row, column])
            price = 1.0 if open_cells[row, column] else unknown
            if blocked[row, column]:
                price = np.inf
            elif apart <= radius:
                price += 30
            elif apart < distance:
                price += wall * (distance - apart) / (distance - radius)
            cost[row, column] = price
    return cost


@compiled
def _edge(blocked: Array, row: int, column: int) -> bool:
    """Whether a cell has a neighbour that is not blocked."""
    for r in range(max(row - 1, 0), min(row + 2, blocked.shape[0])):
        for c in range(max(column - 1, 0), min(column + 2, blocked.shape[1])):
            if not blocked[r, c]:
                return True
    return False


@compiled
def _octile(row: int, column: int, target: Array) -> float:
    """Length of the shortest path on an empty grid to the target; 0 without one."""
    if target[0] < 0:
        return 0.0
    a, b = abs(row - target[0]), abs(column - target[1])
    return max(a, b) + (np.sqrt(2.0) - 1) * min(a, b)


@compiled
def _search(cost: Array, goals: Array, target: Array, margin: float) -> Array:
    rows, columns = cost.shape
    to_go = np.full((rows, columns), np.inf)
    closed = np.zeros((rows, columns), np.bool_)
    keys = np.empty(8 * rows * columns + len(goals) + 1)
    cells = np.empty(len(keys), np.int64)
    size = 0
    for k in range(len(goals)):
        row, column = goals[k]
        if row < 0 or column < 0 or row >= rows or column >= columns:
            continue
        to_go[row, column] = 0.0
        size = _push(keys, cells, size, _octile(row, column, target), row * columns + column)
    bound = np.inf
    while size > 0:
        key, here = keys[0], cells[0]
        size = _pop(keys, cells, size)
        if key > bound:
            break
        row, column = here // columns, here % columns
        if closed[row, column]:
            continue
        closed[row, column] = True
        if row == target[0] and column == target[1]:
            bound = key + margin
        mine = cost[row, column]
        if not np.isfinite(mine):
            mine = 1.0  # a goal inside an obstacle
        for dr in range(-1, 2):
            for dc in range(-1, 2):
                r, c = row + dr, column + dc
                if (dr == 0 and dc == 0) or r < 0 or c < 0 or r >= rows or c >= columns:
                    continue
                if closed[r, c] or not np.isfinite(cost[r, c]):
                    continue
                length = 1.0
                if dr != 0 and dc != 0:
                    if not (np.isfinite(cost[row, c]) and np.isfinite(cost[r, column])):
                        continue
                    length = np.sqrt(2.0)
                price = to_go[row, column] + 0.5 * length * (mine + cost[r, c])
                if price < to_go[r, c]:
                    to_go[r, c] = price
                    size = _push(keys, cells, size, price + _octile(r, c, target), r * columns + c)
    for row in range(rows):
        for column in range(columns):
            if not closed[row, column]:
                to_go[row, column] = np.inf
    return to_go


@compiled
def _push(keys: Array, cells: Array, size: int, key: float, cell: int) -> int:
    """Add an entry to the heap and return its new size."""
    place = size
    while place > 0:
        above = (place - 1) // 2
        if keys[above] <= key:
            break
        keys[place], cells[place] = keys[above], cells[above]
        place = above
    keys[place], cells[place] = key, cell
    return size + 1


@compiled
def _pop(keys: Array, cells: Array, size: int) -> int:
    """Remove the first entry of the heap and return its new size."""
    size -= 1
    key, cell = keys[size], cells[size]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        keys[place], cells[place] = keys[below], cells[below]
        place = below
    keys[place], cells[place] = key, cell
    return size


@compiled
def _downhill(to_go: Array, start: Array) -> Array:
    rows, columns = to_go.shape
    path = np.empty((rows * columns, 2), np.int64)
    path[0] = start
    count = 1
    row, column = start
    while True:
        best, next_row, next_column = to_go[row, column], row, column
        for dr in range(-1, 2):
            for dc in range(-1, 2):
                r, c = row + dr, column + dc
                if 0 <= r < rows and 0 <= c < columns and to_go[r, c] < best:
                    best, next_row, next_column = to_go[r, c], r, c
        if next_row == row and next_column == column:
            return path[:count]
        row, column = next_row, next_column
        path[count, 0], path[count, 1] = row, column
        count += 1


def near_and_visible(goal: Array, hiding: Array, places: Array, nearest: float, farthest: float) -> Array:
    """Return the `places` (H, W) from which a goal cell is near and in view.

    Args:
        goal: Goal cells (H, W).
        hiding: Cells (H, W) that block the view.
        places: Cells (H, W) to choose from.
        nearest: Smallest distance to all goal cells [cells].
        farthest: Largest distance to the goal cell in view [cells].
    """
    return np.asarray(_near_and_visible(goal, hiding, places, nearest, farthest))


@compiled
def _near_and_visible(goal: Array, hiding: Array, places: Array, nearest: float, farthest: float) -> Array:
    rows, columns = goal.shape
    near, too_near = np.zeros(goal.shape, np.bool_), np.zeros(goal.shape, np.bool_)
    reach = int(np.ceil(farthest))
    for row in range(rows):
        for column in range(columns):
            if not goal[row, column]:
                continue
            for r in range(max(row - reach, 0), min(row + reach + 1, rows)):
                for c in range(max(column - reach, 0), min(column + reach + 1, columns)):
                    apart = np.sqrt((r - row) ** 2 + (c - column) ** 2)
                    if apart < nearest:
                        too_near[r, c] = True
                    if apart > farthest or near[r, c] or not places[r, c]:
                        continue
                    near[r, c] = _visible(hiding, r, c, row, column)
    for row in range(rows):
        for column in range(columns):
            near[row, column] = near[row, column] and not too_near[row, column]
    return near


@compiled
def _visible(hiding: Array, row: int, column: int, end_row: int, end_column: int) -> bool:
    """Whether no hiding cell lies between two cells."""
    steps = 2 * max(abs(end_row - row), abs(end_column - column))
    for k in range(1, steps):
        r = int(np.floor(row + 0.5 + (end_row - row) * k / steps))
        c = int(np.floor(column + 0.5 + (end_column - column) * k / steps))
        if hiding[r, c]:
            return False
    return True

"""From triangles to the cells a body can stand in: the first half of Recast's navigation mesh.

Recast's steps (Mononen, "Recast Navigation", as habitat-sim calls it): voxelise the triangles into solid spans per
column, drop what is too steep, too low or beside a drop, link open spans to their neighbours, and shrink the result
by the body's radius. Heights are in cells above the lowest point. Arithmetic is float32 as in Recast, because walls
that lie on cell borders are common and rounding decides on which side they fall.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly

Array = NDArray[Any]

TOP = 0xFFFF  # no ceiling
STEP_X = np.array([-1, 0, 1, 0])
STEP_Z = np.array([0, 1, 0, -1])
X, Y, Z = np.arange(3)  # NumPy integers: literals would be compiled for one by one


class Spans(NamedTuple):
    """Solid spans as one linked list per column, from the ground up."""

    head: Array  # (rows, columns) int32, -1 = empty
    low: Array  # (n,) int32
    high: Array  # (n,) int32
    walkable: Array  # (n,) bool
    above: Array  # (n,) int32, -1 = last


class OpenCells(NamedTuple):
    """Open space over walkable spans, column by column."""

    first: Array  # (rows * columns + 1,) int32: the cells of column k are first[k] .. first[k + 1]
    column: Array  # (n,) int32, row * columns + column
    floor: Array  # (n,) int32
    height: Array  # (n,) int32
    neighbour: Array  # (n, 4) int32 in the directions -x, +z, +x, -z; -1 = none
    walkable: Array  # (n,) bool
    columns: int


@compiled_exactly
def _divide(polygon: Array, count: int, axis: int, at: float, below: Array, rest: Array) -> tuple[int, int]:
    """Cut a convex polygon at coordinate `at`; returns the corner counts of the part below and of the rest."""
    n_below = n_rest = 0
    for i in range(count):
        j = i - 1 if i > 0 else count - 1
        dj, di = at - polygon[j, axis], at - polygon[i, axis]
        if (dj >= 0) != (di >= 0):
            s = dj / (dj - di)
            for k in range(3):
                below[n_below, k] = rest[n_rest, k] = polygon[j, k] + (polygon[i, k] - polygon[j, k]) * s
            n_below += 1
            n_rest += 1
            if di > 0:
                below[n_below] = polygon[i]
                n_below += 1
            elif di < 0:
                rest[n_rest] = polygon[i]
                n_rest += 1
        else:
            if di >= 0:
                below[n_below] = polygon[i]
                n_below += 1
            if di <= 0:
                rest[n_rest] = polygon[i]
                n_rest += 1
    return n_below, n_rest


@compiled_exactly
def _extent(polygon: Array, count: int, axis: int) -> tuple[float, float]:
    low = high = polygon[0, axis]
    for i in range(1, count):
        low, high = min(low, polygon[i, axis]), max(high, polygon[i, axis])
    return low, high


@compiled_exactly
def _clamped(cell: int, count: int) -> int:
    """What lies on the far border belongs to the last cell: outer walls of box-shaped scenes do."""
    return min(max(cell, 0), count - 1)


@compiled_exactly
def _add_span(
    head: Array,
    low: Array,
    high: Array,
    walkable: Array,
    above: Array,
    used: int,
    row: int,
    column: int,
    span_low: int,
    span_high: int,
    is_walkable: bool,
    merge: int,
) -> None:
    """Insert a span in its column, merged with those it touches; the walkable flag of the top one wins."""
    previous, current = -1, head[row, column]
    while current != -1 and low[current] <= span_high:
        following = above[current]
        if high[current] < span_low:
            previous = current
        else:
            span_low = min(span_low, low[current])
            span_high = max(span_high, high[current])
            if abs(span_high - high[current]) <= merge:
                is_walkable = is_walkable or walkable[current]
            if previous == -1:
                head[row, column] = following
            else:
                above[previous] = following
        current = following
    low[used], high[used], walkable[used] = span_low, span_high, is_walkable
    if previous == -1:
        above[used] = head[row, column]
        head[row, column] = used
    else:
        above[used] = above[previous]
        above[previous] = used


@compiled_exactly
def _doubled(array: Array) -> Array:
    grown = np.empty(2 * len(array), array.dtype)
    grown[: len(array)] = array
    return grown


@compiled_exactly
def voxelise(
    vertices: Array,
    faces: Array,
    origin: Array,
    shape: tuple[int, int],
    extent_y: float,
    cell_size: float,
    cell_height: float,
    steepest: float,
    climb: int,
) -> Spans:
    """Solid spans of a triangle mesh. `steepest` is the least y of a walkable unit normal, `climb` in cells."""
    rows, columns = shape
    head = np.full((rows, columns), -1, np.int32)
    size = rows * columns + 1024
    low, high, above = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    walkable = np.empty(size, np.bool_)
    used = 0
    inverse_size, inverse_height = np.float32(1) / cell_size, np.float32(1) / cell_height
    polygon, row_part, row_rest, part, rest = [np.empty((12, 3), np.float32) for _ in range(5)]
    for f in range(len(faces)):
        count = np.int64(3)
        for k in range(3):
            polygon[k] = vertices[faces[f, k]]
        e0, e1 = polygon[1] - polygon[0], polygon[2] - polygon[0]
        nx, ny = e0[1] * e1[2] - e0[2] * e1[1], e0[2] * e1[0] - e0[0] * e1[2]
        nz = e0[0] * e1[1] - e0[1] * e1[0]
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        is_walkable = ny * (np.float32(1) / length) > steepest
        lowest, highest = _extent(polygon, count, Z)
        z0 = _clamped(int((lowest - origin[2]) * inverse_size), rows)
        z1 = _clamped(int((highest - origin[2]) * inverse_size), rows)
        for z in range(z0, z1 + 1):
            border = (origin[2] + np.float32(z) * cell_size) + cell_size
            n_row, count = _divide(polygon, count, Z, border, row_part, row_rest)
            polygon, row_rest = row_rest, polygon
            if n_row < 3:
                continue
            lowest, highest = _extent(row_part, n_row, X)
            x0 = _clamped(int((lowest - origin[0]) * inverse_size), columns)
            x1 = _clamped(int((highest - origin[0]) * inverse_size), columns)
            for x in range(x0, x1 + 1):
                border = (origin[0] + np.float32(x) * cell_size) + cell_size
                n, n_row = _divide(row_part, n_row, X, border, part, rest)
                row_part, rest = rest, row_part
                if n < 3:
                    continue
                lowest, highest = _extent(part, n, Y)
                bottom, top = lowest - origin[1], highest - origin[1]
                if top < 0 or bottom > extent_y:
                    continue
                bottom, top = max(bottom, np.float32(0)), min(top, extent_y)
                span_low = int(np.floor(bottom * inverse_height))
                span_high = max(int(np.ceil(top * inverse_height)), span_low + 1)
                if used == len(low):
                    low, high, walkable, above = _doubled(low), _doubled(high), _doubled(walkable), _doubled(above)
                _add_span(head, low, high, walkable, above, used, z, x, span_low, span_high, is_walkable, climb)
                used += 1
    return Spans(head, low[:used], high[:used], walkable[:used], above[:used])


@compiled_exactly
def allow_low_obstacles(spans: Spans, climb: int) -> None:
    """A low thing on walkable ground can be stepped on: kerbs, door sills, thin carpets."""
    head, _, high, walkable, above = spans
    for start in head.ravel():
        span, ground, ground_walkable = start, 0, False
        while span != -1:
            itself = walkable[span]
            if not itself and ground_walkable and abs(high[span] - ground) <= climb:
                walkable[span] = True
            # One step only: the flag as it was, so that it does not climb a stack of obstacles.
            ground, ground_walkable = high[span], itself
            span = above[span]


@compiled_exactly
def remove_ledges(spans: Spans, body: int, climb: int) -> None:
    """Spans beside a drop deeper than `climb`, or on a slope steeper than it, are not walkable."""
    head, low, high, walkable, above = spans
    rows, columns = head.shape
    for z in range(rows):
        for x in range(columns):
            span = head[z, x]
            while span != -1:
                if walkable[span]:
                    bottom = high[span]
                    top = low[above[span]] if above[span] != -1 else TOP
                    drop, lowest, highest = TOP, bottom, bottom
                    for d in range(4):
                        nx, nz = x + STEP_X[d], z + STEP_Z[d]
                        if nx < 0 or nz < 0 or nx >= columns or nz >= rows:
                            drop = min(drop, -climb - bottom)
                            continue
                        other = head[nz, nx]
                        other_top = low[other] if other != -1 else TOP
                        if min(top, other_top) - max(bottom, -climb) > body:
                            drop = min(drop, -climb - bottom)
                        while other != -1:
                            other_bottom = high[other]
                            other_top = low[above[other]] if above[other] != -1 else TOP
                            if min(top, other_top) - max(bottom, other_bottom) > body:
                                drop = min(drop, other_bottom - bottom)
                                if abs(other_bottom - bottom) <= climb:
                                    lowest, highest = min(lowest, other_bottom), max(highest, other_bottom)
                            other = above[other]
                    if drop < -climb or highest - lowest > climb:
                        walkable[span] = False
                span = above[span]


@compiled_exactly
def remove_low_ceilings(spans: Spans, body: int) -> None:
    """Spans with less than `body` cells of air above are not walkable."""
    head, low, high, walkable, above = spans
    for span in head.ravel():
        while span != -1:
            top = low[above[span]] if above[span] != -1 else TOP
            if top - high[span] <= body:
                walkable[span] = False
            span = above[span]


@compiled_exactly
def open_cells(spans: Spans, body: int, climb: int) -> OpenCells:
    """Open space over walkable spans, each linked to where a body can step from it."""
    head, low, high, walkable, above = spans
    rows, columns = head.shape
    first = np.zeros(rows * columns + 1, np.int32)
    size = 0
    for k, start in enumerate(head.ravel()):
        first[k] = size
        span = start
        while span != -1:
            size += walkable[span]
            span = above[span]
    first[-1] = size
    column, floor, height = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size, np.int32)
    i = 0
    for k, start in enumerate(head.ravel()):
        span = start
        while span != -1:
            if walkable[span]:
                top = low[above[span]] if above[span] != -1 else TOP
                column[i], floor[i] = k, high[span]
                height[i] = min(top - high[span], 255)
                i += 1
            span = above[span]
    neighbour = np.full((size, 4), -1, np.int32)
    for i in range(size):
        z, x = column[i] // columns, column[i] % columns
        for d in range(4):
            nx, nz = x + STEP_X[d], z + STEP_Z[d]
            if nx < 0 or nz < 0 or nx >= columns or nz >= rows:
                continue
            k = nz * columns + nx
            for j in range(first[k], first[k + 1]):
                air = min(floor[i] + height[i], floor[j] + height[j]) - max(floor[i], floor[j])
                if air >= body and abs(floor[i] - floor[j]) <= climb:
                    neighbour[i, d] = j
                    break
    return OpenCells(first, column, floor, height, neighbour, np.ones(size, np.bool_), columns)


@compiled_exactly
def boundary_distance(cells: OpenCells) -> Array:
    """(n,) int32 chamfer distance (2 per straight, 3 per diagonal step) to the nearest cell on the boundary.

    The boundary is where walkable cells meet others, seen from both sides.
    """
    neighbour, walkable = cells.neighbour, cells.walkable
    n = len(walkable)
    distance = np.full(n, TOP, np.int32)
    for i in range(n):
        for d in range(4):
            j = neighbour[i, d]
            if j == -1 or walkable[j] != walkable[i]:
                distance[i] = 0
    for sweep in range(2):
        for step in range(n):
            i = step if sweep == 0 else n - 1 - step
            for d in (0, 3) if sweep == 0 else (2, 1):
                j = neighbour[i, d]
                if j != -1:
                    distance[i] = min(distance[i], distance[j] + 2)
                    j = neighbour[j, (d + 3) % 4]
                    if j != -1:
                        distance[i] = min(distance[i], distance[j] + 3)
    return distance


@compiled_exactly
def erode(cells: OpenCells, radius: int) -> None:
    """Keep a body of `radius` cells off the boundary."""
    distance = boundary_distance(cells)
    for i in range(len(distance)):
        if distance[i] < 2 * radius:
            cells.walkable[i] = False

"""Compiled inner loops of `depth_mapper`: points into cells, and rays through free cells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled

Array = NDArray[Any]

HIT, FLOOR = 1, 2  # marks of a cell in one image
OCCUPIED, FREE, SEEN, HEIGHT, FIRST_CATEGORY = range(5)  # channels


@compiled
def add_images(
    maps: Array,
    depth: Array,
    category: Array,
    poses: Array,
    x: Array,
    y: Array,
    corner: Array,
    cell: float,
    heights: Array,
    reach: Array,
) -> None:
    """Add one image to each map; see `DepthMapper`.

    Args:
        maps: (N, H, W, C) float32, changed in place.
        depth: (N, height, width) [m].
        category: (N, height, width) or (0, 0, 0) int; 0 for none, k for channel FIRST_CATEGORY + k - 1.
        poses: (N, 4, 4).
        x: Rays of the columns (width,).
        y: Rays of the rows (height,).
        corner: (x, z) of the map [m].
        cell: Side of a cell [m].
        heights: (3,) [m]: lowest obstacle, top of the body, ceiling.
        reach: (4,) [m]: shortest reading, longest reading, distance that counts as seen, radius of the body.
    """
    rows, columns = maps.shape[1], maps.shape[2]
    marks = np.zeros((rows, columns), np.uint8)
    touched = np.empty(depth.shape[1] * depth.shape[2] + depth.shape[2] * 4 * (rows + columns) + 4096, np.int64)
    width = depth.shape[2]
    nearest, farthest = np.empty(width), np.empty(width)
    for n in range(depth.shape[0]):
        grid, pose = maps[n], poses[n]
        nearest[:], farthest[:] = np.inf, 0.0
        count = _points(
            grid, depth[n], category, n, pose, x, y, corner, cell, heights, reach, marks, touched, nearest, farthest
        )
        if abs(pose[1, 2]) < 0.02 and abs(pose[1, 0]) < 0.02:
            count = _rays(grid, pose, x, y, corner, cell, heights, reach, marks, touched, nearest, farthest, count)
        count = _body(pose, corner, cell, reach[3], marks, touched, count)
        for i in range(count):
            row, column = touched[i] // columns, touched[i] % columns
            if marks[row, column] & HIT:
                grid[row, column, OCCUPIED] += 1
            else:
                grid[row, column, FREE] += 1
            marks[row, column] = 0


@compiled
def _points(
    grid: Array,
    depth: Array,
    category: Array,
    n: int,
    pose: Array,
    x: Array,
    y: Array,
    corner: Array,
    cell: float,
    heights: Array,
    reach: Array,
    marks: Array,
    touched: Array,
    nearest: Array,
    farthest: Array,
) -> int:
    """Mark the cells of all points; return their number. Depths of the nearest obstacle and farthest point a column."""
    rows, columns = grid.shape[0], grid.shape[1]
    count = 0
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            d = depth[v, u]
            if not (reach[0] < d < np.inf):
                continue
            far = d >= reach[1]
            if d > farthest[u]:
                farthest[u] = min(d, reach[1])
            if far:
                continue
            rx, ry = x[u], y[v]
            height = pose[1, 3] + d * (pose[1, 0] * rx + pose[1, 1] * ry - pose[1, 2])
            if height > heights[2] or height < -0.3:
                continue
            px = pose[0, 3] + d * (pose[0, 0] * rx + pose[0, 1] * ry - pose[0, 2])
            pz = pose[2, 3] + d * (pose[2, 0] * rx + pose[2, 1] * ry - pose[2, 2])
            row, column = int(np.floor((pz - corner[1]) / cell)), int(np.floor((px - corner[0]) / cell))
            if height > heights[0] and height < heights[1] and d < nearest[u]:
                nearest[u] = d
            if row < 0 or column < 0 or row >= rows or column >= columns:
                continue
            if height > grid[row, column, HEIGHT]:
                grid[row, column, HEIGHT] = height
            if category.shape[0] > 0 and category[n, v, u] > 0:
                grid[row, column, FIRST_CATEGORY + category[n, v, u] - 1] += 1
            if height >= heights[1]:
                continue
            mark = HIT if height > heights[0] else FLOOR
            if marks[row, column] == 0:
                touched[count] = row * columns + column
                count += 1
            marks[row, column] |= mark
    return count


@compiled
def _rays(
    grid: Array,
    pose: Array,
    x: Array,
    y: Array,
    corner: Array,
    cell: float,
    heights: Array,
    reach: Array,
    marks: Array,
    touched: Array,
    nearest: Array,
    farthest: Array,
    count: int,
) -> int:
    """Mark the cells before the nearest obstacle of each column as free, and as seen. The camera must be level.

    Cells so near that the image ends above the lowest obstacle are seen, but not known to be free.
    """
    rows, columns = grid.shape[0], grid.shape[1]
    blind = (pose[1, 3] - heights[0]) / max(-y[-1], 1e-9)
    for u in range(len(x)):
        end = min(nearest[u], farthest[u])
        dx, dz = pose[0, 0] * x[u] - pose[0, 2], pose[2, 0] * x[u] - pose[2, 2]
        length = np.sqrt(1 + x[u] * x[u])
        step = 0.5 * cell / length
        for k in range(int(end / step)):
            d = k * step
            row = int(np.floor((pose[2, 3] + d * dz - corner[1]) / cell))
            column = int(np.floor((pose[0, 3] + d * dx - corner[0]) / cell))
            if row < 0 or column < 0 or row >= rows or column >= columns:
                break
            if d * length <= reach[2]:
                grid[row, column, SEEN] = 1
            if d >= blind and marks[row, column] == 0:
                marks[row, column] = FLOOR
                touched[count] = row * columns + column
                count += 1
    return count


@compiled
def _body(pose: Array, corner: Array, cell: float, radius: float, marks: Array, touched: Array, count: int) -> int:
    """Mark the cells under the body as free."""
    rows, columns = marks.shape
    size = int(np.ceil(radius / cell))
    middle_row = int(np.floor((pose[2, 3] - corner[1]) / cell))
    middle_column = int(np.floor((pose[0, 3] - corner[0]) / cell))
    for row in range(max(middle_row - size, 0), min(middle_row + size + 1, rows)):
        for column in range(max(middle_column - size, 0), min(middle_column + size + 1, columns)):
            away_z = corner[1] + (row + 0.5) * cell - pose[2, 3]
            away_x = corner[0] + (column + 0.5) * cell - pose[0, 3]
            if away_z * away_z + away_x * away_x <= radius * radius and marks[row, column] == 0:
                marks[row, column] = FLOOR
                touched[count] = row * columns + column
                count += 1
    return count


@compiled
def known_bounds(grid: Array, every: int) -> Array:
    """Return (2, 2) first and last row and column of the known cells among each `every`-th; a middle cell if none."""
    rows, columns = grid.shape[0], grid.shape[1]
    found = np.array([[rows, columns], [-1, -1]])
    for row in range(0, rows, every):
        for column in range(0, columns, every):
            if grid[row, column, OCCUPIED] + grid[row, column, FREE] > 0:
                found[0, 0], found[1, 0] = min(found[0, 0], row), max(found[1, 0], row)
                found[0, 1], found[1, 1] = min(found[0, 1], column), max(found[1, 1], column)
    if found[1, 0] < 0:
        found[:, 0], found[:, 1] = rows // 2, columns // 2
    return found

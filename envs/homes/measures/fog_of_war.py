"""Fog of war: the cells of a top-down map that a 2-D field of view has uncovered.

Source: habitat-lab 0.3, `habitat/utils/visualizations/fog_of_war.py`; lines after Dedu, "Bresenham-based supercover
line algorithm". Angles: direction in the map = (row += cos, column += sin).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly

Array = NDArray[Any]


@compiled_exactly
def supercover_line(row: int, column: int, end_row: float, end_column: float) -> Array:
    """All cells (n, 2) that the line touches, in walking order; the end may lie between cells."""
    delta = (abs(end_row - row), abs(end_column - column))
    sign = (1 if end_row > row else -1, 1 if end_column > column else -1)
    major = 0 if delta[0] > delta[1] else 1
    minor = 1 - major
    steps = int(delta[major])
    cells = np.empty((3 * steps + 1, 2), np.int64)
    cell = np.array([row, column])
    cells[0] = cell
    count = 1
    # Both branches of the reference start the error at the first axis' delta; kept, for equal masks.
    error = previous = delta[0]
    for _ in range(steps):
        cell[major] += sign[major]
        error += 2 * delta[minor]
        if error > 2 * delta[major]:
            cell[minor] += sign[minor]
            error -= 2 * delta[major]
            if error + previous <= 2 * delta[major]:
                cells[count] = cell
                cells[count, minor] -= sign[minor]
                count += 1
            if error + previous >= 2 * delta[major]:
                cells[count] = cell
                cells[count, major] -= sign[major]
                count += 1
        cells[count] = cell
        count += 1
        previous = error
    return cells[:count]


@compiled_exactly
def _walk(free: Array, mask: Array, row: int, column: int, angles: Array, reach: float) -> None:
    for angle in angles:
        cells = supercover_line(row, column, row + reach * np.cos(angle), column + reach * np.sin(angle))
        for i in range(len(cells)):
            r, c = cells[i]
            if r < 0 or r >= free.shape[0] or c < 0 or c >= free.shape[1] or free[r, c] == 0:
                break
            mask[r, c] = 1


def reveal(
    free: Array,
    mask: Array,
    cell: tuple[int, int],
    angle: float,
    field_of_view: float = 90.0,
    visibility: float = 1024.0,
) -> None:
    """Set `mask` (H, W) uint8 to 1 where a viewer sees from `cell`; cells with `free` == 0 block.

    `angle` [rad] is the middle of the view, `field_of_view` [deg] its width, `visibility` [cells] its reach.
    """
    half = np.deg2rad(field_of_view) / 2
    angles = np.arange(-half, half, step=1.0 / visibility, dtype=np.float32)
    _walk(free, mask, int(cell[0]), int(cell[1]), angles.astype(np.float64) + angle, float(visibility))

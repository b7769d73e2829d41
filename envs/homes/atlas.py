"""Rectangular patches of texels side by side on one sheet: light maps, and the pictures of exported homes."""

import numpy as np

from envs.homes.scene import Array


def packed(columns: Array, rows: Array, width: int) -> tuple[Array, Array, int]:
    """Left column and top row of each patch: rows of patches of one height, filled from the left."""
    left, top = np.zeros(len(columns), np.int64), np.zeros(len(columns), np.int64)
    height = 0
    for tall in np.unique(rows):
        members = np.flatnonzero(rows == tall)
        end = np.cumsum(columns[members])
        line = np.zeros(len(members), np.int64)
        begin = 0
        for number in range(len(members)):  # at most a few hundred lines; most passes place a whole line
            if begin >= len(members):
                break
            used = end[begin - 1] if begin else 0
            stop = int(np.searchsorted(end, used + width, side="right"))
            line[begin:stop] = number
            left[members[begin:stop]] = end[begin:stop] - columns[members[begin:stop]] - used
            begin = stop
        top[members] = height + line * tall
        height += (int(line.max()) + 1) * int(tall)
    return left, top, height


def samples(columns: Array, rows: Array) -> tuple[Array, Array, Array]:
    """For every texel of every patch: its quad, and its place across and down in 0..1."""
    counts = columns * rows
    quad = np.repeat(np.arange(len(columns)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return quad, inside % columns[quad] / (columns[quad] - 1), inside // columns[quad] / (rows[quad] - 1)

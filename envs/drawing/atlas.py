"""Pack rectangular texel patches into one image: light maps, and the textures of exported homes."""

import numpy as np

from embodia.envs.drawing.scene import Array

SHELVES = np.array([2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256])  # heights of the rows of patches


def packed(columns: Array, rows: Array, width: int) -> tuple[Array, Array, int]:
    """Place patches in an image of a given width.

    Patches stand on shelves of a few heights; each shelf is filled from the left.

    Args:
        columns: Width of each patch (P,) [texels].
        rows: Height of each patch (P,) [texels].
        width: Width of the image [texels].

    Returns:
        Left column and top row of each patch (P,), and the height of the image.
    """
    left, top = np.zeros(len(columns), np.int64), np.zeros(len(columns), np.int64)
    shelf = SHELVES[np.searchsorted(SHELVES, rows)]
    height = 0
    for tall in np.unique(shelf):
        members = np.flatnonzero(shelf == tall)
        end = np.cumsum(columns[members])
        begin = 0
        while begin < len(members):
            used = end[begin - 1] if begin else 0
            stop = int(np.searchsorted(end, used + width, side="right"))
            left[members[begin:stop]] = end[begin:stop] - columns[members[begin:stop]] - used
            top[members[begin:stop]] = height
            height += int(tall)
            begin = stop
    return left, top, height


def samples(columns: Array, rows: Array) -> tuple[Array, Array, Array]:
    """Return for every texel of every patch: its patch, and its position across and down, from 0 to 1."""
    counts = columns * rows
    patch = np.repeat(np.arange(len(columns)), counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return patch, inside % columns[patch] / (columns[patch] - 1), inside // columns[patch] / (rows[patch] - 1)

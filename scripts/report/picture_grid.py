"""Many small pictures as one."""

import math

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
GAP = 2  # [pixels]


def picture_grid(pictures: Frame, columns: int | None = None, scale: int = 1) -> Frame:
    """Pictures (n, H, W, 3) in rows of `columns`, each pixel repeated `scale` times, on white.

    Args:
        pictures: (n, H, W, 3) uint8.
        columns: by default about the square root of n.
        scale: of a pixel.
    """
    pictures = pictures.repeat(scale, 1).repeat(scale, 2)
    n, height, width, channels = pictures.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    grid = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        grid[top : top + height, left : left + width] = picture
    return grid

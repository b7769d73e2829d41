"""2Shapes and 3Shapes: outlined shapes on black, 32x32 pixels (Löwe et al. 2022, section 5; Reichert & Serre 2013)."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embodia.perception.pictures.scenes import Scenes, shown

Shape = Literal["square", "circle", "triangle"]
TWO_SHAPES: tuple[Shape, ...] = ("square", "circle")
THREE_SHAPES: tuple[Shape, ...] = ("square", "circle", "triangle")
SIZE = 32
LINE = 3


def outlined_shapes(n: int, seed: int, shapes: Sequence[Shape] = TWO_SHAPES) -> Scenes:
    """Generate n binary images with one of each shape, entirely inside. Pixels where two shapes cross are OVERLAP."""
    rng = np.random.default_rng(seed)
    stamps = [STAMPS[shape] for shape in shapes]
    images, labels = np.zeros((n, SIZE, SIZE, 1), np.uint8), np.zeros((n, SIZE, SIZE), np.int64)
    for i in range(n):
        inside = [_placed(stamp, rng) for stamp in stamps]
        labels[i] = shown(inside)
        images[i, ..., 0] = 255 * np.any(inside, 0)
    return Scenes(images, labels)


def _placed(stamp: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    height, width = stamp.shape
    row, column = rng.integers(SIZE - height + 1), rng.integers(SIZE - width + 1)
    canvas = np.zeros((SIZE, SIZE), bool)
    canvas[row : row + height, column : column + width] = stamp
    return canvas


def _square(side: int = 13) -> NDArray[Any]:
    stamp = np.ones((side, side), bool)
    stamp[LINE:-LINE, LINE:-LINE] = False
    return stamp


def _circle(side: int = 13) -> NDArray[Any]:
    axis = np.arange(side) - (side - 1) / 2
    radius = np.hypot(axis[:, None], axis)
    return (radius < side / 2) & (radius >= side / 2 - LINE)


def _triangle(base: int = 17, height: int = 9) -> NDArray[Any]:
    """Isosceles triangle with a right angle at the top: each row is a pixel wider on both sides than the one above."""
    row, column = np.mgrid[:height, :base]
    depth = row - np.abs(column - (base - 1) / 2)  # rows below the slanted sides
    slanted = depth < LINE * np.sqrt(2)  # the line's vertical extent at 45 degrees
    return (depth >= 0) & (slanted | (row >= height - LINE))


STAMPS: dict[Shape, NDArray[np.bool_]] = {"square": _square(), "circle": _circle(), "triangle": _triangle()}

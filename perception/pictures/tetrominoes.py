"""Tetrominoes-style scenes: pieces of four squares in saturated colours on black (after Kabra et al. 2019)."""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from embodia.perception.pictures.scenes import Scenes

PIECES = {
    "I": ("####",),
    "O": ("##", "##"),
    "T": ("###", ".#."),
    "S": (".##", "##."),
    "Z": ("##.", ".##"),
    "J": ("#..", "###"),
    "L": ("..#", "###"),
}
COLOURS = np.array(list(product((0, 255), repeat=3))[1:-1], np.uint8)  # blue, green, cyan, red, magenta, yellow


@cache
def orientations() -> tuple[NDArray[np.bool_], ...]:
    """Return the 19 fixed tetrominoes, each (rows, columns) bool."""
    found: dict[tuple[tuple[int, int], bytes], NDArray[np.bool_]] = {}
    for rows in PIECES.values():
        piece = np.array([[cell == "#" for cell in row] for row in rows])
        for turns in range(4):
            turned = np.ascontiguousarray(np.rot90(piece, turns))
            found[(turned.shape[0], turned.shape[1]), turned.tobytes()] = turned
    return tuple(found.values())


def tetrominoes(n: int, seed: int, size: int = 35, cell: int = 5, objects: int = 3) -> Scenes:
    """Generate n images (size, size, 3) of `objects` pieces, entirely inside and without overlap; labels 1..objects.

    Raises:
        ValueError: If the longest piece does not fit.
    """
    if 4 * cell > size:
        raise ValueError(f"a piece of four cells of {cell} pixels does not fit into {size}; make cells smaller")
    rng = np.random.default_rng(seed)
    stamps = [np.kron(piece, np.ones((cell, cell), bool)) for piece in orientations()]
    images, labels = np.zeros((n, size, size, 3), np.uint8), np.zeros((n, size, size), np.int64)
    for image, label in zip(images, labels):
        while not _place(image, label, stamps, objects, rng):
            image[:], label[:] = 0, 0
    return Scenes(images, labels)


def _place(
    image: NDArray[np.uint8],
    label: NDArray[np.int64],
    stamps: list[NDArray[np.bool_]],
    objects: int,
    rng: np.random.Generator,
    tries: int = 50,
) -> bool:
    """Draw the pieces in place. Returns False if no free position was found for a piece."""
    size = len(label)
    for number in range(1, objects + 1):
        stamp = stamps[rng.integers(len(stamps))]
        height, width = stamp.shape
        for _ in range(tries):
            row, column = rng.integers(size - height + 1), rng.integers(size - width + 1)
            window = (slice(row, row + height), slice(column, column + width))
            if not label[window][stamp].any():
                break
        else:
            return False
        label[window][stamp] = number
        image[window][stamp] = COLOURS[rng.integers(len(COLOURS))]
    return True

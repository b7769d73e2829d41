"""Plants from above: overlapping leaves around a centre, each of its own shade, for instance segmentation.

A procedural stand-in for the leaf images of Ren & Zemel 2017 (CVPPP, Scharr et al. 2014).
"""

import numpy as np
from numpy.typing import NDArray

from embodia.perception.pictures.scenes import Scenes

LEAST = 12
"""Smallest number of visible pixels of a leaf."""


def rosettes(n: int, seed: int, size: int = 48, leaves: tuple[int, int] = (3, 10), noise: float = 0.04) -> Scenes:
    """Generate n images (size, size, 3); labels are 0 for soil and 1.. for leaves.

    Args:
        n: Number of images.
        seed: Seed of the random generator.
        size: Side of an image [pixels].
        leaves: Range of the number of leaves.
        noise: Standard deviation of the pixels' noise; colours span 1.
    """
    rng = np.random.default_rng(seed)
    images, labels = np.empty((n, size, size, 3)), np.zeros((n, size, size), np.int64)
    for i in range(n):
        number = int(rng.integers(leaves[0], leaves[1] + 1))
        while np.bincount(labels[i].ravel(), minlength=number + 1)[1:].min() < LEAST:
            images[i], labels[i] = _plant(number, size, rng)
    images += rng.normal(0, noise, images.shape)
    return Scenes((255 * images.clip(0, 1)).round().astype(np.uint8), labels)


def _plant(number: int, size: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return an image (size, size, 3) and its labels (size, size)."""
    y, x = (np.mgrid[:size, :size] + 0.5) * 48 / size
    image = np.full((size, size, 3), (0.35, 0.25, 0.15)) * rng.uniform(0.7, 1.2)
    labels = np.zeros((size, size), np.int64)
    centre = rng.uniform(21, 27, 2)
    turn = rng.uniform(0, 2 * np.pi)
    angles = turn + 2 * np.pi * (np.arange(number) + rng.uniform(-0.25, 0.25, number)) / number
    for label, angle in enumerate(rng.permutation(angles), start=1):
        length, breadth = rng.uniform(5.5, 8.5), rng.uniform(2.8, 4.2)  # half axes
        middle = centre + (length + rng.uniform(-0.5, 2.0)) * np.array([np.sin(angle), np.cos(angle)])
        along = np.cos(angle) * (x - middle[1]) + np.sin(angle) * (y - middle[0])
        across = np.cos(angle) * (y - middle[0]) - np.sin(angle) * (x - middle[1])
        inside = np.hypot(along / length, across / breadth) < 1
        shade = rng.uniform(0.45, 1.0) * (1 + 0.15 * along / length - 0.15 * np.abs(across) / breadth)
        image[inside] = (shade[..., None] * (rng.uniform(0.2, 0.5), 0.85, rng.uniform(0.15, 0.35)))[inside]
        labels[inside] = label
    return image, labels

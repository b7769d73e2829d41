"""Images of discs in four colours, and the set of their colours and centres, for set prediction."""

from typing import NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

RADIUS = 0.105
"""Radius of a disc, as a share of the image."""
COLOURS = np.array([(0.9, 0.2, 0.2), (0.2, 0.8, 0.3), (0.3, 0.4, 0.95), (0.9, 0.8, 0.2)])


class Discs(NamedTuple):
    """n images with sets of at most M elements."""

    images: NDArray[np.uint8]  # (n, size, size, 3)
    labels: NDArray[np.int64]  # (n, M): index in COLOURS, or -1 for padding
    values: NDArray[np.float32]  # (n, M, 2): row and column of the centre, as shares of the image

    def space(self) -> spaces.Dict:
        """Return the observation space of one image."""
        return spaces.Dict({"image": spaces.Box(0, 255, self.images.shape[1:], np.uint8)})


def coloured_discs(n: int, seed: int, size: int = 24, objects: tuple[int, int] = (1, 6)) -> Discs:
    """Generate n images of discs, whose centres are at least a radius apart.

    The elements of a set come in random order.
    """
    rng = np.random.default_rng(seed)
    images = rng.normal(0.15, 0.05, (n, size, size, 3))
    labels, values = np.full((n, objects[1]), -1, np.int64), np.zeros((n, objects[1], 2), np.float32)
    grid = (np.moveaxis(np.mgrid[:size, :size], 0, -1) + 0.5) / size
    for image, label, value in zip(images, labels, values):
        number = int(rng.integers(objects[0], objects[1] + 1))
        label[:number], value[:number] = rng.integers(len(COLOURS), size=number), _apart(number, rng)
        for k in range(number):
            image[np.linalg.norm(grid - value[k], axis=-1) < RADIUS] = COLOURS[label[k]]
    return Discs((255 * images.clip(0, 1)).round().astype(np.uint8), labels, values)


def _apart(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return centres (number, 2) that are at least a radius apart."""
    while True:
        centres = rng.uniform(0.1, 0.9, (number, 2))
        distances = np.linalg.norm(centres[:, None] - centres, axis=-1) + np.eye(number)
        if distances.min(initial=1.0) > RADIUS:
            return centres

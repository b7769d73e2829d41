"""Images of 64x64 pixels with one to four shapes of ten classes, and their boxes, for detection and tracking."""

from typing import NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.perception.pictures.shapes10 import Array, inside
from embodia.perception.structured.detection import Boxes

NAMES = ("disc", "square", "triangle", "cross", "ring", "star", "bar", "half-disc", "frame", "L")
SEEN = 0.6
"""Smallest share of a shape that is not covered by others."""


class ShapeScenes(NamedTuple):
    """n images with the boxes of their shapes."""

    images: NDArray[np.uint8]  # (n, size, size, 3)
    truth: list[Boxes]  # of the whole shapes; labels are indices in NAMES

    def space(self) -> spaces.Dict:
        """Return the observation space of one image."""
        return spaces.Dict({"rgb": spaces.Box(0, 255, self.images.shape[1:], np.uint8)})


def shape_scenes(n: int, seed: int, objects: tuple[int, int] = (1, 4), size: int = 64) -> ShapeScenes:
    """Generate n images.

    Background, colours and noise are those of `shapes10`; radii are 5 to 10 pixels. Shapes lie inside the image. Later
    shapes cover earlier ones, but never more than 40 % of one.

    Args:
        n: number of images.
        seed: seed of the random generator.
        objects: range of the number of shapes per image.
        size: side of an image [pixels].
    """
    rng = np.random.default_rng(seed)
    images = np.empty((n, size, size, 3), np.uint8)
    truth = []
    for i in range(n):
        picture, ground = background(rng, size)
        masks: list[NDArray[np.bool_]] = []
        kinds: list[int] = []
        for _ in range(rng.integers(objects[0], objects[1] + 1)):
            label = int(rng.integers(10))
            mask = placed(rng, label, size, masks)
            picture[mask] = colour(rng, ground)
            masks.append(mask)
            kinds.append(label)
        noisy = picture + rng.normal(0, 0.05, picture.shape)
        images[i] = (noisy.clip(0, 1) * 255).astype(np.uint8)
        boxes = np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4)
        truth.append(Boxes(boxes, np.array(kinds, np.int64), np.zeros(len(kinds), bool)))
    return ShapeScenes(images, truth)


def background(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Return a shaded background (size, size, 3), from 0 to 1, and its mean colour (3,)."""
    ground, slope = rng.uniform(0, 0.6, 3), rng.normal(0, 0.15, (2, 3))
    along = (np.arange(size) + 0.5) * 2 / size - 1
    return ground + slope[0] * along[None, :, None] + slope[1] * along[:, None, None], ground


def colour(rng: np.random.Generator, ground: Array) -> Array:
    """Return a colour (3,) that differs from the background's."""
    while np.abs((found := rng.uniform(0, 1, 3)) - ground).sum() <= 0.7:
        pass
    return found


def placed(rng: np.random.Generator, label: int, size: int, others: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Return the mask (size, size) of a shape that covers no other shape too much."""
    while True:
        radius, turn = rng.uniform(5, 10), rng.uniform(0, 2 * np.pi)
        mask = shape_mask(label, rng.uniform(radius, size - radius, 2), radius, turn, size)
        if all((other & ~mask).sum() >= SEEN * other.sum() for other in others):
            return mask


def shape_mask(label: int, centre: Array, radius: float, turn: float, size: int) -> NDArray[np.bool_]:
    """Return the pixels (size, size) of a shape with a centre (x, y), radius [pixels] and rotation [rad]."""
    along = np.arange(size) + 0.5
    dx, dy = (along - centre[0])[None, :] / radius, (along - centre[1])[:, None] / radius
    cos, sin = np.cos(turn), np.sin(turn)
    return np.asarray(inside(label, cos * dx + sin * dy, cos * dy - sin * dx), bool)


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1

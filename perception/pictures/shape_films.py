"""Videos of moving shapes that pass behind a wall and may leave it in another direction, for tracking."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.perception.pictures.shape_scenes import background, box_of, colour, shape_mask
from embodia.perception.pictures.shapes10 import Array

WALL = 0.25
"""Width of the wall as a share of the image."""
LEAST = 0.3
"""Smallest visible share of a shape that has a box."""


class ShapeFilm(NamedTuple):
    """A video with the boxes of its shapes."""

    frames: NDArray[np.uint8]  # (T, size, size, 3)
    boxes: list[Array]  # (n, 4) float32 of each frame: the visible part [pixels]
    ids: list[Array]  # (n,) int64 of each frame, from 1


def shape_film(seed: int, length: int = 60, objects: int = 5, size: int = 96, turns: bool = True) -> ShapeFilm:
    """Generate a video. Shapes bounce off the borders, later ones cover earlier ones, the wall covers all.

    Args:
        seed: seed of the random generator.
        length: number of frames T.
        objects: number of shapes.
        size: side of a frame [pixels].
        turns: whether shapes change their vertical velocity while they are behind the wall.
    """
    rng = np.random.default_rng(seed)
    still, ground = background(rng, size)
    wall = slice(int(size * (1 - WALL) / 2), int(size * (1 + WALL) / 2))
    kinds, turn = rng.integers(10, size=objects), rng.uniform(0, 2 * np.pi, objects)
    radius, colours = rng.uniform(6, 10, objects), [colour(rng, ground) for _ in range(objects)]
    place = rng.uniform(radius[:, None], size - radius[:, None], (objects, 2))
    speed = np.stack([rng.choice([-1, 1], objects) * rng.uniform(1, 2.5, objects), rng.uniform(-1, 1, objects)], 1)
    frames, boxes, ids = np.empty((length, size, size, 3), np.uint8), [], []
    for t in range(length):
        picture, owner = still.copy(), np.zeros((size, size), int)
        whole = []
        for k in range(objects):
            mask = shape_mask(int(kinds[k]), place[k], radius[k], turn[k], size)
            picture[mask], owner[mask] = colours[k], k + 1
            whole.append(mask.sum())
        picture[:, wall], owner[:, wall] = 0.5, 0
        seen = [k for k in range(objects) if (owner == k + 1).sum() >= max(LEAST * whole[k], 4)]
        boxes.append(np.array([box_of(owner == k + 1) for k in seen], np.float32).reshape(-1, 4))
        ids.append(np.array(seen, np.int64) + 1)
        frames[t] = ((picture + rng.normal(0, 0.03, picture.shape)).clip(0, 1) * 255).astype(np.uint8)
        place = place + speed
        out = (place < radius[:, None]) | (place > size - radius[:, None])
        speed = np.where(out, -speed, speed)
        place = np.clip(place, radius[:, None], size - radius[:, None])
        middle = np.abs(place[:, 0] - size / 2) < np.abs(speed[:, 0]) / 2
        if turns and middle.any():
            speed[middle, 1] = rng.uniform(-2.5, 2.5, middle.sum())
    return ShapeFilm(frames, boxes, ids)

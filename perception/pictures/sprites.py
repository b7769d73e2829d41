"""Scenes of textured sprites on a textured ground, later ones in front: where graph cuts of patches are tried."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.perception.pictures.scenes import Scenes

SHAPES = ("disc", "square", "triangle", "cross", "bar")


def sprites(
    n: int, seed: int, objects: tuple[int, int] = (1, 4), area: tuple[float, float] = (0.05, 0.15), size: int = 64
) -> Scenes:
    """n pictures (size, size, 3) of a number of sprites within `objects`, each of a share of the picture within `area`.

    A texture is a grating between two colours of about one hue, with noise; every sprite differs from its ground by at
    least 0.6 of the RGB cube's side, summed over the channels. A sprite reaches over the border by less than half;
    one that would have or leave another fewer than 1 % of the pixels is left out, so there may be fewer.
    """
    rng = np.random.default_rng(seed)
    images, labels = np.empty((n, size, size, 3), np.uint8), np.zeros((n, size, size), np.int64)
    for i in range(n):
        ground = rng.uniform(0, 1, 3)
        picture = _texture(ground, size, rng)
        label = labels[i]
        number = 0
        for _ in range(rng.integers(objects[0], objects[1] + 1)):
            inside = _shape(rng.choice(SHAPES), rng.uniform(*area), size, rng)
            texture = _texture(_unlike(ground, rng), size, rng)
            painted = np.where(inside, number + 1, label)
            if np.bincount(painted.ravel(), minlength=number + 2)[1:].min() < 0.01 * size**2:
                continue
            number += 1
            label[:] = painted
            picture = np.where(inside[..., None], texture, picture)
        images[i] = (255 * picture.clip(0, 1)).astype(np.uint8)
    return Scenes(images, labels)


def _unlike(ground: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    while True:
        colour = rng.uniform(0, 1, 3)
        if np.abs(colour - ground).sum() >= 0.6:
            return colour


def _texture(colour: NDArray[Any], size: int, rng: np.random.Generator) -> NDArray[Any]:
    """(size, size, 3): a grating of a random direction and a wavelength of 4 to 16 pixels about a colour."""
    y, x = np.mgrid[:size, :size]
    angle, wavelength, phase = rng.uniform(0, np.pi), rng.uniform(4, 16), rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / wavelength + phase)
    contrast = rng.uniform(0.05, 0.15) * (1 + 0.3 * rng.normal(size=3))
    return colour + wave[..., None] * contrast + rng.normal(0, 0.02, (size, size, 3))


def _shape(name: str, area: float, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(size, size): a shape of about this share of the picture, turned at random, its centre inside."""
    unit = {"disc": np.pi, "square": 4 * 0.75**2, "triangle": 3 * np.sqrt(3) / 4, "cross": 5 * 0.6**2, "bar": 2 * 0.8}
    scale = size * np.sqrt(area / unit[name])
    y, x = np.mgrid[:size, :size]
    row, column = rng.uniform(0.2 * size, 0.8 * size, 2)
    turn = rng.uniform(0, 2 * np.pi)
    u = (np.cos(turn) * (x - column) + np.sin(turn) * (y - row)) / scale
    v = (np.cos(turn) * (y - row) - np.sin(turn) * (x - column)) / scale
    if name == "disc":
        return np.hypot(u, v) < 1
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) < 0.75
    if name == "triangle":
        return (v < 0.5) & (v > np.sqrt(3) * np.abs(u) - 1)
    if name == "cross":
        return (np.minimum(np.abs(u), np.abs(v)) < 0.3) & (np.maximum(np.abs(u), np.abs(v)) < 0.9)
    return (np.abs(u) < 1) & (np.abs(v) < 0.4)

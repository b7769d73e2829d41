"""Scenes of textured, overlapping sprites on a textured background, for testing graph cuts of patches."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.perception.pictures.scenes import Scenes

SHAPES = ("disc", "square", "triangle", "cross", "bar")


def sprites(
    n: int, seed: int, objects: tuple[int, int] = (1, 4), area: tuple[float, float] = (0.05, 0.15), size: int = 64
) -> Scenes:
    """Generate n images of textured sprites.

    A texture is a grating of two colours of about the same hue, with noise. Each sprite's colour differs from the
    background's by at least 0.6, summed over channels in [0, 1]. The centre of a sprite lies inside the image. A sprite
    is skipped if it, or a sprite that it covers, would keep fewer than 1 % of the pixels, so an image may have fewer.

    Args:
        n: Number of images.
        seed: Seed of the random generator.
        objects: Range of the number of sprites per image.
        area: Range of a sprite's share of the image.
        size: Side of an image [pixels].
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
    """(size, size, 3): a grating around a colour, with random direction and a wavelength of 4 to 16 pixels."""
    y, x = np.mgrid[:size, :size]
    angle, wavelength, phase = rng.uniform(0, np.pi), rng.uniform(4, 16), rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / wavelength + phase)
    contrast = rng.uniform(0.05, 0.15) * (1 + 0.3 * rng.normal(size=3))
    return colour + wave[..., None] * contrast + rng.normal(0, 0.02, (size, size, 3))


def _shape(name: str, area: float, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(size, size) bool: a randomly rotated shape of about this share of the image, with its centre inside."""
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

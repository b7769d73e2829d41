"""Ten shape classes in 32x32 images; colour, position, size and rotation are nuisances."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]

SPACE = spaces.Dict({"image": spaces.Box(0, 255, (32, 32, 3), np.uint8)})


def shapes10(n: int, seed: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Generate n images. Returns images (n, size, size, 3) uint8 and classes (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    grid = (np.arange(size) + 0.5) * 32 / size
    y, x = np.meshgrid(grid, grid, indexing="ij")
    centre, radius, turn = rng.uniform(11, 21, (n, 2)), rng.uniform(7, 10, n), rng.uniform(0, 2 * np.pi, n)
    dx, dy = x - centre[:, 0, None, None], y - centre[:, 1, None, None]
    cos, sin = (f(turn)[:, None, None] / radius[:, None, None] for f in (np.cos, np.sin))
    hit = np.empty((n, size, size), bool)
    for label in range(10):
        of = labels == label
        hit[of] = inside(label, (cos * dx + sin * dy)[of], (cos * dy - sin * dx)[of])
    back = rng.uniform(0, 0.6, (n, 3))
    front = rng.uniform(0, 1, (n, 3))
    while (alike := np.abs(front - back).sum(1) <= 0.7).any():
        front[alike] = rng.uniform(0, 1, (alike.sum(), 3))
    slope = rng.normal(0, 0.15, (n, 2, 1, 1, 3))
    shade = slope[:, 0] * (x / 16 - 1)[..., None] + slope[:, 1] * (y / 16 - 1)[..., None]
    picture = np.where(hit[..., None], front[:, None, None], back[:, None, None] + shade)
    picture = picture + rng.normal(0, 0.05, picture.shape)
    return torch.from_numpy((picture.clip(0, 1) * 255).astype(np.uint8)), torch.from_numpy(labels)


def inside(label: int, u: Array, v: Array) -> Array:
    """Return whether points (u, v) lie inside a shape, in the shape's own frame with radius 1."""
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    box = np.maximum(np.abs(u), np.abs(v))
    return [
        r < 0.85,  # disc
        box < 0.72,  # square
        (v > -0.5) & (v < 1 - np.sqrt(3) * np.abs(u)),  # triangle
        (np.minimum(np.abs(u), np.abs(v)) < 0.27) & (box < 0.9),  # cross
        (r < 0.9) & (r > 0.52),  # ring
        r < 0.62 + 0.36 * np.cos(5 * angle),  # star of five petals
        (np.abs(u) < 0.95) & (np.abs(v) < 0.28),  # bar
        (r < 0.95) & (v > 0),  # half-disc
        (box < 0.78) & (box > 0.45),  # frame
        ((np.abs(u + 0.45) < 0.25) & (np.abs(v) < 0.8)) | ((np.abs(v - 0.55) < 0.25) & (u > -0.7) & (u < 0.7)),  # L
    ][label]

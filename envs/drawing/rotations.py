"""Unit quaternions in the order (x, y, z, w), with any leading axes.

World and body frames are Habitat's: right-handed, +y up, forward -z, right +x; a left turn is positive about +y.
Episode files use this order too; `scene_instance.json` and habitat_sim's attributes use (w, x, y, z).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

FORWARD = np.array([0.0, 0.0, -1.0])
"""Viewing direction of a body in its own frame."""


def from_yaw(yaw: ArrayLike) -> Array:
    """Convert angles about +y [rad] (...,) to quaternions (..., 4)."""
    half = np.asarray(yaw, np.float64) / 2
    zero = np.zeros_like(half)
    return np.stack([zero, np.sin(half), zero, np.cos(half)], axis=-1)


def yaw_of(rotation: ArrayLike) -> Array:
    """Return the angle about +y [rad] (...,), in (-pi, pi], of the viewing direction of a rotation (..., 4)."""
    forward = rotate(rotation, FORWARD)
    return np.arctan2(-forward[..., 0], -forward[..., 2])


def inverse(rotation: ArrayLike) -> Array:
    """Invert rotations (..., 4)."""
    return np.asarray(rotation, np.float64) * np.array([-1.0, -1.0, -1.0, 1.0])


def multiply(first: ArrayLike, second: ArrayLike) -> Array:
    """Hamilton product (..., 4): rotate by `second`, then by `first`."""
    (ax, ay, az, aw), (bx, by, bz, bw) = _components(first), _components(second)
    return np.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        axis=-1,
    )


def rotate(rotation: ArrayLike, vector: ArrayLike) -> Array:
    """Rotate vectors (..., 3) by quaternions (..., 4): v + 2 q x (q x v + w v), expanded for speed."""
    (qx, qy, qz, w), (x, y, z) = _components(rotation), _components(vector)
    tx, ty, tz = 2 * (qy * z - qz * y), 2 * (qz * x - qx * z), 2 * (qx * y - qy * x)
    return np.stack(
        [x + w * tx + qy * tz - qz * ty, y + w * ty + qz * tx - qx * tz, z + w * tz + qx * ty - qy * tx], axis=-1
    )


def _components(vectors: ArrayLike) -> list[Array]:
    array = np.asarray(vectors, np.float64)
    return [array[..., k] for k in range(array.shape[-1])]

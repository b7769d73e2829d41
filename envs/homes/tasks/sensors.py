"""What Habitat's task sensors read, over N worlds at once.

Source: habitat-lab 0.3, `habitat/tasks/nav/nav.py`. Positions (N, 3) [m], rotations (N, 4) quaternions (x, y, z, w),
angles in radians; every reading is float32. Positive angles are to the left.
"""

import hashlib
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.drawing.rotations import FORWARD, from_yaw, inverse, multiply, rotate

Array = NDArray[Any]
GoalFormat = Literal["POLAR", "CARTESIAN"]


def point_goal(
    position: ArrayLike, rotation: ArrayLike, goal: ArrayLike, goal_format: GoalFormat = "POLAR", dimensions: int = 2
) -> Array:
    """The goal seen from a pose: `pointgoal_with_gps_compass` at the present pose, `pointgoal` at the start pose.

    POLAR 2: [distance on the ground, bearing]; POLAR 3: [distance, bearing, angle from the vertical];
    CARTESIAN 2: [forward, right]; CARTESIAN 3: [right, up, backward]. (..., dimensions) float32.
    """
    offset = rotate(inverse(rotation), np.asarray(goal, np.float64) - np.asarray(position, np.float64))
    right, up, back = offset[..., 0], offset[..., 1], offset[..., 2]
    if goal_format == "CARTESIAN":
        reading = [-back, right] if dimensions == 2 else [right, up, back]
        return np.stack(reading, axis=-1).astype(np.float32)
    bearing = -np.arctan2(right, -back)
    if dimensions == 2:
        return np.stack([np.hypot(back, right), bearing], axis=-1).astype(np.float32)
    distance = np.linalg.norm(offset, axis=-1)
    cosine = np.divide(up, distance, out=np.zeros_like(distance), where=distance > 0)
    return np.stack([distance, bearing, np.arccos(cosine)], axis=-1).astype(np.float32)


def gps(position: ArrayLike, start_position: ArrayLike, start_rotation: ArrayLike, dimensions: int = 2) -> Array:
    """Displacement since the start in the start frame: [forward, right], or [right, up, backward] (float32, m)."""
    moved = np.asarray(position, np.float64) - np.asarray(start_position, np.float64)
    offset = rotate(inverse(start_rotation), moved)
    reading = np.stack([-offset[..., 2], offset[..., 0]], axis=-1) if dimensions == 2 else offset
    return reading.astype(np.float32)


def heading(rotation: ArrayLike) -> Array:
    """Yaw in the world, (..., 1) float32 in (-pi, pi]."""
    return _bearing_of_forward(inverse(rotation))


def compass(rotation: ArrayLike, start_rotation: ArrayLike) -> Array:
    """Yaw since the start, (..., 1) float32 in (-pi, pi]."""
    return _bearing_of_forward(multiply(inverse(rotation), start_rotation))


def _bearing_of_forward(rotation: Array) -> Array:
    forward = rotate(rotation, FORWARD)
    return np.arctan2(forward[..., 0], -forward[..., 2])[..., None].astype(np.float32)


def depth_reading(depth: Array, minimum: float, maximum: float, normalize: bool = True) -> Array:
    """Renderer's z-depth [m] (0 where nothing was hit), clipped, and scaled to [0, 1] if `normalize`; float32."""
    clipped = np.clip(depth, minimum, maximum, dtype=np.float32)
    return (clipped - np.float32(minimum)) / np.float32(maximum - minimum) if normalize else clipped


def image_goal_rotation(episode_id: str) -> Array:
    """Where the camera of an ImageNav goal looks, (4,).

    habitat-lab seeds the yaw with Python's `hash(episode_id)`, which changes from process to process; a digest of
    the id keeps a goal's picture the same everywhere.
    """
    seed = int.from_bytes(hashlib.sha256(episode_id.encode()).digest()[:4], "little")
    return from_yaw(np.random.RandomState(seed).uniform(0, 2 * np.pi))

"""Poses of a body on a floor, (x, z, yaw): camera matrices, compositions, and Habitat's GPS and compass.

x and z in metres, yaw in radians, positive to the left; a body at yaw 0 looks along -z. All arrays are (..., 3).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


class PoseJump(ValueError):
    """A pose that moved further in one step than the body can."""


def camera_matrices(pose: ArrayLike, above_floor: float, tilt: ArrayLike = 0.0) -> Array:
    """Return camera-to-world matrices (..., 4, 4) of cameras on bodies; the floor is y = 0.

    Args:
        pose: Planar poses (..., 3).
        above_floor: Height of the camera [m].
        tilt: Angle (...) by which the camera looks up [rad].
    """
    x, z, yaw = np.moveaxis(np.asarray(pose, np.float64), -1, 0)
    cos, sin, up, ahead = np.cos(yaw), np.sin(yaw), np.sin(tilt), np.cos(tilt)
    matrix = np.zeros((*x.shape, 4, 4))
    matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 0, 2] = cos, sin * up, sin * ahead
    matrix[..., 1, 1], matrix[..., 1, 2] = ahead, -up
    matrix[..., 2, 0], matrix[..., 2, 1], matrix[..., 2, 2] = -sin, cos * up, cos * ahead
    matrix[..., 0, 3], matrix[..., 1, 3], matrix[..., 2, 3], matrix[..., 3, 3] = x, above_floor, z, 1.0
    return matrix


def planar_pose(matrix: ArrayLike) -> Array:
    """Return the planar poses (..., 3) of camera-to-world matrices (..., 4, 4); the inverse of `camera_matrices`."""
    matrix = np.asarray(matrix, np.float64)
    yaw = np.arctan2(-matrix[..., 2, 0], matrix[..., 0, 0])
    return np.stack([matrix[..., 0, 3], matrix[..., 2, 3], yaw], axis=-1)


def from_gps(gps: ArrayLike, compass: ArrayLike) -> Array:
    """Return the pose (..., 3) in the frame of the start pose from Habitat's gps (..., 2) and compass (..., 1)."""
    forward, right = np.moveaxis(np.asarray(gps, np.float64), -1, 0)
    return np.stack([right, -forward, np.asarray(compass, np.float64)[..., 0]], axis=-1)


def compose(pose: ArrayLike, motion: ArrayLike) -> Array:
    """Return the pose after a motion that is given in the body's own frame."""
    (x, z, yaw), (dx, dz, turn) = (np.moveaxis(np.asarray(each, np.float64), -1, 0) for each in (pose, motion))
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.stack([x + cos * dx + sin * dz, z - sin * dx + cos * dz, wrapped(yaw + turn)], axis=-1)


def motion_between(before: ArrayLike, after: ArrayLike) -> Array:
    """Return the motion from one pose to another in the frame of the first, so that compose(before, motion) = after."""
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    dx, dz = np.moveaxis(after[..., :2] - before[..., :2], -1, 0)
    cos, sin = np.cos(before[..., 2]), np.sin(before[..., 2])
    return np.stack([cos * dx - sin * dz, sin * dx + cos * dz, wrapped(after[..., 2] - before[..., 2])], axis=-1)


def wrapped(angle: ArrayLike) -> Array:
    """Return angles in [-pi, pi)."""
    return (np.asarray(angle, np.float64) + np.pi) % (2 * np.pi) - np.pi


def check_motion(before: Array, after: Array, farthest: float, first: Array | None = None) -> None:
    """Raise PoseJump if a body of n moved further than `farthest` [m] in one step, or its pose is not finite.

    Args:
        before: Poses (n, 3) before the step.
        after: Poses (n, 3) after it.
        farthest: Longest possible move [m].
        first: Bodies (n,) that have just started an episode, which may be anywhere.
    """
    if not np.isfinite(after).all():
        world = int(np.argwhere(~np.isfinite(after))[0][0])
        raise PoseJump(f"the pose of world {world} is not finite: {after[world].tolist()}; check its gps and compass")
    moved = np.hypot(*(after - before)[:, :2].T)
    jumped = moved > farthest if first is None else (moved > farthest) & ~first
    if jumped.any():
        world = int(np.argmax(jumped))
        raise PoseJump(
            f"the pose of world {world} jumped {moved[world]:.2f} m in one step, and a step is at most {farthest:g} m; "
            "start a new map where an episode starts, or repair the pose"
        )

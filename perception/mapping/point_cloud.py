"""Point clouds from depth images, and the checks of depth and poses that all of mapping shares."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def focal_length(width: int, hfov: float) -> float:
    """Return the focal length [pixels] of a camera with square pixels and a horizontal field of view [deg]."""
    return float(width / 2 / np.tan(np.radians(hfov) / 2))


def pixel_rays(height: int, width: int, hfov: float) -> tuple[Array, Array]:
    """Return x (width,) and y (height,) of the rays (x, y, -1) through the centres of the pixels."""
    focal = focal_length(width, hfov)
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = (height / 2 - np.arange(height) - 0.5) / focal
    return x, y


def unproject(depth: ArrayLike, hfov: float, pose: ArrayLike) -> tuple[Array, Array]:
    """Return the points that the pixels of depth images see.

    Args:
        depth: Depth along the optical axis [m], (..., H, W). Pixels that are 0, NaN or infinite have no reading.
        hfov: Horizontal field of view [deg].
        pose: Camera poses (..., 4, 4).

    Returns:
        Points (..., H, W, 3) in the world [m], and which pixels have a reading (..., H, W). Points without a reading
        lie in the camera.

    Raises:
        ValueError: If a depth is negative or a pose is not a rigid motion.
    """
    depth, pose = np.asarray(depth, np.float64), checked_poses(pose)
    known = readings(depth)
    x, y = pixel_rays(depth.shape[-2], depth.shape[-1], hfov)
    rays = np.stack([*np.meshgrid(x, y), np.full(depth.shape[-2:], -1.0)], axis=-1)
    local = rays * np.where(known, depth, 0.0)[..., None]
    turned = np.einsum("...ij,...hwj->...hwi", pose[..., :3, :3], local)
    return turned + pose[..., None, None, :3, 3], known


def project(points: ArrayLike, size: tuple[int, int], hfov: float, pose: ArrayLike) -> tuple[Array, Array]:
    """Return pixel coordinates (..., 2), (column, row), and depths (...) [m] of points (..., 3) in the world.

    Coordinates are those of `unproject`: the centre of the first pixel is (0.5, 0.5). Coordinates of points with
    depth <= 0 have no meaning.
    """
    pose = checked_poses(pose)
    local = (np.asarray(points, np.float64) - pose[:3, 3]) @ pose[:3, :3]
    depth = -local[..., 2]
    flat = local[..., :2] / np.where(depth > 0, depth, 1.0)[..., None]
    height, width = size
    return flat * focal_length(width, hfov) * [1.0, -1.0] + np.array([width, height]) / 2, depth


def readings(depth: Array) -> Array:
    """Return which pixels have a reading: finite and above 0. Raises ValueError if a depth is negative."""
    if (negative := depth < 0).any():
        where = tuple(int(i) for i in np.argwhere(negative)[0])
        raise ValueError(f"depth at {where} is {depth[where]:g} m; depth is in metres, and 0 or NaN without a reading")
    return np.isfinite(depth) & (depth > 0)


def checked_poses(pose: ArrayLike) -> Array:
    """Return poses (..., 4, 4) as float64. Raises ValueError if one is not a rigid motion."""
    array = np.asarray(pose, np.float64)
    if array.shape[-2:] != (4, 4):
        raise ValueError(f"poses have shape {array.shape}; camera-to-world matrices are (..., 4, 4)")
    rotation = array[..., :3, :3]
    off = np.abs(np.swapaxes(rotation, -1, -2) @ rotation - np.eye(3)).max((-1, -2))
    bad = ~(np.isfinite(array).all((-1, -2)) & (off < 1e-3))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(np.atleast_1d(bad))[0])
        raise ValueError(f"pose {where} is not a rigid motion (rotation and finite translation): {array[bad][0]}")
    return array

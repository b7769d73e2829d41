"""Pinhole geometry: intrinsics, projection and its inverse, for cameras of `rasterizer.Rasterizer`.

Pixel coordinates are (column, row) from the image's upper left corner; the centre of the first pixel is (0.5, 0.5).
Depth is measured along the optical axis. A camera looks along its own -z, with +x right and +y up.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def intrinsics(height: int, width: int, hfov: float) -> Array:
    """Return the matrix K (3, 3) of a camera with square pixels.

    (column, row, 1) = K (x, -y, -z) / -z for a point (x, y, z) in the camera's frame; -z is its depth.

    Args:
        height: Height of the image [pixels].
        width: Width of the image [pixels].
        hfov: Horizontal field of view [deg].
    """
    focal = width / 2 / np.tan(np.radians(hfov) / 2)
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def project(points: Array, matrix: Array, camera_to_world: Array) -> tuple[Array, Array]:
    """Project points into an image.

    Args:
        points: Points (..., 3) in the world [m].
        matrix: Intrinsics (3, 3).
        camera_to_world: Pose (4, 4).

    Returns:
        Pixel coordinates (..., 2) and depths (...) [m]. Coordinates of points with depth <= 0 have no meaning.
    """
    local = (points - camera_to_world[:3, 3]) @ camera_to_world[:3, :3]
    depth = -local[..., 2]
    safe = np.where(depth > 0, depth, 1.0)[..., None]
    flat = local[..., :2] * [1.0, -1.0] / safe
    return flat * np.diag(matrix)[:2] + matrix[:2, 2], depth


def unproject(depth: Array, focal: float, camera_to_world: Array) -> Array:
    """Return the points (H, W, 3) in the world that the pixels of a depth image (H, W) see.

    Args:
        depth: Depth at the pixels' centres [m].
        focal: Focal length [pixels].
        camera_to_world: Pose (4, 4).
    """
    height, width = depth.shape
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = (height / 2 - np.arange(height) - 0.5) / focal
    rays = np.stack([*np.meshgrid(x, y), np.full((height, width), -1.0)], axis=-1)
    return rays * depth[..., None] @ camera_to_world[:3, :3].T + camera_to_world[:3, 3]

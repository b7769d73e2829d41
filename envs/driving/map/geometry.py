"""Plane geometry on arrays: angles, oriented boxes (x, y, heading, length, width) and their overlaps."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.driving.types import Bools, Floats

Geometries = NDArray[np.object_]
AMBIGUOUS = 1e-6  # [m] separations smaller than this are left to the exact geometry


def wrap_angle(angle: Any) -> Any:
    """Angles (...) in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def shifted_boxes(poses: Floats, forward: float | Floats, length: float | Floats, width: float | Floats) -> Floats:
    """Boxes (..., 5) whose centres lie `forward` [m] along the heading from poses (..., 3)."""
    boxes = np.empty((*poses.shape[:-1], 5))
    boxes[..., 0] = poses[..., 0] + forward * np.cos(poses[..., 2])
    boxes[..., 1] = poses[..., 1] + forward * np.sin(poses[..., 2])
    boxes[..., 2] = poses[..., 2]
    boxes[..., 3] = length
    boxes[..., 4] = width
    return boxes


def box_corners(boxes: Floats) -> Floats:
    """Corners (..., 4, 2) of boxes (..., 5): front left, rear left, rear right, front right."""
    cos, sin = np.cos(boxes[..., 2]), np.sin(boxes[..., 2])
    half_length, half_width = boxes[..., 3] / 2, boxes[..., 4] / 2
    forward = np.stack([half_length, -half_length, -half_length, half_length], axis=-1)  # (..., 4)
    left = np.stack([half_width, half_width, -half_width, -half_width], axis=-1)
    x = boxes[..., 0, None] + forward * cos[..., None] - left * sin[..., None]
    y = boxes[..., 1, None] + forward * sin[..., None] + left * cos[..., None]
    return np.stack([x, y], axis=-1)


def box_polygons(boxes: Floats) -> Geometries:
    """shapely polygons (...) of boxes (..., 5)."""
    return np.asarray(shapely.polygons(box_corners(boxes)))


def box_separation(a: Floats, b: Floats) -> Floats:
    """Largest gap (...) between boxes a and b (..., 5) along any of their four axes; negative where they overlap.

    Separating axes: two rectangles are disjoint iff the gap is positive along the axes of one of them.
    """
    offset = b[..., :2] - a[..., :2]
    gap = np.full(np.broadcast_shapes(a.shape[:-1], b.shape[:-1]), -np.inf)
    turn = b[..., 2] - a[..., 2]
    cos, sin = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    for own, other in ((a, b), (b, a)):
        c, s = np.cos(own[..., 2]), np.sin(own[..., 2])
        along = np.abs(offset[..., 0] * c + offset[..., 1] * s)
        across = np.abs(offset[..., 1] * c - offset[..., 0] * s)
        reach_along = (own[..., 3] + other[..., 3] * cos + other[..., 4] * sin) / 2
        reach_across = (own[..., 4] + other[..., 3] * sin + other[..., 4] * cos) / 2
        gap = np.maximum(gap, np.maximum(along - reach_along, across - reach_across))
    return gap


def boxes_intersect(a: Floats, b: Floats) -> Bools:
    """Whether boxes a and b (..., 5) intersect; touching counts. Near-ties are settled by the exact polygons."""
    a, b = np.broadcast_arrays(a, b)
    gap = np.asarray(box_separation(a, b))
    hit = np.asarray(gap <= 0)
    unsure = np.abs(gap) < AMBIGUOUS
    if unsure.any():
        hit[unsure] = shapely.intersects(box_polygons(a[unsure]), box_polygons(b[unsure]))
    return hit


def bearings(poses: Floats, points: Floats) -> Floats:
    """Unsigned angle (...) in [0, pi] between the heading of poses (..., 3) and the direction to points (..., 2)."""
    dx, dy = points[..., 0] - poses[..., 0], points[..., 1] - poses[..., 1]
    return np.abs(wrap_angle(np.arctan2(dy, dx) - poses[..., 2]))

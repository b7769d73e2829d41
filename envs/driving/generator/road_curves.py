"""Curves that roads are drawn with: smooth joints between two poses, bends of changing curvature, parallel lines."""

import math

import numpy as np
import shapely
from shapely.geometry import Polygon

from embodia.envs.driving.types import Floats

# Quintic Bezier handles as shares of the chord: the end curvature is zero, the bend in between as wide as it gets.
INNER_HANDLE, OUTER_HANDLE = 0.16, 0.46


def unit(heading: float) -> Floats:
    """(2,) direction of a heading [rad]."""
    return np.array([math.cos(heading), math.sin(heading)])


def joint(start: Floats, end: Floats, step: float) -> Floats:
    """Points (n, 2) about `step` [m] apart of a quintic Bezier curve from pose start (3,) to pose end (3,)."""
    chord = float(np.hypot(*(end[:2] - start[:2])))
    out, back = unit(start[2]) * chord, unit(end[2]) * chord
    inner, outer = bezier_handles(start, end)
    handles = [start[:2], start[:2] + inner * out, start[:2] + outer * out]
    handles += [end[:2] - outer * back, end[:2] - inner * back, end[:2]]
    t = np.linspace(0, 1, max(math.ceil(1.5 * chord / step) * 4, 16) + 1)[:, None]
    points = np.sum([math.comb(5, k) * t**k * (1 - t) ** (5 - k) * handle for k, handle in enumerate(handles)], axis=0)
    return resampled(points, step)


def bezier_handles(start: Floats, end: Floats) -> tuple[float, float]:
    """Handle lengths for a joint: a third of the chord where it is nearly straight, longer where it turns."""
    turn = abs(math.remainder(end[2] - start[2], math.tau))
    share = min(turn / (math.pi / 2), 1.0)
    return 0.2 + share * (INNER_HANDLE - 0.2), 0.4 + share * (OUTER_HANDLE - 0.4)


def bend(start: Floats, length: float, curvatures: Floats, step: float) -> Floats:
    """Points (n, 2) of a road that leaves pose start (3,) with curvature [1/m] linear between evenly spaced knots."""
    n = max(round(length / step), 2)
    s = np.linspace(0, length, n + 1)
    curvature = np.interp(s, np.linspace(0, length, len(curvatures)), curvatures)
    ds = length / n
    heading = start[2] + np.concatenate([[0.0], np.cumsum((curvature[1:] + curvature[:-1]) / 2 * ds)])
    middle = (heading[1:] + heading[:-1]) / 2
    x = start[0] + np.concatenate([[0.0], np.cumsum(np.cos(middle) * ds)])
    y = start[1] + np.concatenate([[0.0], np.cumsum(np.sin(middle) * ds)])
    return np.column_stack([x, y])


def arc(center: Floats, radius: float, start: float, end: float, step: float) -> Floats:
    """Points (n, 2) of a circle from angle start to angle end [rad]."""
    n = max(math.ceil(abs(end - start) * radius / step), 2)
    angle = np.linspace(start, end, n + 1)
    return center + radius * np.column_stack([np.cos(angle), np.sin(angle)])


def resampled(points: Floats, step: float) -> Floats:
    """The line (n, 2) with evenly spaced points, about `step` [m] apart, ends kept."""
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    even = np.linspace(0, s[-1], max(round(s[-1] / step), 2) + 1)
    return np.column_stack([np.interp(even, s, points[:, k]) for k in range(2)])


def normals(points: Floats) -> Floats:
    """(n, 2) unit normals to the left of a line (n, 2)."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.hypot(tangent[:, 0], tangent[:, 1])[:, None]
    return np.column_stack([-tangent[:, 1], tangent[:, 0]])


def headings(points: Floats) -> Floats:
    """(n,) unwrapped headings [rad] of a line (n, 2), by central differences."""
    tangent = np.gradient(points, axis=0)
    return np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))


def curvatures(points: Floats) -> Floats:
    """(n,) signed curvature [1/m] of a line (n, 2)."""
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    return np.gradient(headings(points), s)


def end_pose(points: Floats) -> Floats:
    """(3,) pose at the end of a line."""
    return np.append(points[-1], math.atan2(*(points[-1] - points[-2])[::-1]))


def start_pose(points: Floats) -> Floats:
    """(3,) pose at the start of a line."""
    return np.append(points[0], math.atan2(*(points[1] - points[0])[::-1]))


def strip(left: Floats, right: Floats) -> Polygon:
    """The polygon between two lines (n, 2) and (m, 2) that run the same way."""
    polygon = Polygon(np.concatenate([right, left[::-1]]))
    return polygon if polygon.is_valid else largest(shapely.buffer(polygon, 0))


def largest(shape: shapely.Geometry) -> Polygon:
    """The polygon itself, or the largest of several."""
    parts = shapely.get_parts(shape)
    return parts[int(np.argmax(shapely.area(parts)))]

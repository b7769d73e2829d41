"""Distances between segments, chains of points and polygons in the plane, compiled."""

import math

import numpy as np
from numba import njit

from embodia.envs.driving.types import Floats


@njit(cache=True)
def closest(px: float, py: float, ax: float, ay: float, bx: float, by: float) -> tuple[float, float]:
    """Squared distance of a point to a segment, and where on it (0 to 1) the nearest point lies."""
    dx, dy = bx - ax, by - ay
    length2 = dx * dx + dy * dy
    where = 0.0
    if length2 > 0:
        where = min(max(((px - ax) * dx + (py - ay) * dy) / length2, 0.0), 1.0)
    ex, ey = px - ax - where * dx, py - ay - where * dy
    return ex * ex + ey * ey, where


@njit(cache=True)
def side(ax: float, ay: float, bx: float, by: float, px: float, py: float) -> float:
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


@njit(cache=True)
def segment_distance2(ax: float, ay: float, bx: float, by: float, cx: float, cy: float, dx: float, dy: float) -> float:
    """Squared distance between segments a-b and c-d; 0 where they cross."""
    if (
        side(ax, ay, bx, by, cx, cy) * side(ax, ay, bx, by, dx, dy) < 0
        and side(cx, cy, dx, dy, ax, ay) * side(cx, cy, dx, dy, bx, by) < 0
    ):
        return 0.0
    ends = min(closest(ax, ay, cx, cy, dx, dy)[0], closest(bx, by, cx, cy, dx, dy)[0])
    return min(ends, closest(cx, cy, ax, ay, bx, by)[0], closest(dx, dy, ax, ay, bx, by)[0])


@njit(cache=True)
def in_ring(px: float, py: float, ring: Floats) -> bool:
    """Whether a point lies in the polygon of a ring (k, 2), by counting crossings."""
    inside = False
    for i in range(len(ring)):
        ax, ay, bx, by = ring[i - 1, 0], ring[i - 1, 1], ring[i, 0], ring[i, 1]
        if (ay > py) != (by > py) and px < ax + (py - ay) / (by - ay) * (bx - ax):
            inside = not inside
    return inside


@njit(cache=True)
def chain_distance(a: Floats, a_closed: bool, b: Floats, b_closed: bool, limit: float) -> float:
    """Distance [m] between two chains of points (k, 2), each open or closed; inf if beyond `limit`.

    Segments whose bounds are farther from the other chain's than the best so far are skipped.
    """
    low_x, low_y, high_x, high_y = b[:, 0].min(), b[:, 1].min(), b[:, 0].max(), b[:, 1].max()
    best, reach = limit * limit, limit
    found = False
    for i in range(0 if a_closed else 1, len(a)):
        ax, ay, bx, by = a[i - 1, 0], a[i - 1, 1], a[i, 0], a[i, 1]
        left, right, under, over = min(ax, bx) - reach, max(ax, bx) + reach, min(ay, by) - reach, max(ay, by) + reach
        if left > high_x or right < low_x or under > high_y or over < low_y:
            continue
        for j in range(0 if b_closed else 1, len(b)):
            cx, cy, dx, dy = b[j - 1, 0], b[j - 1, 1], b[j, 0], b[j, 1]
            if min(cx, dx) > right or max(cx, dx) < left or min(cy, dy) > over or max(cy, dy) < under:
                continue
            distance2 = segment_distance2(ax, ay, bx, by, cx, cy, dx, dy)
            if distance2 <= best:
                best, found = distance2, True
                if best == 0:
                    return 0.0
                reach = np.sqrt(best)
                left, right = min(ax, bx) - reach, max(ax, bx) + reach
                under, over = min(ay, by) - reach, max(ay, by) + reach
    return np.sqrt(best) if found else np.inf


@njit(cache=True)
def ring_distance(a: Floats, b: Floats, limit: float) -> float:
    """Distance [m] between two polygons given by their rings, inf if beyond `limit`; 0 where they overlap."""
    if in_ring(a[0, 0], a[0, 1], b) or in_ring(b[0, 0], b[0, 1], a):
        return 0.0
    return chain_distance(a, True, b, True, limit)


@njit(cache=True)
def project(x: float, y: float, nodes: Floats, s: Floats) -> float:
    """Arc length [m] of the point on a line (N, 2) nearest to a point, the first one of several."""
    best, at, bound = np.inf, 0.0, np.inf
    k, last = 0, len(nodes) - 1
    while k < last:
        length = s[k + 1] - s[k]
        away = math.hypot(nodes[k, 0] - x, nodes[k, 1] - y) - bound - 1e-9
        if away > length:  # the nearest point is not within `away` of here
            k = max(k + 1, np.searchsorted(s, s[k] + away) - 1)
            continue
        distance2, where = closest(x, y, nodes[k, 0], nodes[k, 1], nodes[k + 1, 0], nodes[k + 1, 1])
        if distance2 < best:
            best, at = distance2, s[k] + where * length
            bound = math.sqrt(best)
        k += 1
    return at


@njit(cache=True)
def project_all(points: Floats, nodes: Floats, s: Floats) -> Floats:
    """(k,) arc lengths [m] of points (k, 2) along a line (N, 2)."""
    out = np.empty(len(points))
    for k in range(len(points)):
        out[k] = project(points[k, 0], points[k, 1], nodes, s)
    return out


@njit(cache=True)
def corners_of(boxes: Floats) -> Floats:
    """Corners (n, 4, 2) of boxes (n, 5)."""
    out = np.empty((len(boxes), 4, 2))
    for i in range(len(boxes)):
        c, d = math.cos(boxes[i, 2]), math.sin(boxes[i, 2])
        for k in range(4):
            forward = boxes[i, 3] / 2 if k == 0 or k == 3 else -boxes[i, 3] / 2
            left = boxes[i, 4] / 2 if k < 2 else -boxes[i, 4] / 2
            out[i, k, 0] = boxes[i, 0] + forward * c - left * d
            out[i, k, 1] = boxes[i, 1] + forward * d + left * c
    return out

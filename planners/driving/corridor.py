"""The area that the ego would cover along a path, and which objects touch it.

It is the path's buffer with square caps, as GEOS builds it. Distances decide whether an object touches it, except
close to the buffer's rim: there the caller asks GEOS, whose buffers the published codes use.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numba import njit

from embodia.envs.driving.map.segments import chain_distance, in_ring, ring_distance
from embodia.envs.driving.types import Floats
from embodia.envs.driving.vehicle.bicycle import PACIFICA

RADIUS = PACIFICA.width / 2  # [m]
RIM = 0.02 * RADIUS  # [m] by which GEOS' buffers may differ from the exact ones, doubled
OUTSIDE, INSIDE, DOUBTFUL = 0, 1, 2


@dataclass(frozen=True)
class Corridor:
    """The area along a part of a path."""

    points: Floats  # (k, 2)
    s: Floats  # (k,) [m] along the path

    @cached_property
    def polygon(self) -> Any:
        """The points buffered by half the ego's width, with square caps."""
        line = shapely.LineString(self.points) if len(self.points) > 1 else shapely.Point(self.points[0])
        return line.buffer(RADIUS, cap_style="square")


@njit(cache=True)
def in_corridor(line: Floats, s: Floats, ring: Floats, x: float, y: float, reach: float) -> int:
    """Whether a polygon's ring (4, 2) touches the corridor along a line (k, 2) with arc lengths s (k,).

    No corner is farther than `reach` [m] from (x, y).
    """
    if len(line) < 2:
        return DOUBTFUL
    distance = ring_to_line(line, s, ring, x, y, reach)
    if distance <= RADIUS - RIM:
        return INSIDE
    if distance <= RADIUS + RIM:
        return DOUBTFUL
    last = len(line) - 1
    start, end = cap_answer(line[1], line[0], ring), cap_answer(line[last - 1], line[last], ring)
    if start == INSIDE or end == INSIDE:
        return INSIDE
    return DOUBTFUL if start == DOUBTFUL or end == DOUBTFUL else OUTSIDE


@njit(cache=True)
def middle(ring: Floats) -> tuple[float, float, float]:
    """The mean of a ring's corners (k, 2), and how far from it they reach."""
    x, y, around = ring[:, 0].mean(), ring[:, 1].mean(), 0.0
    for k in range(len(ring)):
        around = max(around, math.hypot(ring[k, 0] - x, ring[k, 1] - y))
    return x, y, around


@njit(cache=True)
def ring_to_line(line: Floats, s: Floats, ring: Floats, x: float, y: float, reach: float) -> float:
    """Distance [m] from a ring around (x, y) to a line, inf if it is more than a corridor's radius and rim."""
    limit = RADIUS + RIM
    best = np.inf
    k, last = 0, len(line) - 1
    while k < last:
        away = math.hypot(line[k, 0] - x, line[k, 1] - y) - reach - limit
        if s[k] + away > s[k + 1]:  # nothing of this segment is near enough, nor of those that follow within `away`
            k = max(k + 1, np.searchsorted(s, s[k] + away) - 1)
            continue
        best = min(best, chain_distance(line[k : k + 2], False, ring, True, limit))
        if best == 0.0:
            return 0.0
        if in_ring(line[k, 0], line[k, 1], ring):
            return 0.0
        k += 1
    return 0.0 if in_ring(line[last, 0], line[last, 1], ring) else best


@njit(cache=True)
def cap_answer(inner: Floats, end: Floats, ring: Floats) -> int:
    """Whether a ring touches the square cap at the end of a line."""
    dx, dy = end[0] - inner[0], end[1] - inner[1]
    length = math.hypot(dx, dy)
    if length == 0:
        return DOUBTFUL
    dx, dy = dx / length, dy / length
    cap = np.empty((4, 2))
    for attempt in range(2):
        half = RADIUS + (RIM if attempt == 0 else -RIM)
        for k in range(4):
            forward, left = (half if k == 0 or k == 3 else 0.0), (half if k < 2 else -half)
            cap[k, 0], cap[k, 1] = end[0] + forward * dx - left * dy, end[1] + forward * dy + left * dx
        if ring_distance(cap, ring, RIM) > 0.0:
            return OUTSIDE if attempt == 0 else DOUBTFUL
    return INSIDE

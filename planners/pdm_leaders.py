"""PDM-Closed, the leaders: which forecast objects are in the corridors of the paths, and how far along them.

An object is in a corridor when it touches the path's buffer. Plain distances decide that wherever they leave no doubt;
the rest, along the buffer's rim and at its square caps, is asked of GEOS, whose buffers the public code rests on.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numba import njit

from envs.driving.segments import chain_distance, closest, in_ring, ring_distance
from envs.driving.types import Bools, Floats, Ints
from envs.driving.vehicle import PACIFICA
from planners.pdm_forecast import STEP, Forecast

RADIUS = PACIFICA.width / 2  # [m] of a corridor
RIM = 0.02 * RADIUS  # [m] by which GEOS' buffers may differ from the exact ones, doubled
OUTSIDE, INSIDE, DOUBTFUL = 0, 1, 2


@dataclass(frozen=True)
class Corridor:
    """The ground along a stretch of a path."""

    points: Floats  # (k, 2)
    s: Floats  # (k,) [m] along the path

    @cached_property
    def polygon(self) -> Any:
        """The points buffered by half the ego's width, with square caps."""
        line = shapely.LineString(self.points) if len(self.points) > 1 else shapely.Point(self.points[0])
        return line.buffer(RADIUS, cap_style="square")


@dataclass(frozen=True)
class Leaders:
    """Who is in L corridors at J forecast steps: n objects that shift, m red lights that stay."""

    inside: Ints  # (L, J, n) INSIDE or OUTSIDE
    progress: Floats  # (L, J, n) [m] of an object's centre along the path, where it is inside
    corners: Floats  # (n, 4, 2) now
    velocity: Floats  # (n, 2) [m/s] at which corners shift
    speed: Floats  # (n,) [m/s]
    heading: Floats  # (n,)
    first_step: int  # of the forecast
    light_inside: Ints  # (L, m)
    light_progress: Floats  # (L, m) [m]
    light_start: Ints  # (m + 1,) first row of a light's polygon in the rings
    rings: Floats  # (r, 2)


def find_leaders(forecast: Forecast, nodes: Floats, s: Floats, corridors: list[Corridor], steps: range) -> Leaders:
    """Who is in corridors along paths (L, N, 2) with arc lengths s (L, N) [m] at forecast steps.

    Objects that collided before are left out.
    """
    n = len(forecast.boxes)
    fresh = ~forecast.known
    corners = corners_of(forecast.boxes)
    inside = np.zeros((len(corridors), len(steps), n), np.int64)
    progress = np.zeros(inside.shape)
    light_inside = np.zeros((len(corridors), len(forecast.red_lights)), np.int64)
    light_progress = np.zeros(light_inside.shape)
    for k, corridor in enumerate(corridors):
        search(corners, forecast.boxes, forecast.velocity, fresh[:n], corridor.points, corridor.s, steps.start, inside[k])
        for step, who in np.argwhere(inside[k] == DOUBTFUL).tolist():
            box = corners[who] + forecast.velocity[who] * ((steps.start + step) * STEP)
            inside[k, step, who] = corridor.polygon.intersects(shapely.Polygon(box))
        locate(forecast.boxes, forecast.velocity, steps.start, inside[k], nodes[k], s[k], progress[k])
        for light, polygon in enumerate(forecast.red_lights):
            if fresh[n + light] and corridor.polygon.intersects(polygon):
                light_inside[k, light] = INSIDE
                light_progress[k, light] = shapely.LineString(nodes[k]).project(polygon.centroid)
    rings = [shapely.get_coordinates(polygon.exterior)[:-1] for polygon in forecast.red_lights]
    light_start = np.cumsum([0, *(len(ring) for ring in rings)])
    return Leaders(
        inside, progress, corners, forecast.velocity, forecast.speeds, forecast.boxes[:, 2].copy(), steps.start,
        light_inside, light_progress, light_start, np.concatenate([np.zeros((0, 2)), *rings]),
    )  # fmt: skip


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


@njit(cache=True)
def search(
    corners: Floats, boxes: Floats, velocity: Floats, fresh: Bools, line: Floats, s: Floats, first_step: int, out: Ints
) -> None:
    """Write into (J, n) whether objects are in the corridor along a line (k, 2): INSIDE, OUTSIDE or DOUBTFUL."""
    wide = 1.5 * RADIUS  # more than a square cap's corner is away from the line
    low_x, high_x = line[:, 0].min() - wide, line[:, 0].max() + wide
    low_y, high_y = line[:, 1].min() - wide, line[:, 1].max() + wide
    ring = np.empty((4, 2))
    for i in range(len(boxes)):
        if not fresh[i]:
            continue
        reach = math.hypot(boxes[i, 3], boxes[i, 4]) / 2
        for j in range(len(out)):
            dx, dy = velocity[i, 0] * ((first_step + j) * STEP), velocity[i, 1] * ((first_step + j) * STEP)
            x, y = boxes[i, 0] + dx, boxes[i, 1] + dy
            if x + reach < low_x or x - reach > high_x or y + reach < low_y or y - reach > high_y:
                continue
            for k in range(4):
                ring[k, 0], ring[k, 1] = corners[i, k, 0] + dx, corners[i, k, 1] + dy
            out[j, i] = in_corridor(line, s, ring, x, y, reach)


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


@njit(cache=True)
def locate(
    boxes: Floats, velocity: Floats, first_step: int, inside: Ints, nodes: Floats, s: Floats, out: Floats
) -> None:
    """Write into (J, n) the arc length of the centres of those inside (J, n)."""
    for j in range(len(inside)):
        t = (first_step + j) * STEP
        for i in range(len(boxes)):
            if inside[j, i]:
                out[j, i] = project(boxes[i, 0] + velocity[i, 0] * t, boxes[i, 1] + velocity[i, 1] * t, nodes, s)


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

"""PDM-Closed, the leaders: which forecast objects are in the corridors of the paths, and how far along them.

Where they are on the path is the arc length of the point on it that is nearest to their centre.
"""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numba import njit

from embodia.envs.driving.map.segments import corners_of, project
from embodia.envs.driving.types import Bools, Floats, Ints
from embodia.planners.driving.corridor import DOUBTFUL, INSIDE, RADIUS, Corridor, in_corridor, middle
from embodia.planners.driving.pdm_forecast import STEP, Forecast


@dataclass(frozen=True)
class Leaders:
    """Objects in L corridors at J forecast steps: n moving objects and m red lights."""

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
    """Find the objects in corridors along paths (L, N, 2) with arc lengths s (L, N) [m] at forecast steps.

    Objects that collided before are skipped.
    """
    n = len(forecast.boxes)
    fresh = ~forecast.known
    corners = corners_of(forecast.boxes)
    inside = np.zeros((len(corridors), len(steps), n), np.int64)
    progress = np.zeros(inside.shape)
    rings = [shapely.get_coordinates(polygon.exterior)[:-1] for polygon in forecast.red_lights]
    light_inside = np.zeros((len(corridors), len(rings)), np.int64)
    light_progress = np.zeros(light_inside.shape)
    for k, corridor in enumerate(corridors):
        search(
            corners, forecast.boxes, forecast.velocity, fresh[:n], corridor.points, corridor.s, steps.start, inside[k]
        )
        for step, who in np.argwhere(inside[k] == DOUBTFUL).tolist():
            box = corners[who] + forecast.velocity[who] * ((steps.start + step) * STEP)
            inside[k, step, who] = corridor.polygon.intersects(shapely.Polygon(box))
        locate(forecast.boxes, forecast.velocity, steps.start, inside[k], nodes[k], s[k], progress[k])
        for light in np.flatnonzero(fresh[n:]).tolist():
            polygon, ring = forecast.red_lights[light], rings[light]
            answer = in_corridor(corridor.points, corridor.s, ring, *middle(ring))
            if answer == INSIDE or (answer == DOUBTFUL and corridor.polygon.intersects(polygon)):
                light_inside[k, light] = INSIDE
                light_progress[k, light] = project(polygon.centroid.x, polygon.centroid.y, nodes[k], s[k])
    light_start = np.cumsum([0, *(len(ring) for ring in rings)])
    return Leaders(
        inside, progress, corners, forecast.velocity, forecast.speeds, forecast.boxes[:, 2].copy(), steps.start,
        light_inside, light_progress, light_start, np.concatenate([np.zeros((0, 2)), *rings]),
    )  # fmt: skip


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
def locate(
    boxes: Floats, velocity: Floats, first_step: int, inside: Ints, nodes: Floats, s: Floats, out: Floats
) -> None:
    """Write into (J, n) the arc length of the centres of those inside (J, n)."""
    for j in range(len(inside)):
        t = (first_step + j) * STEP
        for i in range(len(boxes)):
            if inside[j, i]:
                out[j, i] = project(boxes[i, 0] + velocity[i, 0] * t, boxes[i, 1] + velocity[i, 1] * t, nodes, s)

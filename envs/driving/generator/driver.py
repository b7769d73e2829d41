"""Driver model of generated traffic: Intelligent Driver Model, speeds in bends, MOBIL lane changes.

IDM: Treiber, Hennecke, Helbing 2000. MOBIL: Kesting, Treiber, Helbing 2007. All functions work on arrays of drivers.
"""

from typing import Any

import numpy as np
from numba import njit

from embodia.envs.driving.types import Floats, Ints

STANDSTILL_GAP = 2.0  # [m]
HARDEST_BRAKE = 6.0  # [m/s^2]
POLITENESS = 0.2
CHANGE_THRESHOLD = 0.15  # [m/s^2] advantage that makes a lane change worth while
SAFE_BRAKE = 1.5  # [m/s^2] what a lane change may ask of the follower
SIDE_CLEARANCE = 0.25  # [m] that a driver keeps to things beside the path
CORRIDOR_STEP = 1.0  # [m]


def idm_acceleration(
    speed: Any, desired: Any, gap: Any, lead_speed: Any, headway: Any, accel: Any, brake: Any
) -> Floats:
    """IDM acceleration (...) [m/s^2] from speeds [m/s], gap [m] (inf: free road), headway [s] and limits [m/s^2]."""
    closing = speed * (speed - lead_speed) / (2 * np.sqrt(accel * brake))
    wanted = STANDSTILL_GAP + np.maximum(speed * headway + closing, 0.0)
    interaction = np.square(wanted / np.maximum(gap, 0.1))
    free = 1 - np.power(speed / np.maximum(desired, 0.1), 4)
    return np.asarray(np.clip(accel * (free - interaction), -HARDEST_BRAKE, accel))


def speed_envelope(limits: Floats, curvature: Floats, lateral: float, brake: float) -> Floats:
    """(n,) highest speed [m/s] every metre along a path, so that bends are taken at `lateral` and reached at `brake`.

    limits (n,) [m/s], curvature (n,) [1/m], lateral and brake [m/s^2].
    """
    slowest = np.minimum(limits, np.sqrt(lateral / np.maximum(np.abs(curvature), 1e-4)))
    return braked_backwards(slowest, brake)


@njit(cache=True)
def braked_backwards(speed: Floats, brake: float) -> Floats:
    out = speed.copy()
    for k in range(len(speed) - 2, -1, -1):
        out[k] = min(out[k], np.sqrt(out[k + 1] ** 2 + 2 * brake))
    return out


def mobil_gain(own_before: float, own_after: float, follower_before: float, follower_after: float) -> float:
    """Advantage [m/s^2] of a lane change over the threshold; -inf where it would make the follower brake hard."""
    if follower_after < -SAFE_BRAKE:
        return -np.inf
    return own_after - own_before + POLITENESS * (follower_after - follower_before) - CHANGE_THRESHOLD


@njit(cache=True)
def smoother_step(x: float) -> float:
    """0 to 1 with zero first and second derivatives at both ends."""
    x = min(max(x, 0.0), 1.0)
    return x * x * x * (10 + x * (6 * x - 15))


@njit(cache=True)
def path_point(path: Floats, s: float, offset: Floats) -> tuple[float, float, float]:
    """x, y, heading at arc length s of a path (n, >=3) sampled every metre.

    offset (3,): lateral offset [m], arc length where it starts to fade, length over which it does.
    """
    s = min(max(s, 0.0), len(path) - 1.001)
    low = int(s)
    share = s - low
    x = path[low, 0] + share * (path[low + 1, 0] - path[low, 0])
    y = path[low, 1] + share * (path[low + 1, 1] - path[low, 1])
    heading = path[low, 2] + share * (path[low + 1, 2] - path[low, 2])
    if offset[0] != 0.0:
        t = (s - offset[1]) / offset[2]
        side = offset[0] * (1 - smoother_step(t))
        x, y = x - side * np.sin(heading), y + side * np.cos(heading)
        if 0.0 < t < 1.0:
            heading += np.arctan(-offset[0] * 30 * t * t * (1 - t) * (1 - t) / offset[2])
    return x, y, heading


@njit(cache=True)
def path_poses(paths: Floats, rows: Ints, s: Floats, offsets: Floats) -> Floats:
    """(n, 3) poses at s (n,) on the paths (m, k, >=3) in `rows` (n,)."""
    out = np.empty((len(s), 3))
    for i in range(len(s)):
        out[i, 0], out[i, 1], out[i, 2] = path_point(paths[rows[i]], s[i], offsets[i])
    return out


@njit(cache=True)
def find_leads(
    paths: Floats, rows: Ints, s: Floats, offsets: Floats, front: Floats, width: Floats, reach: Floats, boxes: Floats
) -> tuple[Floats, Ints]:
    """How far (n,) [m] each driver can go until its front bumper meets a box, and which (n,); inf and -1 for none.

    paths (m, k, >=3) sampled every metre, rows (n,) of them, s (n,) the rear axle on them, front (n,) [m] from there to
    the bumper, width (n,) [m], reach (n,) [m] to look ahead; boxes (j, 5), the first n of them the drivers' own.
    """
    n, k = len(s), len(boxes)
    gaps = np.full(n, np.inf)
    leads = np.full(n, -1)
    sides = np.empty((k, 3))  # cos, sin, radius
    for j in range(k):
        sides[j, 0], sides[j, 1] = np.cos(boxes[j, 2]), np.sin(boxes[j, 2])
        sides[j, 2] = np.hypot(boxes[j, 3], boxes[j, 4]) / 2
    near = np.empty(k, np.int64)
    for i in range(n):
        path = paths[rows[i]]
        x, y, heading = path_point(path, s[i], offsets[i])
        c, d = np.cos(heading), np.sin(heading)
        count = 0
        for j in range(k):
            dx, dy = boxes[j, 0] - x, boxes[j, 1] - y
            far = reach[i] + front[i] + sides[j, 2]
            behind = dx * c + dy * d < -20.0
            if j != i and not behind and abs(dx) < far and abs(dy) < far:
                near[count] = j
                count += 1
        ahead = 0.0
        while ahead < reach[i] and leads[i] < 0 and count:
            leads[i] = box_at(path, s[i] + ahead, offsets[i], front[i], width[i], boxes, sides, near[:count])
            ahead += CORRIDOR_STEP
        if leads[i] >= 0:
            only = leads[i : i + 1]
            low, high = ahead - 2 * CORRIDOR_STEP, ahead - CORRIDOR_STEP
            for _ in range(6):
                middle = (low + high) / 2
                hit = box_at(path, s[i] + middle, offsets[i], front[i], width[i], boxes, sides, only) >= 0
                low, high = (low, middle) if hit else (middle, high)
            gaps[i] = max(high, 0.0)
    return gaps, leads


@njit(cache=True)
def box_at(
    path: Floats, s: float, offset: Floats, front: float, width: float, boxes: Floats, sides: Floats, among: Ints
) -> int:
    """The first of the boxes (k, 5) that the front bumper meets with the rear axle at s; -1 for none."""
    x, y, heading = path_point(path, s, offset)
    c, d = np.cos(heading), np.sin(heading)
    x, y = x + front * c, y + front * d
    side = width / 2 + SIDE_CLEARANCE
    for j in among:
        dx, dy = x - boxes[j, 0], y - boxes[j, 1]
        if dx * dx + dy * dy > (sides[j, 2] + side) ** 2:
            continue
        own_c, own_d = sides[j, 0], sides[j, 1]
        turn_c, turn_s = abs(c * own_c + d * own_d), abs(d * own_c - c * own_d)
        inside_along = abs(dx * own_c + dy * own_d) < boxes[j, 3] / 2 + side * turn_s
        if inside_along and abs(dy * own_c - dx * own_d) < boxes[j, 4] / 2 + side * turn_c:
            return int(j)
    return -1

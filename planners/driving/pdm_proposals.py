"""PDM-Closed, the proposals: five IDM policies on the centreline and on its two parallels, unrolled together.

The leader of a policy is looked for every second step among the forecast objects that touch the path's corridor and
lie ahead. As in the public code, the first step has no leader yet and reads zeros, so it always brakes.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import shapely.ops

from embodia.envs.compiled import cached
from embodia.envs.driving.map.segments import project
from embodia.envs.driving.types import Floats, Ints
from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.planners.driving.corridor import Corridor
from embodia.planners.driving.pdm_forecast import STEP
from embodia.planners.driving.pdm_leaders import Leaders

LATERAL_OFFSETS = (0.0, -1.0, 1.0)  # [m] to the left
SPEED_FRACTIONS = np.array([0.2, 0.4, 0.6, 0.8, 1.0])  # of the present lane's limit
DEFAULT_LIMIT = 15.0  # [m/s]
MIN_GAP, HEADWAY, MAX_ACCELERATION, MAX_DECELERATION, EXPONENT = 1.0, 1.5, 1.5, 3.0, 10
DT = 0.1  # [s]
PROPOSAL_STEPS, TRAJECTORY_STEPS = 40, 80
LEAD_EVERY = 2  # steps
EGO_FRONT, EGO_LENGTH, EGO_WIDTH = PACIFICA.front_length, PACIFICA.length, PACIFICA.width  # [m]
FIRST_PROGRESS = 1e-5  # [m] the paths' interpolation starts behind their first node


@dataclass(frozen=True)
class Paths:
    """L parallel paths of N nodes each, with arc lengths; repeated nodes are kept, as in the public code."""

    poses: Floats  # (L, N, 3) heading unwrapped
    s: Floats  # (L, N) [m]
    nodes: Floats  # (L, N, 2) the poses' positions
    lines: Any  # (L,) shapely

    @classmethod
    def along(cls, centerline: Floats, offsets: tuple[float, ...] = LATERAL_OFFSETS) -> "Paths":
        """Paths at lateral offsets [m] of a centreline (N, 3)."""
        poses = np.repeat(centerline[None], len(offsets), axis=0)
        side = centerline[:, 2] + np.pi / 2
        poses[..., 0] += np.outer(offsets, np.cos(side))
        poses[..., 1] += np.outer(offsets, np.sin(side))
        poses[..., 2] = np.unwrap(poses[..., 2], axis=1)
        steps = np.hypot(*np.moveaxis(np.diff(poses[..., :2], axis=1), -1, 0))
        s = np.concatenate([np.zeros((len(offsets), 1)), np.cumsum(steps, axis=1)], axis=1)
        return cls(poses, s, np.ascontiguousarray(poses[..., :2]), shapely.linestrings(poses[..., :2]))

    def corridor(self, path: int, start: float, end: float) -> Corridor:
        """The ground along a path from one arc length to another (whole nodes only)."""
        length = self.s[path, -1]
        start, end = min(max(start, 0.0), length), min(max(end, 0.0), length)
        inside = (self.s[path] >= start) & (self.s[path] <= end)
        if inside.sum() > 1:
            return Corridor(self.nodes[path, inside], self.s[path, inside])
        points = shapely.get_coordinates(shapely.ops.substring(self.lines[path], start, end))
        return Corridor(points, np.linspace(start, end, len(points)))


@dataclass(frozen=True)
class RollOut:
    """P proposals unrolled on their paths."""

    lateral: Ints  # (P,) path of each
    target: Floats  # (P,) [m/s]
    s: Floats  # (P, T + 1) [m]
    v: Floats  # (P, T + 1) [m/s]
    lead: Floats  # (P, 3) progress, speed, rear length of the last leader
    poses: Floats  # (P, T + 1, 3) rear axle


def start_proposals(paths: Paths, position: Floats, speed: float, limit: float | None) -> RollOut:
    """15 proposals, lateral-major, at the rear axle's projection on their paths; position (2,), speed [m/s]."""
    lateral = np.repeat(np.arange(len(paths.s)), len(SPEED_FRACTIONS))
    target = np.tile(SPEED_FRACTIONS * (DEFAULT_LIMIT if limit is None else limit), len(paths.s))
    along = [project(position[0], position[1], paths.nodes[k], paths.s[k]) for k in range(len(paths.s))]
    now = np.stack([path_pose(paths.s[k], paths.poses[k], x) for k, x in enumerate(along)])
    s, poses = np.array(along)[lateral], now[lateral]
    return RollOut(
        lateral, target, s[:, None], np.full((len(lateral), 1), speed), np.zeros((len(lateral), 3)), poses[:, None]
    )


def unroll(start: RollOut, paths: Paths, leaders: Leaders, which: Ints, until: int) -> RollOut:
    """Continue proposals to step `until`; `leaders` hold the paths `which` (L,) at the steps still to come."""
    row_of_path = np.full(len(paths.s), -1)
    row_of_path[which] = np.arange(len(which))
    done = start.s.shape[1] - 1
    s, v, lead, poses = _unroll(
        start.s[:, -1], start.v[:, -1], start.lead, start.poses[:, -1], start.lateral, start.target, paths.s,
        paths.poses, row_of_path, done, until, leaders.inside, leaders.progress, leaders.corners, leaders.velocity,
        leaders.speed, leaders.heading, leaders.first_step, leaders.light_inside, leaders.light_progress,
        leaders.light_start, leaders.rings,
    )  # fmt: skip
    return RollOut(
        start.lateral,
        start.target,
        np.concatenate([start.s, s], axis=1),
        np.concatenate([start.v, v], axis=1),
        lead,
        np.concatenate([start.poses, poses], axis=1),
    )


def only(rolled: RollOut, proposal: int) -> RollOut:
    """One proposal of a roll-out."""
    one = slice(proposal, proposal + 1)
    return RollOut(
        rolled.lateral[one], rolled.target[one], rolled.s[one], rolled.v[one], rolled.lead[one], rolled.poses[one]
    )


@cached
def path_pose(s: Floats, poses: Floats, at: float) -> Floats:
    """(3,) pose at an arc length, clipped to the path; heading in [-pi, pi]."""
    at = min(max(at, FIRST_PROGRESS), s[-1])
    high = min(max(int(np.searchsorted(s, at)), 1), len(s) - 1)
    span = s[high] - s[high - 1]
    share = (at - s[high - 1]) / span if span > 0 else 1.0
    pose = poses[high - 1] + share * (poses[high] - poses[high - 1])
    pose[2] = math.atan2(math.sin(pose[2]), math.cos(pose[2]))
    return pose


@cached
def idm_step(s: float, v: float, target: float, lead_s: float, lead_v: float, lead_rear: float) -> tuple[float, float]:
    """Arc length and speed 0.1 s later; the speed may become negative."""
    root = 2 * math.sqrt(MAX_ACCELERATION * MAX_DECELERATION)
    wanted = MIN_GAP + v * HEADWAY + v * (v - lead_v) / root
    gap = max(lead_s - s - lead_rear, MIN_GAP)
    change = MAX_ACCELERATION * (1 - (v / target) ** EXPONENT - (wanted / gap) ** 2)
    return s + DT * v, v + DT * min(max(change, -MAX_DECELERATION), MAX_ACCELERATION)


@cached
def _unroll(
    s0: Floats, v0: Floats, lead0: Floats, pose0: Floats, lateral: Ints, target: Floats, path_s: Floats,
    path_poses: Floats, row_of_path: Ints, done: int, until: int, inside: Ints, progress: Floats, corners: Floats,
    velocity: Floats, speed: Floats, heading: Floats, first_step: int, light_inside: Ints, light_progress: Floats,
    light_start: Ints, rings: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """s, v (P, until - done), lead (P, 3), poses (P, until - done, 3) of the steps done + 1 .. until."""
    num = until - done
    s_out, v_out = np.empty((len(s0), num)), np.empty((len(s0), num))
    poses, leads, ring = np.empty((len(s0), num, 3)), lead0.copy(), np.empty((4, 2))
    for p in range(len(s0)):
        s, v, pose = s0[p], v0[p], pose0[p].copy()
        lead_s, lead_v, lead_rear = lead0[p]
        path = lateral[p]
        for k in range(num):
            step = done + 1 + k
            if step % LEAD_EVERY == 0:
                row, j = row_of_path[path], (step - (done // LEAD_EVERY + 1) * LEAD_EVERY) // LEAD_EVERY
                t = (first_step + j) * STEP
                nearest, lead_rear, lead_v, found = np.inf, 0.0, 0.0, False
                for i in range(len(corners)):
                    if inside[row, j, i] and progress[row, j, i] > s:
                        for k_corner in range(4):
                            ring[k_corner, 0] = corners[i, k_corner, 0] + velocity[i, 0] * t
                            ring[k_corner, 1] = corners[i, k_corner, 1] + velocity[i, 1] * t
                        distance = ego_to_ring(pose, ring, nearest)
                        if distance < nearest:
                            nearest, lead_v, found = distance, speed[i] * math.cos(heading[i] - pose[2]), True
                for i in range(light_inside.shape[1]):
                    if light_inside[row, i] and light_progress[row, i] > s:
                        distance = ego_to_ring(pose, rings[light_start[i] : light_start[i + 1]], nearest)
                        if distance < nearest:
                            nearest, lead_v, found = distance, 0.0, True
                lead_s = s + nearest
                if not found:
                    lead_s, lead_v, lead_rear = path_s[path, -1], 0.0, EGO_LENGTH / 2
            s, v = idm_step(s, v, target[p], lead_s, lead_v, lead_rear)
            pose = path_pose(path_s[path], path_poses[path], s)
            s_out[p, k], v_out[p, k], poses[p, k] = s, v, pose
        leads[p, 0], leads[p, 1], leads[p, 2] = lead_s, lead_v, lead_rear
    return s_out, v_out, leads, poses


@cached
def ego_to_ring(pose: Floats, ring: Floats, limit: float) -> float:
    """Distance [m] from the ego's box at a rear-axle pose (3,) to a simple polygon (n, 2), 0 where they meet.

    Worked out in the ego's frame, where the box is centred and upright; anything of `limit` [m] or more may come back
    larger than it is.
    """
    c, d = math.cos(pose[2]), math.sin(pose[2])
    half_length, half_width = EGO_LENGTH / 2, EGO_WIDTH / 2
    center_x = pose[0] + (EGO_FRONT - half_length) * c
    center_y = pose[1] + (EGO_FRONT - half_length) * d
    nearest = limit
    inside = False  # the box's centre in the polygon, by the even-odd rule
    last = len(ring) - 1
    ax = (ring[last, 0] - center_x) * c + (ring[last, 1] - center_y) * d
    ay = (ring[last, 1] - center_y) * c - (ring[last, 0] - center_x) * d
    for i in range(len(ring)):
        bx = (ring[i, 0] - center_x) * c + (ring[i, 1] - center_y) * d
        by = (ring[i, 1] - center_y) * c - (ring[i, 0] - center_x) * d
        if (ay > 0) != (by > 0) and ax + ay / (ay - by) * (bx - ax) > 0:
            inside = not inside
        apart_x = max(min(ax, bx) - half_length, -half_length - max(ax, bx), 0.0)
        apart_y = max(min(ay, by) - half_width, -half_width - max(ay, by), 0.0)
        if math.hypot(apart_x, apart_y) < nearest:
            nearest = min(nearest, box_to_segment(half_length, half_width, ax, ay, bx, by))
        ax, ay = bx, by
    return 0.0 if inside else nearest


@cached
def box_to_segment(half_length: float, half_width: float, ax: float, ay: float, bx: float, by: float) -> float:
    """Distance [m] from an upright box around the origin to the segment a b; 0 where they meet."""
    if segment_enters(half_length, half_width, ax, ay, bx, by):
        return 0.0
    nearest = min(outside(half_length, half_width, ax, ay), outside(half_length, half_width, bx, by))
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    for sx in (-half_length, half_length):
        for sy in (-half_width, half_width):
            t = 0.0 if length == 0 else min(max(((sx - ax) * dx + (sy - ay) * dy) / length, 0.0), 1.0)
            nearest = min(nearest, math.hypot(ax + t * dx - sx, ay + t * dy - sy))
    return nearest


@cached
def outside(half_length: float, half_width: float, x: float, y: float) -> float:
    """Distance [m] from a point to the upright box."""
    return math.hypot(max(abs(x) - half_length, 0.0), max(abs(y) - half_width, 0.0))


@cached
def segment_enters(half_length: float, half_width: float, ax: float, ay: float, bx: float, by: float) -> bool:
    """Whether the segment a b meets the upright box (slab method)."""
    low, high = 0.0, 1.0
    for start, step, half in ((ax, bx - ax, half_length), (ay, by - ay, half_width)):
        if step == 0.0:
            if abs(start) > half:
                return False
            continue
        t1, t2 = (-half - start) / step, (half - start) / step
        low, high = max(low, min(t1, t2)), min(high, max(t1, t2))
    return low <= high

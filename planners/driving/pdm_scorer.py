"""PDM-Closed, the scorer: nuPlan's closed-loop metrics on the simulated proposals against the forecast."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import shapely
from numba import njit
from scipy.signal import savgol_filter

from embodia.envs.driving.map.geometry import bearings, box_corners
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.map.segments import project_all
from embodia.envs.driving.types import Bools, Floats, Ints, StateColumn
from embodia.envs.driving.vehicle.bicycle import ego_boxes
from embodia.planners.driving.pdm_areas import EgoAreas
from embodia.planners.driving.pdm_forecast import STEP, Forecast
from embodia.planners.driving.pdm_proposals import Paths

DT = 0.1  # [s]
AHEAD, BEHIND = math.radians(30), math.radians(150)
STOPPED, TTC_STOPPED = 0.05, 0.005  # [m/s]
TTC_STEPS = (0, 3, 6, 9)  # of 0.1 s
ALLOWED_AGAINST, TOLERATED_AGAINST = 2.0, 6.0  # [m]
LEAST_PROGRESS = 0.1  # [m]
WEIGHTS = {"progress": 5.0, "ttc": 5.0, "comfort": 2.0}


@dataclass(frozen=True)
class Scores:
    """Scores of P proposals."""

    total: Floats  # (P,)
    collision_time: Floats  # (P,) [s] of the first at-fault collision, inf for none
    parts: dict[str, Floats]  # (P,) each


def score_proposals(states: Floats, forecast: Forecast, paths: Paths, areas: EgoAreas, road_map: Map) -> Scores:
    """Score simulated states (P, T, 11) that drive over `areas`; progress is along the first path."""
    boxes = ego_boxes(states)
    aside = areas.multiple_lanes | areas.nondrivable
    no_collision, collision_time = at_fault_collisions(states, boxes, forecast, aside)
    no_conflict = time_to_collision(states, boxes, forecast, aside, road_map)
    direction = driving_direction(boxes[..., :2], areas.oncoming)
    parts: dict[str, Floats] = {
        "no_collision": no_collision,
        "drivable": np.where(areas.nondrivable.any(axis=1), 0.0, 1.0),
        "direction": direction,
        "ttc": no_conflict,
        "comfort": np.where(comfortable(states), 1.0, 0.0),
    }
    valid = parts["no_collision"] * parts["drivable"] * parts["direction"]
    ends = project_all(boxes[:, [0, -1], :2].reshape(-1, 2), paths.nodes[0], paths.s[0]).reshape(-1, 2)
    gained = np.asarray((ends[:, 1] - ends[:, 0]) * valid)
    parts["progress"] = normalised_progress(gained, valid)
    total = valid * sum(weight * parts[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
    return Scores(np.asarray(total), collision_time, parts)


def normalised_progress(progress: Floats, valid: Floats) -> Floats:
    """Return progress (P,) [m] relative to the best; if no proposal progresses, 1 for those that break no rule."""
    best = progress.max()
    return progress / best if best > LEAST_PROGRESS else (valid > 0).astype(np.float64)


def at_fault_collisions(states: Floats, boxes: Floats, forecast: Forecast, aside: Bools) -> tuple[Floats, Floats]:
    """Scores (P,) and times (P,) [s] of the first contact with each object that is the ego's fault.

    Only the first contact counts: one that is not at fault makes the object harmless for the rest of the proposal.
    """
    score, time = np.ones(len(states)), np.full(len(states), np.inf)
    fresh = np.flatnonzero(~forecast.known[: len(forecast.boxes)])
    if not len(fresh):
        return score, time
    first = first_contacts(boxes, forecast.boxes[fresh], forecast.velocity[fresh])
    proposal, column = np.nonzero(first >= 0)
    step, who = first[proposal, column], fresh[column]
    state, box = states[proposal, step], boxes[proposal, step]
    there = forecast.boxes[who].copy()
    there[:, :2] += forecast.velocity[who] * ((step // 2) * STEP)[:, None]
    moving = np.hypot(state[:, StateColumn.VX], state[:, StateColumn.VY]) > STOPPED
    stopped_track = forecast.speeds[who] <= STOPPED
    behind = bearings(state[:, :3], there[:, :2]) > BEHIND
    corners = box_corners(box)
    fronts = shapely.linestrings(corners[:, [0, 3]])
    front = shapely.intersects(fronts, shapely.polygons(box_corners(there)))
    at_fault = moving & (stopped_track | (~behind & (front | aside[proposal, step])))
    for p, k, agent in zip(proposal[at_fault], step[at_fault], forecast.is_agent[who[at_fault]]):
        score[p] = min(score[p], 0.0 if agent else 0.5)
        time[p] = min(time[p], k * DT)
    return score, time


def time_to_collision(states: Floats, boxes: Floats, forecast: Forecast, aside: Bools, road_map: Map) -> Floats:
    """Return (P,) 0 if the ego, at constant velocity, would meet a relevant object within 0.9 s, else 1."""
    score = np.ones(len(states))
    fresh = np.flatnonzero(~forecast.known[: len(forecast.boxes)])
    if not len(fresh):
        return score
    speed = np.hypot(states[..., StateColumn.VX], states[..., StateColumn.VY])
    first = first_conflicts(boxes, speed, forecast.boxes[fresh], forecast.velocity[fresh])
    proposal, column = np.nonzero(first[..., 0] >= 0)
    step, ahead = first[proposal, column, 0], first[proposal, column, 1]
    who = fresh[column]
    poses = states[proposal, step, :3]
    there = forecast.boxes[who, :2] + forecast.velocity[who] * (((step + ahead) // 2) * STEP)[:, None]
    angle = bearings(poses, there)
    minded = aside[proposal, step] | road_map.intersections.contains(poses[:, :2])
    score[proposal[(angle < AHEAD) | (minded & ~(angle > BEHIND))]] = 0.0
    return score


def driving_direction(centers: Floats, oncoming: Bools) -> Floats:
    """(P,) by the metres travelled in one stretch while the centre (P, T, 2) is off the route's lanes (P, T)."""
    travelled = np.zeros(oncoming.shape)
    travelled[:, 1:] = np.hypot(*np.moveaxis(np.diff(centers, axis=1), -1, 0))
    total = np.cumsum(travelled * oncoming, axis=1)
    before = np.where(oncoming, 0.0, total)
    stretch = (total - np.maximum.accumulate(before, axis=1)).max(axis=1)
    return np.where(stretch < ALLOWED_AGAINST, 1.0, np.where(stretch < TOLERATED_AGAINST, 0.5, 0.0))


def comfortable(states: Floats) -> Bools:
    """(P,) six bounds on the rear axle's motion (P, T, 11), smoothed over windows as long as the proposal."""
    steps = states.shape[1]
    ax, ay = states[..., StateColumn.AX], states[..., StateColumn.AY]

    def smooth(values: Floats, window: int, degree: int = 2, order: int = 0) -> Floats:
        return np.asarray(np.round(values @ savgol_matrix(steps, min(window, steps), degree, order), 8))

    turns = np.zeros(states.shape[:2])
    heading = states[..., StateColumn.HEADING]
    turns[:, 1:] = np.cumsum(np.round(np.diff(heading, axis=1) / (2 * np.pi)), axis=1)
    heading = heading - 2 * np.pi * turns
    bounded = [
        (smooth(ax, steps), -4.05, 2.40),
        (smooth(ay, steps), -4.89, 4.89),
        (smooth(smooth(np.hypot(ax, ay), 8), steps, 2, 1), -8.37, 8.37),
        (smooth(smooth(ax, 8), steps, 2, 1), -4.13, 4.13),
        (smooth(heading, 5, 3, 2), -1.93, 1.93),
        (smooth(heading, 5, 2, 1), -0.95, 0.95),
    ]
    return np.all([np.all((values > low) & (values < high), axis=1) for values, low, high in bounded], axis=0)


@cache
def savgol_matrix(steps: int, window: int, degree: int, order: int) -> Floats:
    """(steps, steps) the Savitzky-Golay filter as a matrix to multiply rows of samples with."""
    return np.asarray(savgol_filter(np.eye(steps), window, degree, deriv=order, delta=DT, axis=-1))


@njit(cache=True)
def first_contacts(boxes: Floats, others: Floats, velocity: Floats) -> Ints:
    """(P, n) first step at which ego boxes (P, T, 5) meet boxes (n, 5) that shift at velocity (n, 2); -1 for never."""
    num, steps = boxes.shape[:2]
    first = np.full((num, len(others)), -1)
    for j in range(len(others)):
        reach = meeting_distance(boxes[0, 0], others[j])
        for p in range(num):
            for k in range(steps):
                t = (k // 2) * STEP
                dx = others[j, 0] + velocity[j, 0] * t - boxes[p, k, 0]
                dy = others[j, 1] + velocity[j, 1] * t - boxes[p, k, 1]
                if dx * dx + dy * dy <= reach and boxes_meet(boxes[p, k], others[j], dx, dy):
                    first[p, j] = k
                    break
    return first


@njit(cache=True)
def first_conflicts(boxes: Floats, speed: Floats, others: Floats, velocity: Floats) -> Ints:
    """(P, n, 2) first step, and steps ahead of it, at which the moving ego, shifted on at its speed, meets a box."""
    num, steps = boxes.shape[:2]
    first = np.full((num, len(others), 2), -1)
    reach = np.array([meeting_distance(boxes[0, 0], other) for other in others])
    for p in range(num):
        course_x, course_y = np.cos(boxes[p, :, 2]) * speed[p] * DT, np.sin(boxes[p, :, 2]) * speed[p] * DT
        for j in range(len(others)):
            found = False
            for k in range(steps):
                if speed[p, k] < TTC_STOPPED:
                    continue
                for ahead in TTC_STEPS:
                    t = ((k + ahead) // 2) * STEP
                    dx = others[j, 0] + velocity[j, 0] * t - boxes[p, k, 0] - course_x[k] * ahead
                    dy = others[j, 1] + velocity[j, 1] * t - boxes[p, k, 1] - course_y[k] * ahead
                    if dx * dx + dy * dy <= reach[j] and boxes_meet(boxes[p, k], others[j], dx, dy):
                        first[p, j, 0], first[p, j, 1] = k, ahead
                        found = True
                        break
                if found:
                    break
    return first


@njit(cache=True)
def meeting_distance(a: Floats, b: Floats) -> float:
    """Squared distance [m^2] of their centres beyond which boxes a and b (5,) cannot meet."""
    return ((math.hypot(a[3], a[4]) + math.hypot(b[3], b[4])) / 2) ** 2


@njit(cache=True)
def boxes_meet(a: Floats, b: Floats, dx: float, dy: float) -> bool:
    """Whether boxes a and b (5,) meet with b's centre (dx, dy) from a's; separating axes, touching counts."""
    turn_c, turn_s = abs(math.cos(a[2] - b[2])), abs(math.sin(a[2] - b[2]))
    for own, other in ((a, b), (b, a)):
        c, s = math.cos(own[2]), math.sin(own[2])
        if abs(dx * c + dy * s) > (own[3] + other[3] * turn_c + other[4] * turn_s) / 2:
            return False
        if abs(dy * c - dx * s) > (own[4] + other[3] * turn_s + other[4] * turn_c) / 2:
            return False
    return True

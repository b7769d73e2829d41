"""PDM-Closed, the scorer: nuPlan's closed-loop metrics on the simulated proposals against the forecast."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numba import njit
from scipy.signal import savgol_filter

from envs.driving.geometry import bearings, box_corners
from envs.driving.map import Map
from envs.driving.types import Bools, Floats, Ints, StateColumn
from envs.driving.vehicle import ego_boxes
from planners.pdm_forecast import STEP, Forecast

DT = 0.1  # [s]
AHEAD, BEHIND = math.radians(30), math.radians(150)
STOPPED, TTC_STOPPED = 0.05, 0.005  # [m/s]
TTC_STEPS = (0, 3, 6, 9)  # of 0.1 s
ALLOWED_AGAINST, TOLERATED_AGAINST = 2.0, 6.0  # [m]
LEAST_PROGRESS = 0.1  # [m]
WEIGHTS = {"progress": 5.0, "ttc": 5.0, "comfort": 2.0}


@dataclass(frozen=True)
class Scores:
    """Of P proposals."""

    total: Floats  # (P,)
    collision_time: Floats  # (P,) [s] of the first at-fault collision, inf for none
    parts: dict[str, Floats]  # (P,) each


@dataclass(frozen=True)
class EgoAreas:
    """Where the ego is, (P, T) each."""

    multiple_lanes: Bools
    nondrivable: Bools
    oncoming: Bools


def score_proposals(
    states: Floats,
    forecast: Forecast,
    centerline: Any,
    road_map: Map,
    drivable: set[int],
    carparks: Ints,
    route: set[int],
) -> Scores:
    """Score simulated states (P, T, 11).

    centerline: shapely line; drivable: edges of the roadblocks near the ego, carparks: indices of car parks near it;
    route: edges on the route.
    """
    boxes = ego_boxes(states)
    areas = ego_areas(boxes, road_map, drivable, carparks, route)
    aside = areas.multiple_lanes | areas.nondrivable
    no_collision, collision_time = at_fault_collisions(states, boxes, forecast, aside)
    no_conflict = time_to_collision(states, boxes, forecast, aside, road_map)
    direction = driving_direction(boxes[..., :2], areas.oncoming)
    parts = {
        "no_collision": no_collision,
        "drivable": 1.0 - areas.nondrivable.any(axis=1),
        "direction": direction,
        "ttc": no_conflict,
        "comfort": comfortable(states).astype(np.float64),
    }
    valid = parts["no_collision"] * parts["drivable"] * parts["direction"]
    ends = shapely.line_locate_point(centerline, shapely.points(boxes[:, [0, -1], :2]))
    parts["progress"] = normalised_progress((ends[:, 1] - ends[:, 0]) * valid, valid)
    total = valid * sum(weight * parts[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
    return Scores(np.asarray(total), collision_time, parts)


def normalised_progress(progress: Floats, valid: Floats) -> Floats:
    """Progress (P,) [m] over the best one; where nobody gets on, 1 for whoever breaks no rule."""
    best = progress.max()
    return progress / best if best > LEAST_PROGRESS else (valid > 0).astype(np.float64)


def ego_areas(boxes: Floats, road_map: Map, drivable: set[int], carparks: Ints, route: set[int]) -> EgoAreas:
    """Lanes under the corners and the centre of boxes (P, T, 5)."""
    shape = boxes.shape[:2]
    corners = box_corners(boxes).reshape(-1, 2)  # (P T 4, 2)
    owner, polygon = _containing(corners, road_map, drivable, carparks)
    instant = owner // 4
    num_polygons = len(road_map.edges) + len(road_map.carparks)
    pairs, corner_count = np.unique(instant * num_polygons + polygon, return_counts=True)
    touched = np.bincount(pairs // num_polygons, minlength=shape[0] * shape[1])
    whole = np.zeros(shape[0] * shape[1], bool)
    whole[pairs[corner_count == 4] // num_polygons] = True
    covered = np.zeros(len(corners), bool)
    covered[owner] = True
    centers = boxes[..., :2].reshape(-1, 2)
    owner, polygon = _containing(centers, road_map, drivable & route, np.zeros(0, np.int64))
    on_route = np.zeros(len(centers), bool)
    on_route[owner] = True
    return EgoAreas(
        ((touched > 1) & ~whole).reshape(shape),
        ~covered.reshape(*shape, 4).all(axis=2),
        ~on_route.reshape(shape),
    )


def _containing(points: Floats, road_map: Map, edges: set[int], carparks: Ints) -> tuple[Ints, Ints]:
    """Pairs (point, polygon) of points (n, 2) inside some edges and car parks (numbered after the edges)."""
    wanted = np.zeros(len(road_map.edges) + len(road_map.carparks), bool)
    wanted[list(edges)] = True
    wanted[len(road_map.edges) + carparks] = True
    layers = (
        (road_map.lane_layer, 0),
        (road_map.connector_layer, road_map.num_lanes),
        (road_map.carparks, len(road_map.edges)),
    )
    found = [(point, polygon + base) for layer, base in layers for point, polygon in [layer.containing(points)]]
    point, polygon = (np.concatenate([f[k] for f in found]) for k in range(2))
    keep = wanted[polygon]
    return point[keep], polygon[keep]


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
    """(P,) 0 where the ego, going on as it does, would within 0.9 s meet an object that it has to mind."""
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
        smoothed = savgol_filter(values, min(window, steps), degree, deriv=order, delta=DT, axis=-1)
        return np.asarray(np.round(smoothed, 8))

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


@njit(cache=True)
def first_contacts(boxes: Floats, others: Floats, velocity: Floats) -> Ints:
    """(P, n) first step at which ego boxes (P, T, 5) meet boxes (n, 5) that shift at velocity (n, 2); -1 for never."""
    num, steps = boxes.shape[:2]
    first = np.full((num, len(others)), -1)
    for p in range(num):
        for j in range(len(others)):
            for k in range(steps):
                t = (k // 2) * STEP
                x, y = others[j, 0] + velocity[j, 0] * t, others[j, 1] + velocity[j, 1] * t
                if boxes_meet(boxes[p, k], 0.0, 0.0, others[j], x, y):
                    first[p, j] = k
                    break
    return first


@njit(cache=True)
def first_conflicts(boxes: Floats, speed: Floats, others: Floats, velocity: Floats) -> Ints:
    """(P, n, 2) first step, and steps ahead of it, at which the moving ego, shifted on at its speed, meets a box."""
    num, steps = boxes.shape[:2]
    first = np.full((num, len(others), 2), -1)
    for p in range(num):
        for j in range(len(others)):
            found = False
            for k in range(steps):
                if speed[p, k] < TTC_STOPPED:
                    continue
                for ahead in TTC_STEPS:
                    t = ((k + ahead) // 2) * STEP
                    x, y = others[j, 0] + velocity[j, 0] * t, others[j, 1] + velocity[j, 1] * t
                    shift = speed[p, k] * ahead * DT
                    dx, dy = shift * math.cos(boxes[p, k, 2]), shift * math.sin(boxes[p, k, 2])
                    if boxes_meet(boxes[p, k], dx, dy, others[j], x, y):
                        first[p, j, 0], first[p, j, 1] = k, ahead
                        found = True
                        break
                if found:
                    break
    return first


@njit(cache=True)
def boxes_meet(a: Floats, dx: float, dy: float, b: Floats, x: float, y: float) -> bool:
    """Whether box a (5,) shifted by (dx, dy) meets box b (5,) put at (x, y); separating axes, touching counts."""
    ox, oy = x - a[0] - dx, y - a[1] - dy
    radius = (math.hypot(a[3], a[4]) + math.hypot(b[3], b[4])) / 2
    if ox * ox + oy * oy > radius * radius:
        return False
    turn_c, turn_s = abs(math.cos(a[2] - b[2])), abs(math.sin(a[2] - b[2]))
    for own, other in ((a, b), (b, a)):
        c, s = math.cos(own[2]), math.sin(own[2])
        if abs(ox * c + oy * s) > (own[3] + other[3] * turn_c + other[4] * turn_s) / 2:
            return False
        if abs(oy * c - ox * s) > (own[4] + other[3] * turn_s + other[4] * turn_c) / 2:
            return False
    return True

"""PDM-Closed, the forecast: every object keeps its speed along its heading; red lights on the route stand in the way.

Objects are oriented boxes that shift over time, red lights the polygons of their connectors; both carry one index.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import Polygon

from embodia.envs.driving.map.geometry import box_polygons, boxes_intersect, wrap_angle
from embodia.envs.driving.types import AGENT_TYPES, STATIC_TYPES, Bools, Floats, Scene, TrackedObjectType, Tracks
from embodia.envs.driving.vehicle.bicycle import ego_boxes

RADIUS = 50.0  # [m] around the ego's centre
MOST_NEAR = {TrackedObjectType.VEHICLE: 50, TrackedObjectType.PEDESTRIAN: 25, TrackedObjectType.BICYCLE: 10}
MOST_NEAR_STATIC = 50
STEP = 0.2  # [s] between forecast boxes
IS_STATIC = np.isin(np.arange(len(TrackedObjectType)), STATIC_TYPES)
IS_AGENT = np.isin(np.arange(len(TrackedObjectType)), AGENT_TYPES)


@dataclass(frozen=True)
class Forecast:
    """n objects and m red lights."""

    tokens: tuple[str, ...]  # (n + m,)
    boxes: Floats  # (n, 5) now
    velocity: Floats  # (n, 2) [m/s] at which the boxes shift
    speeds: Floats  # (n,) [m/s], zero for static objects
    is_agent: Bools  # (n,)
    red_lights: tuple[Polygon, ...]  # (m,)
    known: Bools  # (n + m,) collided before (or now): ignored from now on


def forecast(scene: Scene, red_lights: dict[str, Polygon], collided: frozenset[str]) -> tuple[Forecast, frozenset[str]]:
    """Forecast a scene; `red_lights` by connector id. Gives the collided tokens with those that touch the ego now."""
    ego = ego_boxes(scene.ego.pose)
    tracks = nearest(scene.tracks, ego[:2], collided)
    velocity = along_heading(tracks)
    lights = {f"red_light_{i}": polygon for i, polygon in red_lights.items()}
    touching = boxes_intersect(ego[None], tracks.boxes) if len(tracks) else np.zeros(0, bool)
    now = {token for token, hit in zip(tracks.tokens, touching) if hit}
    if lights:
        within = shapely.within(box_polygons(ego), list(lights.values()))
        now |= {token for token, hit in zip(lights, within) if hit}
    collided = collided | now
    tokens = (*tracks.tokens, *lights)
    return Forecast(
        tokens,
        tracks.boxes,
        velocity,
        np.where(IS_STATIC[tracks.types], 0.0, np.hypot(*tracks.velocities.T)),
        IS_AGENT[tracks.types],
        tuple(lights.values()),
        np.array([token in collided for token in tokens], bool),
    ), collided


def nearest(tracks: Tracks, center: Floats, collided: frozenset[str]) -> Tracks:
    """Static objects, vehicles, pedestrians, bicycles within 50 m that did not collide, the nearest of each kind."""
    distance = np.hypot(tracks.boxes[:, 0] - center[0], tracks.boxes[:, 1] - center[1])
    fresh = distance <= RADIUS
    if collided:
        fresh &= [token not in collided for token in tracks.tokens]
    kinds = [(IS_STATIC[tracks.types], MOST_NEAR_STATIC)]
    kinds += [(tracks.types == kind, most) for kind, most in MOST_NEAR.items()]
    chosen = []
    for mask, most in kinds:
        index = np.flatnonzero(mask & fresh)
        chosen.append(index[np.argsort(distance[index])][:most])
    return tracks.select(np.concatenate(chosen))


def along_heading(tracks: Tracks) -> Floats:
    """(n, 2) velocity [m/s]: the speed along the box's heading, or against it for objects that move backwards."""
    speed = np.hypot(*tracks.velocities.T)
    course = np.arctan2(tracks.velocities[:, 1], tracks.velocities[:, 0])
    backwards = np.abs(wrap_angle(tracks.boxes[:, 2] - course)) >= np.pi / 2
    heading = tracks.boxes[:, 2] + np.pi * backwards
    speed = np.where(IS_STATIC[tracks.types], 0.0, speed)
    return np.stack([np.cos(heading) * speed, np.sin(heading) * speed], axis=-1)

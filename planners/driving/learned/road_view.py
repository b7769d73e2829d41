"""What a learned driving planner sees of the road: the ego, other objects, the route and the lanes, as tensors.

The driving environment's observations (rows of recorded drives, for training) and scenes (in closed loop) give the same
view. Everything is in the ego's frame: rear axle, x forward, y left; metres, seconds, radians.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodia.envs.driving.map.geometry import wrap_angle
from embodia.envs.driving.map.lane_pieces import LanePieces, lane_pieces
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.map.route_path import BEHIND, RoutePath, route_path
from embodia.envs.driving.types import EgoState, Floats, Scene, TrafficLightStatus
from embodia.envs.driving.vehicle.bicycle import PACIFICA

OBSERVATION = ("ego", "agents", "lanes", "route", "futures")
"""Observations of the driving environment that a view is made of; the last one only for training."""
AGENTS, LANES, ROUTE = 20, 24, 20  # most objects and lane pieces; points of the route ahead
ROUTE_STEP = 4.0  # [m]
REACH = 60.0  # [m] to the farthest objects and lane pieces
RED_REACH = 40.0  # [m] to the farthest red light
SPEED, LENGTH, ACCELERATION = 10.0, 10.0, 4.0  # units of the environment's observations
STATIC = 3  # kinds: vehicle, pedestrian, bicycle, static object
CENTRE = PACIFICA.rear_axle_to_center
MAP_REACH, MAP_PIECES = 400.0, 192  # [m] of route and number of lane pieces that are kept of a map


@dataclass(frozen=True)
class RoadView:
    """The view of N egos. Rows without meaning are zero."""

    ego: Tensor  # (N, 4) speed, acceleration, steering, yaw rate
    boxes: Tensor  # (N, A, 5) centre x, y, heading, length, width
    velocities: Tensor  # (N, A, 2)
    kinds: Tensor  # (N, A) int64
    there: Tensor  # (N, A) bool
    route: Tensor  # (N, 21, 3) poses every 4 m, the first beside the centre of the ego's box
    limits: Tensor  # (N, 21) [m/s] speed limits there
    on_route: Tensor  # (N, 21) bool, False where there is no route
    red: Tensor  # (N,) [m] along the route from the first of them to a red light, inf without one within 40 m
    lanes: Tensor  # (N, L, 10, 2) pieces of lane centre lines
    lane_there: Tensor  # (N, L) bool
    futures: Tensor | None = None  # (N, A, 10, 4) where objects will be every 0.5 s: pose, and 1 where known

    def __len__(self) -> int:
        return len(self.ego)

    def __getitem__(self, index: Any) -> "RoadView":
        """The views of some egos: a slice, a mask or indices (n,)."""
        present = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}
        chosen: dict[str, Any] = {name: value[index] for name, value in present.items()}
        return RoadView(**chosen)


def view_of_rows(obs: Mapping[str, Tensor]) -> RoadView:
    """Return the view of observations (N, ...) of the driving environment, keys `OBSERVATION`.

    Raises KeyError if one of ego, agents, lanes and route is missing.
    """
    if missing := [key for key in OBSERVATION[:-1] if key not in obs]:
        raise KeyError(f"learned driving planners read {', '.join(OBSERVATION)}; the rows lack {', '.join(missing)}")
    ego, agents, lanes, route = (torch.as_tensor(obs[key]).float() for key in OBSERVATION[:-1])
    heading = -ego[:, 5]
    left = torch.stack([-heading.sin(), heading.cos()], -1)
    beside = torch.tensor([CENTRE, 0.0], device=ego.device) - 4 * ego[:, 4:5] * left
    first = torch.cat([beside, heading[:, None]], -1)
    ahead = torch.cat([LENGTH * route[..., :2], torch.atan2(route[..., 3], route[..., 2])[..., None]], -1)
    known, there = torch.as_tensor(obs["route_mask"]).bool(), torch.as_tensor(obs["agents_mask"]).bool()
    futures = obs.get("futures")
    return RoadView(
        ego=torch.stack([SPEED * ego[:, 0], ACCELERATION * ego[:, 1], ego[:, 2], ego[:, 3]], -1),
        boxes=torch.cat(
            [
                LENGTH * agents[..., :2],
                torch.atan2(agents[..., 3], agents[..., 2])[..., None],
                LENGTH * agents[..., 6:8],
            ],
            -1,
        )
        * there[..., None],
        velocities=SPEED * agents[..., 4:6],
        kinds=agents[..., 8:12].argmax(-1),
        there=there,
        route=torch.cat([first[:, None], ahead], 1),
        limits=SPEED * torch.cat([ego[:, 6:7], route[..., 4]], 1),
        on_route=torch.cat([known[:, :1], known], 1),
        red=torch.where(ego[:, 7] > 0.5, RED_REACH * (1 - ego[:, 8]), torch.inf),
        lanes=LENGTH * lanes[..., :20].unflatten(-1, (10, 2)),
        lane_there=torch.as_tensor(obs["lanes_mask"]).bool(),
        futures=None if futures is None else unscaled(torch.as_tensor(futures).float()),
    )


def unscaled(futures: Tensor) -> Tensor:
    """Poses and whether they are known (..., 4) of futures (..., 5): place in 10 m, cos, sin, known."""
    heading = torch.atan2(futures[..., 3], futures[..., 2])
    return torch.cat([LENGTH * futures[..., :2], heading[..., None], futures[..., 4:]], -1)


@dataclass
class Road:
    """The map around one scenario's route; `along` is where on it the ego was seen last."""

    path: RoutePath
    pieces: LanePieces
    path_lights: list[str]  # id of the connector that each point of the path lies on, or ""
    along: float  # [m]

    @classmethod
    def of(cls, road_map: Map, route: Sequence[str], ego: EgoState) -> "Road":
        """Raises ValueError for a route of which the map knows no roadblock."""
        path = route_path(road_map, tuple(route), ego.pose, MAP_REACH)
        edges = [road_map.edges[edge] for edge in path.edges]
        names = [edge.id if edge.is_connector else "" for edge in edges]
        return cls(path, lane_pieces(road_map, route, path, MAP_PIECES), names, BEHIND)

    def project(self, point: Floats) -> tuple[float, float]:
        """Arc length and left offset [m] of a point (2,), sought 5 m behind to 12 m ahead of the last one."""
        low = int(np.clip(self.along / self.path.step - 5, 0, len(self.path.points) - 2))
        points = self.path.points[low : low + 18]
        a, chord = points[:-1], np.diff(points, axis=0)
        share = np.clip(((point - a) * chord).sum(-1) / np.maximum((chord**2).sum(-1), 1e-6), 0, 1)
        away = point - a - share[:, None] * chord
        distance = np.hypot(*away.T)
        k = int(distance.argmin())
        side = np.sign(chord[k, 0] * away[k, 1] - chord[k, 1] * away[k, 0])
        self.along = (low + k + float(share[k])) * self.path.step
        return self.along, float(side * distance[k])


def view_of_scenes(scenes: Sequence[Scene], roads: Sequence[Road]) -> RoadView:
    """Return the view of scenes (N) on their roads (N)."""
    rows = [one_view(scene, road) for scene, road in zip(scenes, roads, strict=True)]
    return RoadView(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})


def one_view(scene: Scene, road: Road) -> dict[str, Any]:
    ego = scene.ego
    view = {"ego": np.array([ego.vx, ego.ax, ego.steering, ego.yaw_rate], np.float32)}
    return view | objects(scene) | route_ahead(scene, road) | lanes_around(ego, road)


def local(points: Floats, ego: EgoState) -> Floats:
    """Points (..., 2) of the map in the ego's frame."""
    x, y, cos, sin = points[..., 0] - ego.x, points[..., 1] - ego.y, np.cos(ego.heading), np.sin(ego.heading)
    return np.stack([cos * x + sin * y, cos * y - sin * x], -1)


def filled(rows: Any, size: int) -> Any:
    """Rows (n, ...) followed by zeros, (size, ...)."""
    out = np.zeros((size, *np.shape(rows)[1:]), np.asarray(rows).dtype)
    out[: len(rows)] = rows
    return out


def objects(scene: Scene) -> dict[str, Any]:
    ego, tracks = scene.ego, scene.tracks
    distance = np.hypot(tracks.boxes[:, 0] - ego.x, tracks.boxes[:, 1] - ego.y)
    near = np.argsort(distance, kind="stable")[:AGENTS]
    near = near[distance[near] < REACH]
    boxes = tracks.boxes[near].copy()
    boxes[:, :2] = local(boxes[:, :2], ego)
    boxes[:, 2] = wrap_angle(boxes[:, 2] - ego.heading)
    origin = EgoState(0, 0.0, 0.0, ego.heading)
    return {
        "boxes": filled(boxes.astype(np.float32), AGENTS),
        "velocities": filled(local(np.nan_to_num(tracks.velocities[near]), origin).astype(np.float32), AGENTS),
        "kinds": filled(np.minimum(tracks.types[near], STATIC).astype(np.int64), AGENTS),
        "there": filled(np.ones(len(near), bool), AGENTS),
    }


def route_ahead(scene: Scene, road: Road) -> dict[str, Any]:
    ego, path = scene.ego, road.path
    forward = np.array([np.cos(ego.heading), np.sin(ego.heading)])
    s, offset = road.project(ego.pose[:2] + CENTRE * forward)
    place = s / path.step + np.arange(ROUTE + 1) * (ROUTE_STEP / path.step)
    index = np.minimum(place.astype(int), len(path.points) - 1)
    after = np.minimum(index + 1, len(path.points) - 1)
    share = np.clip(place - index, 0, 1)[:, None]
    points = local(path.points[index] + share * (path.points[after] - path.points[index]), ego)
    headings = wrap_angle(path.headings[index] - ego.heading)
    left = np.array([-np.sin(headings[0]), np.cos(headings[0])])
    points[0] = np.array([CENTRE, 0.0]) - offset * left
    known = place.astype(int) < len(path.points)
    known[0] = known[1]
    return {
        "route": (np.concatenate([points, headings[:, None]], -1) * known[:, None]).astype(np.float32),
        "limits": (path.limits[index] * known).astype(np.float32),
        "on_route": known,
        "red": np.float32(red_ahead(scene, road, s)),
    }


def red_ahead(scene: Scene, road: Road, s: float) -> float:
    """[m] along the path from `s` to the first point that is on a connector with a red light, to the metre."""
    lights = {name for name, status in scene.traffic_lights.items() if status == TrafficLightStatus.RED}
    step = road.path.step
    for ahead in range(1, int(RED_REACH) + 1):
        index = int((s + ahead) / step)
        if index < len(road.path_lights) and road.path_lights[index] in lights:
            return float(ahead)
    return np.inf


def lanes_around(ego: EgoState, road: Road) -> dict[str, Any]:
    middle = road.pieces.points[:, road.pieces.points.shape[1] // 2]
    distance = np.hypot(middle[:, 0] - ego.x, middle[:, 1] - ego.y)
    near = np.argsort(distance, kind="stable")[:LANES]
    near = near[distance[near] < REACH]
    return {
        "lanes": filled(local(road.pieces.points[near], ego).astype(np.float32), LANES),
        "lane_there": filled(np.ones(len(near), bool), LANES),
    }


def seen_from(points: Tensor, aside: Tensor, turned: Tensor) -> Tensor:
    """Points (N, ..., 2) from poses `aside` [m] to the left and `turned` [rad] (N,) of the present ones."""
    shape = (len(points),) + (1,) * (points.ndim - 2)
    x, y = points[..., 0], points[..., 1] - aside.view(shape)
    cos, sin = turned.cos().view(shape), turned.sin().view(shape)
    return torch.stack([cos * x + sin * y, cos * y - sin * x], -1)


def from_pose(view: RoadView, aside: Tensor, turned: Tensor) -> RoadView:
    """The view of N egos as if each stood `aside` [m] to the left of where it is, `turned` [rad] to the left (N,)."""

    def poses(values: Tensor) -> Tensor:
        shape = (len(values),) + (1,) * (values.ndim - 2)
        place = seen_from(values[..., :2], aside, turned)
        return torch.cat([place, values[..., 2:3] - turned.view(*shape, 1), values[..., 3:]], -1)

    return replace(
        view,
        boxes=poses(view.boxes),
        velocities=seen_from(view.velocities, torch.zeros_like(aside), turned),
        route=poses(view.route),
        lanes=seen_from(view.lanes, aside, turned),
        futures=None if view.futures is None else poses(view.futures),
    )

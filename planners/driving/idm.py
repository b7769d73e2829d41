"""nuPlan's IDM planner: follow the route's baseline, keep the distance of the intelligent driver model.

Treiber, Hennecke, Helbing 2000 on the shortest lane path along the route; objects stand where they are while the plan
unrolls, and a red light's connector is an obstacle. The path is driven by the CENTRE of the ego's box.
"""

import math
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numba import njit

from embodia.envs.driving.map.geometry import box_polygons, wrap_angle
from embodia.envs.driving.map.rails import RailPath, pose_on, stretch_of
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.map.segments import corners_of, project, ring_distance
from embodia.envs.driving.types import (
    STATIC_TYPES,
    EgoState,
    Floats,
    Ints,
    Scene,
    StateColumn,
    TrackedObjectType,
    TrafficLightStatus,
    Trajectory,
    TrajectorySampling,
)
from embodia.envs.driving.vehicle.bicycle import PACIFICA, IdmParameters, ego_boxes
from embodia.planners import Carry
from embodia.planners.driving.corridor import DOUBTFUL, OUTSIDE, Corridor, in_corridor, middle

TARGET_SPEED = 10.0  # [m/s] where the lane has no limit
RADIUS = 40.0  # [m] around the ego within which objects matter
PACIFICA_LENGTH, PACIFICA_WIDTH = PACIFICA.length, PACIFICA.width
IS_STATIC = np.isin(np.arange(len(TrackedObjectType)), STATIC_TYPES)


class CenterPath(RailPath):
    """A path by arc length, linear between its nodes; projections use all the poses it was made of."""

    def __init__(self, poses: Floats):
        super().__init__(poses)
        self.line = np.ascontiguousarray(poses[:, :2])  # (m, 2)
        self.line_s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(self.line, axis=0).T))])  # (m,) [m]

    def nearest(self, x: float, y: float) -> float:
        """[m] of the place nearest to a point."""
        return float(project(x, y, self.line, self.line_s))


@dataclass(frozen=True)
class Obstacles:
    """Obstacles of a plan: n polygons, and the speed and heading of each (zero for a red light)."""

    first: Ints  # (n + 1,) row of a polygon's first corner
    rings: Floats  # (r, 2) corners
    speeds: Floats  # (n,) [m/s]
    headings: Floats  # (n,)

    @classmethod
    def of(cls, boxes: Floats, speeds: Floats, red: list[Floats]) -> "Obstacles":
        """Boxes (k, 5) with speeds (k,) [m/s], and the outlines of red connectors."""
        count, none = len(boxes), np.zeros(len(red))
        first = np.cumsum([0, *[4] * count, *(len(ring) for ring in red)])
        rings = np.concatenate([corners_of(boxes).reshape(-1, 2), *red])
        return cls(first, rings, np.concatenate([speeds, none]), np.concatenate([boxes[:, 2], none]))

    def polygons(self) -> list[Any]:
        return [shapely.Polygon(self.rings[a:b]) for a, b in pairwise(self.first)]


class IdmPlanner:
    """nuPlan's IDM baseline with its default parameters."""

    def __init__(self, idm: IdmParameters | None = None, sampling: TrajectorySampling | None = None):
        self.idm = idm or IdmParameters(max_deceleration=3.0)
        self.sampling = sampling or TrajectorySampling(16, 0.5)

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Map) -> Carry:
        """Raises ValueError for a route without a roadblock of the map."""
        blocks = [block for i in route_roadblock_ids if (block := map_api.block(i)) is not None]
        if not blocks:
            raise ValueError(f"none of the route's roadblocks is on map {map_api.name}: {route_roadblock_ids}")
        return {"map": map_api, "blocks": blocks}

    def plan(self, scene: Scene, carry: Carry) -> tuple[Trajectory, Carry]:
        """Return 16 poses every 0.5 s. The path and the target speed are fixed at the first call."""
        if "path" not in carry:
            carry = carry | self._find_path(carry["map"], carry["blocks"], scene.ego)
        obstacles = surroundings(scene, carry["map"], carry["connectors"])
        poses, speeds = self._roll_out(scene.ego, carry["path"], carry["target"], obstacles)
        return trajectory_of_centers(self.sampling.times_us(scene.time_us), poses, speeds), carry

    def _find_path(self, road_map: Map, blocks: list[int], ego: EgoState) -> Carry:
        start = starting_edge(road_map, blocks, ego)
        depth = len(blocks) - int(len(blocks) > 1 and road_map.block_of[start] == blocks[1])
        edges = breadth_first_path(road_map, start, blocks, depth)
        limit = road_map.edges[edges[0]].speed_limit or TARGET_SPEED
        path = CenterPath(np.concatenate([road_map.edges[edge].baseline.poses for edge in edges]))
        on_route = [
            edge for block in blocks for edge in road_map.block_edges[block] if road_map.edges[edge].is_connector
        ]
        outlines = {edge: shapely.get_coordinates(road_map.edges[edge].polygon.exterior)[:-1] for edge in on_route}
        return {"path": path, "target": max(limit, ego.speed), "connectors": outlines}

    def _roll_out(self, ego: EgoState, path: CenterPath, target: float, obstacles: Obstacles) -> tuple[Floats, Floats]:
        """Centre poses (17, 3) and speeds (17,)."""
        count, interval, idm = self.sampling.num_poses, self.sampling.interval, self.idm
        law = (idm.min_gap, idm.headway, idm.max_acceleration, idm.max_deceleration, idm.exponent)
        poses, speeds = np.empty((count + 1, 3)), np.empty(count + 1)
        box = ego_boxes(ego.pose)
        s, speed, pose = path.nearest(box[0], box[1]), ego.vx, box[:3]
        reach = target * self.sampling.horizon
        poses[0], speeds[0] = path.pose_at(path.clamp(s)), speed
        rings = (obstacles.first, obstacles.rings, obstacles.speeds, obstacles.headings)
        step, lead = 0, (np.nan, np.nan)
        while True:
            step, s, speed = unroll(
                path.s, path.nodes, pose, s, speed, target, reach, interval, law, *rings, step, lead, poses, speeds
            )
            if step == count:
                return poses, speeds
            pose = poses[step] if step else box[:3]
            lead = exact_lead(pose, path, s, reach, obstacles)


def starting_edge(road_map: Map, blocks: list[int], ego: EgoState) -> int:
    """The edge of the first two roadblocks that contains the ego's centre, else the one nearest to its box."""
    edges = [edge for block in blocks[:2] for edge in road_map.block_edges[block]]
    box = ego_boxes(ego.pose)
    polygons = [road_map.edges[edge].polygon for edge in edges]
    inside = np.flatnonzero(shapely.contains_xy(polygons, box[0], box[1]))
    if len(inside):
        return edges[int(inside[0])]
    return edges[int(np.argmin(shapely.distance(polygons, box_polygons(box))))]


def breadth_first_path(road_map: Map, start: int, blocks: list[int], depth: int) -> list[int]:
    """Edges from `start` to the last of the blocks, exactly `depth` edges long; else the last of the longest found."""
    candidates = {edge for block in blocks for edge in road_map.block_edges[block]}
    layers: list[dict[int, int | None]] = [{start: None}]  # per depth: edge -> the edge it was last reached from
    queue, end = deque([start]), start
    while queue and len(layers) <= depth:
        goal = next((e for e in queue if len(layers) == depth and road_map.block_of[e] == blocks[-1]), None)
        if goal is not None:
            return _trace(layers, goal)
        following: deque[int] = deque()
        parents: dict[int, int | None] = {}
        for edge in queue:
            for after in road_map.outgoing[edge]:
                if after in candidates:
                    following.append(after)
                    parents[after] = edge
                    end = after
        queue = following
        if parents:
            layers.append(parents)
    return _trace(layers, end)


def _trace(layers: list[dict[int, int | None]], end: int) -> list[int]:
    path: list[int] = []
    edge: int | None = end
    for parents in reversed(layers):
        if edge is None:
            break
        path.append(edge)
        edge = parents[edge]
    return path[::-1]


def surroundings(scene: Scene, road_map: Map, connectors: dict[int, Floats]) -> Obstacles:
    """Tracks within 40 m, and those of the route's connectors (outlines by edge) whose light is red."""
    tracks, center = scene.tracks, ego_boxes(scene.ego.pose)[:2]
    near = np.hypot(tracks.boxes[:, 0] - center[0], tracks.boxes[:, 1] - center[1]) < RADIUS
    speeds = np.where(IS_STATIC[tracks.types], 0.0, np.hypot(tracks.velocities[:, 0], tracks.velocities[:, 1]))
    red = [road_map.connector_index.get(i) for i, s in scene.traffic_lights.items() if s == TrafficLightStatus.RED]
    return Obstacles.of(tracks.boxes[near], speeds[near], [connectors[edge] for edge in red if edge in connectors])


def exact_lead(pose: Floats, path: CenterPath, s: float, reach: float, obstacles: Obstacles) -> tuple[float, float]:
    """Gap [m] and speed along the ego's heading [m/s] of the nearest obstacle in the corridor or at the box, by GEOS.

    Where there is none, the end of the path.
    """
    polygons = obstacles.polygons()
    ego = box_polygons(np.array([*pose, PACIFICA.length, PACIFICA.width]))
    stretch = path.between(path.clamp(s), path.clamp(s + reach))
    ground = Corridor(np.ascontiguousarray(stretch[:, :2]), np.zeros(0)).polygon
    index = np.flatnonzero(shapely.intersects(ground, polygons) | shapely.intersects(ego, polygons))
    if not len(index):
        return path.end - s - PACIFICA.length / 2, 0.0
    gaps = shapely.distance(ego, np.array(polygons)[index])
    lead = index[int(np.argmin(gaps))]
    return float(gaps.min()), float(obstacles.speeds[lead] * np.cos(obstacles.headings[lead] - pose[2]))


@njit(cache=True)
def unroll(
    path_s: Floats, nodes: Floats, pose: Floats, s: float, speed: float, target: float, reach: float, dt: float,
    law: tuple[float, float, float, float, float], first: Ints, rings: Floats, obstacle_speeds: Floats,
    headings: Floats, step: int, lead: tuple[float, float], poses: Floats, speeds: Floats,
) -> tuple[int, float, float]:  # fmt: skip
    """Fill in the centre poses (K + 1, 3) and speeds (K + 1,) after `step`, at which the ego's centre is at `pose`.

    `lead` is the gap and speed of the leader at this step where they are known, else NaN. Gives K, and progress and
    speed there, or the step at which the leader is in doubt.
    """
    min_gap, headway, fastest, hardest, exponent = law
    at, own = np.array([pose[0], pose[1], pose[2], PACIFICA_LENGTH, PACIFICA_WIDTH]), np.empty((1, 5))
    start, end = path_s[0], path_s[-1]
    gap, lead_speed = lead
    while step < len(poses) - 1:
        if np.isnan(gap):
            here, there = max(start, min(s, end)), max(start, min(s + reach, end))
            stretch = stretch_of(path_s, nodes, here, there)[:, :2].copy()
            along = np.zeros(len(stretch))
            for k in range(1, len(stretch)):
                dx, dy = stretch[k, 0] - stretch[k - 1, 0], stretch[k, 1] - stretch[k - 1, 1]
                along[k] = along[k - 1] + math.hypot(dx, dy)
            own[0] = at
            box = corners_of(own)[0]
            gap, lead_speed = end - s - PACIFICA_LENGTH / 2, 0.0
            nearest = np.inf
            for i in range(len(first) - 1):
                ring = rings[first[i] : first[i + 1]]
                x, y, around = middle(ring)
                away = math.hypot(x - at[0], y - at[1]) - around - PACIFICA_LENGTH
                if away > nearest or away > reach + PACIFICA_LENGTH:
                    continue
                answer = in_corridor(stretch, along, ring, x, y, around)
                if answer == OUTSIDE and (away > 0 or ring_distance(box, ring, 1.0) > 0):
                    continue
                distance = ring_distance(box, ring, np.inf)
                if answer == DOUBTFUL and 0 < distance < nearest:
                    return step, s, speed
                if distance < nearest:
                    nearest = distance
                    gap, lead_speed = distance, obstacle_speeds[i] * math.cos(headings[i] - at[2])
        braking = 2 * math.sqrt(fastest * hardest)
        wanted = min_gap + speed * headway + speed * (speed - lead_speed) / braking
        change = fastest * (1 - (speed / target) ** exponent - (wanted / max(gap, min_gap)) ** 2)
        s, speed = s + speed * dt, max(speed + dt * min(max(change, -hardest), fastest), 0.0)
        step += 1
        at[:3] = pose_on(path_s, nodes, max(start, min(s, end)))
        poses[step], speeds[step] = at[:3], speed
        gap = np.nan
    return step, s, speed


def trajectory_of_centers(time_us: Any, poses: Floats, speeds: Floats) -> Trajectory:
    """The trajectory of the rear axle from centre poses (M, 3) and speeds (M,)."""
    states = np.zeros((len(poses), 8))
    back = PACIFICA.rear_axle_to_center
    states[:, StateColumn.X] = poses[:, 0] - back * np.cos(poses[:, 2])
    states[:, StateColumn.Y] = poses[:, 1] - back * np.sin(poses[:, 2])
    states[:, StateColumn.HEADING] = wrap_angle(poses[:, 2])
    states[:, StateColumn.VX] = speeds
    return Trajectory(time_us, states)

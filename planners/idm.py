"""nuPlan's IDM planner: follow the route's baseline, keep the distance of the intelligent driver model.

Treiber, Hennecke, Helbing 2000 on the shortest lane path along the route; objects stand where they are while the plan
unrolls, and a red light's connector is an obstacle. The path is driven by the CENTRE of the ego's box.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from envs.driving.geometry import box_polygons, wrap_angle
from envs.driving.map import Map
from envs.driving.types import (
    STATIC_TYPES,
    EgoState,
    Floats,
    Scene,
    StateColumn,
    Tracks,
    TrafficLights,
    TrafficLightStatus,
    Trajectory,
    TrajectorySampling,
)
from envs.driving.vehicle import PACIFICA, IdmParameters, ego_boxes
from planners import Carry

TARGET_SPEED = 10.0  # [m/s] where the lane has no limit
RADIUS = 40.0  # [m] around the ego within which objects matter
OUTLINE = PACIFICA.length + PACIFICA.width  # [m] more than the ego's box or a square cap reaches from the path


class CenterPath:
    """A path by arc length, linear between its nodes (heading unwrapped); the last node is dropped, as in nuPlan."""

    def __init__(self, poses: Floats):
        steps = np.hypot(*np.diff(poses[:, :2], axis=0).T)
        keep = np.flatnonzero(steps > 1e-8)
        self.line = shapely.LineString(poses[:, :2])
        self.s = np.concatenate([[0.0], np.cumsum(steps)])[keep]  # (n,) [m]
        self.nodes = poses[keep].copy()  # (n, 3)
        self.nodes[:, 2] = np.unwrap(self.nodes[:, 2])

    @property
    def end(self) -> float:
        """[m]"""
        return float(self.s[-1])

    def clamp(self, s: float) -> float:
        return max(float(self.s[0]), min(s, self.end))

    def pose_at(self, s: float) -> Floats:
        """(3,) heading not wrapped."""
        high = min(max(int(np.searchsorted(self.s, s)), 1), len(self.s) - 1)
        share = (s - self.s[high - 1]) / (self.s[high] - self.s[high - 1])
        return np.asarray(self.nodes[high - 1] + share * (self.nodes[high] - self.nodes[high - 1]))

    def between(self, start: float, end: float) -> Any:
        """The LineString from one arc length to another; at the path's end its last segment."""
        first = int(np.searchsorted(self.s, start, side="right"))
        last = int(np.searchsorted(self.s, end, side="left"))
        if first == len(self.s):
            return shapely.LineString(self.nodes[-2:, :2])
        if last == 0:
            return shapely.LineString(self.nodes[:2, :2])
        inner = self.nodes[first:last, :2]
        return shapely.LineString(np.concatenate([[self.pose_at(start)[:2]], inner, [self.pose_at(end)[:2]]]))


@dataclass(frozen=True)
class Obstacles:
    """What the plan must keep its distance from: polygons, and speed and heading of each (a red light has none)."""

    polygons: Any  # (n,) shapely
    speeds: Floats  # (n,) [m/s]
    headings: Floats  # (n,)

    def near(self, line: Any) -> "Obstacles":
        """Those that could come into the way of the ego on a line."""
        shapely.prepare(line)
        close = shapely.dwithin(line, self.polygons, OUTLINE)
        return Obstacles(self.polygons[close], self.speeds[close], self.headings[close])


class IdmPlanner:
    """nuPlan's baseline; parameters are its defaults."""

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
        """16 poses every half second; the path and the target speed are fixed at the first call."""
        if "path" not in carry:
            carry = carry | self._find_path(carry["map"], carry["blocks"], scene.ego)
        on_route = {edge for block in carry["blocks"] for edge in carry["map"].block_edges[block]}
        obstacles = surroundings(scene, carry["map"], on_route)
        poses, speeds = self._roll_out(scene.ego, carry["path"], carry["target"], obstacles)
        return trajectory_of_centers(self.sampling.times_us(scene.time_us), poses, speeds), carry

    def _find_path(self, road_map: Map, blocks: list[int], ego: EgoState) -> Carry:
        start = starting_edge(road_map, blocks, ego)
        depth = len(blocks) - int(len(blocks) > 1 and road_map.block_of[start] == blocks[1])
        edges = breadth_first_path(road_map, start, blocks, depth)
        limit = road_map.edges[edges[0]].speed_limit or TARGET_SPEED
        path = CenterPath(np.concatenate([road_map.edges[edge].baseline.poses for edge in edges]))
        return {"path": path, "target": max(limit, ego.speed)}

    def _roll_out(self, ego: EgoState, path: CenterPath, target: float, obstacles: Obstacles) -> tuple[Floats, Floats]:
        """Centre poses (17, 3) and speeds (17,)."""
        box, speed = ego_boxes(ego.pose), ego.vx
        s = float(path.line.project(shapely.Point(box[:2])))
        reach = target * self.sampling.horizon
        furthest = s + reach + max(target, speed, 0.0) * self.sampling.horizon
        near = obstacles.near(path.between(path.clamp(s), path.clamp(furthest)))
        poses, speeds = [path.pose_at(path.clamp(s))], [speed]
        for _ in range(self.sampling.num_poses):
            corridor = path.between(path.clamp(s), path.clamp(s + reach))
            gap, lead_speed = _lead(box, corridor, near) or (path.end - s - box[3] / 2, 0.0)
            next_speed = float(self.idm.next_speed(speed, target, gap, lead_speed, self.sampling.interval))
            s, speed = s + speed * self.sampling.interval, next_speed
            poses.append(path.pose_at(path.clamp(s)))
            speeds.append(speed)
            box = np.array([*poses[-1], box[3], box[4]])
        return np.array(poses), np.array(speeds)


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


def surroundings(scene: Scene, road_map: Map, on_route: set[int]) -> Obstacles:
    """Tracks within 40 m, and the connectors of red lights on the route."""
    center = ego_boxes(scene.ego.pose)[:2]
    tracks: Tracks = scene.tracks
    tracks = tracks.select(np.hypot(*(tracks.boxes[:, :2] - center).T) < RADIUS)
    speeds = np.where(np.isin(tracks.types, STATIC_TYPES), 0.0, np.hypot(*tracks.velocities.T))
    red = red_connectors(scene.traffic_lights, road_map, on_route)
    polygons = np.concatenate([box_polygons(tracks.boxes), np.array([road_map.edges[e].polygon for e in red], object)])
    none = np.zeros(len(red))
    return Obstacles(polygons, np.concatenate([speeds, none]), np.concatenate([tracks.boxes[:, 2], none]))


def red_connectors(lights: TrafficLights, road_map: Map, on_route: set[int]) -> list[int]:
    """Edges of the route's connectors whose light is red."""
    red = [road_map.connector_index.get(i) for i, status in lights.items() if status == TrafficLightStatus.RED]
    return [edge for edge in red if edge is not None and edge in on_route]


def _lead(box: Floats, corridor: Any, obstacles: Obstacles) -> tuple[float, float] | None:
    """Gap [m] and speed along the ego's heading [m/s] of the nearest obstacle in the corridor or at the box."""
    if not len(obstacles.polygons):
        return None
    ego = box_polygons(box)
    touched = in_corridor(corridor, box[4] / 2, obstacles.polygons) | shapely.intersects(ego, obstacles.polygons)
    index = np.flatnonzero(touched)
    if not len(index):
        return None
    gaps = shapely.distance(ego, obstacles.polygons[index])
    lead = index[int(np.argmin(gaps))]
    turn = wrap_angle(obstacles.headings[lead] - box[2])
    return float(gaps.min()), float(obstacles.speeds[lead] * np.cos(turn))


def in_corridor(line: Any, radius: float, polygons: Any) -> Any:
    """(n,) whether polygons touch the line buffered with square caps; the buffer is built only for close calls."""
    distance = shapely.distance(line, polygons)
    inside = distance < 0.99 * radius
    unsure = ~inside & (distance < 1.5 * radius)
    if unsure.any():
        corridor = line.buffer(radius, cap_style="square")
        inside[unsure] = shapely.intersects(corridor, polygons[unsure])
    return inside


def trajectory_of_centers(time_us: Any, poses: Floats, speeds: Floats) -> Trajectory:
    """The trajectory of the rear axle from centre poses (M, 3) and speeds (M,)."""
    states = np.zeros((len(poses), 8))
    back = PACIFICA.rear_axle_to_center
    states[:, StateColumn.X] = poses[:, 0] - back * np.cos(poses[:, 2])
    states[:, StateColumn.Y] = poses[:, 1] - back * np.sin(poses[:, 2])
    states[:, StateColumn.HEADING] = wrap_angle(poses[:, 2])
    states[:, StateColumn.VX] = speeds
    return Trajectory(time_us, states)

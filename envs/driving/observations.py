"""What surrounds the ego over time: the log's own boxes, or vehicles that drive by the intelligent driver model.

The reactive traffic is nuPlan's IDMAgents, rule for rule: vehicles of the first frame are snapped onto lane baselines
and follow them; pedestrians and static objects are replayed; bicycles are left out; nobody enters later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import shapely

from envs.driving.geometry import box_corners, boxes_intersect, wrap_angle
from envs.driving.map import Map
from envs.driving.scenario import Scenario
from envs.driving.types import (
    EgoState,
    Floats,
    TrackedObjectType,
    Tracks,
    TrafficLights,
    TrafficLightStatus,
)
from envs.driving.vehicle import IdmParameters, ego_boxes

REPLAYED_TYPES = (
    TrackedObjectType.PEDESTRIAN,
    TrackedObjectType.BARRIER,
    TrackedObjectType.CZONE_SIGN,
    TrackedObjectType.TRAFFIC_CONE,
    TrackedObjectType.GENERIC_OBJECT,
)
TARGET_SPEED = 10.0  # [m/s] where no speed limit is known
MIN_PATH_LENGTH = 20.0  # [m]
RADIUS = 100.0  # [m] around the ego; agents beyond it are gone for good
MAX_ROUTE_LENGTH = 5  # edges
BUFFER_SEGMENTS = 16  # per quarter circle, as the devkit's buffers have


class Observation(Protocol):
    """The traffic of one scenario: `tracks` is what is there now."""

    tracks: Tracks

    def step(self, iteration: int, ego: EgoState, dt: float) -> Tracks:
        """Advance to `iteration`, dt [s] later, seeing the ego as it was before the step."""


class LogReplay:
    """Everything as it was recorded."""

    def __init__(self, scenario: Scenario):
        self.scenario = scenario
        self.tracks = scenario.tracks_at(0)

    def step(self, iteration: int, ego: EgoState, dt: float) -> Tracks:
        self.tracks = self.scenario.tracks_at(iteration)
        return self.tracks


class RailPath:
    """A polyline that remembers progress from its first node: poses are linear between nodes.

    The last of the given poses is dropped, and so are repeated ones, as the devkit's create_path_from_se2 does.
    """

    def __init__(self, poses: Floats):
        steps = np.diff(poses[:, :2], axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        keep = np.flatnonzero(lengths > 1e-8)
        if len(keep) < 2:
            keep = np.array([0, len(poses) - 1])  # too short to lose its end
        self.s = np.concatenate([[0.0], np.cumsum(lengths)])[keep]  # (n,) [m]
        self.nodes = poses[keep].copy()  # (n, 3)
        self.nodes[:, 2] = np.unwrap(self.nodes[:, 2])

    @property
    def end(self) -> float:
        """[m]"""
        return float(self.s[-1])

    def clamp(self, progress: float) -> float:
        return max(float(self.s[0]), min(progress, self.end))

    def pose_at(self, progress: float) -> Floats:
        """(3,) at a progress within the path; heading not wrapped."""
        high = min(max(int(np.searchsorted(self.s, progress)), 1), len(self.s) - 1)
        share = (progress - self.s[high - 1]) / (self.s[high] - self.s[high - 1])
        return np.asarray(self.nodes[high - 1] + share * (self.nodes[high] - self.nodes[high - 1]))

    def after(self, progress: float) -> Floats:
        """Poses (m, 3) from a progress to the end."""
        first = int(np.searchsorted(self.s, progress, side="right"))
        if first == len(self.s):
            return self.nodes[-2:]
        return np.concatenate([self.pose_at(progress)[None], self.nodes[first:]])

    def between(self, start: float, end: float) -> Floats:
        """Poses (m, 3) from one progress to another."""
        first = int(np.searchsorted(self.s, start, side="right"))
        last = int(np.searchsorted(self.s, end, side="left"))
        if first == len(self.s):
            return self.nodes[-2:]
        if last == 0:
            return self.nodes[:2]
        return np.concatenate([self.pose_at(start)[None], self.nodes[first:last], self.pose_at(end)[None]])


@dataclass(eq=False)
class RailAgent:
    """A vehicle on rails: its route of edges, its path along them, and its progress and speed there."""

    token: str
    route: list[int]  # edges, at most MAX_ROUTE_LENGTH
    path: RailPath
    progress: float  # [m]
    v: float  # [m/s]
    target: float  # [m/s]
    length: float
    width: float
    pose: Floats  # (3,)
    footprint: Any = None  # shapely polygon that others must keep clear of

    def extend_route(self, road_map: Map, lights: TrafficLights, headway: float) -> None:
        """Add the straightest passable edge while less than 20 m plus the headway of path remains."""
        while self.path.end - self.progress < MIN_PATH_LENGTH + self.target * headway:
            open_edges = [e for e in road_map.outgoing[self.route[-1]] if passable(road_map, e, lights)]
            if not open_edges:
                return
            edge = min(open_edges, key=road_map.start_curvature)
            self.route = [*self.route, edge][-MAX_ROUTE_LENGTH:]
            ahead = self.path.after(self.path.clamp(self.progress))
            self.path = RailPath(np.concatenate([ahead, road_map.edges[edge].baseline.poses]))
            self.progress = 0.0

    def advance(self, road_map: Map, idm: IdmParameters, gap: float, lead_v: float, dt: float) -> None:
        limit = road_map.edges[self.route[-1]].speed_limit
        if limit is not None and limit > 0:
            self.target = limit
        travelled = dt * self.v
        self.v = float(idm.next_speed(self.v, self.target, gap, lead_v, dt))
        self.progress += travelled
        self.pose = self.path.pose_at(self.path.clamp(self.progress))
        self.footprint = self.projected_footprint(idm.headway)

    def projected_footprint(self, headway: float) -> Any:
        """The box united with the strip of path it will cover within the headway."""
        start = self.path.clamp(self.progress - self.length / 2)
        end = self.path.clamp(self.progress + self.length / 2 + self.v * headway)
        strip = shapely.LineString(self.path.between(start, end)[:, :2])
        return shapely.union(flat_buffer(strip, self.width / 2), shapely.polygons(box_corners(self.box())))

    def box(self) -> Floats:
        """(5,)"""
        return np.array([self.pose[0], self.pose[1], wrap_angle(self.pose[2]), self.length, self.width])


def flat_buffer(line: Any, radius: float) -> Any:
    return shapely.buffer(line, radius, quad_segs=BUFFER_SEGMENTS, cap_style="flat")


def passable(road_map: Map, edge: int, lights: TrafficLights) -> bool:
    """With a traffic light only on green, without one unless it is reported red."""
    lane = road_map.edges[edge]
    status = lights.get(lane.id) if lane.is_connector else None
    return status == TrafficLightStatus.GREEN if lane.has_traffic_light else status != TrafficLightStatus.RED


def starting_edge(road_map: Map, box: Floats) -> int | None:
    """The lane (else, within an intersection, the connector) under a box whose direction fits its heading best."""
    x, y, heading = box[:3]
    edges = road_map.lanes_at(x, y)
    if not edges and road_map.intersections.at(x, y):
        edges = road_map.connectors_at(x, y)
    if not edges:
        return None
    # headings are compared raw, without wrapping, as the devkit does
    return min(edges, key=lambda e: abs(float(road_map.edges[e].baseline.nearest_pose(box[:2])[2]) - heading))


class IdmAgents:
    """Vehicles that react to the ego and to each other; see the module's first lines."""

    def __init__(self, scenario: Scenario, idm: IdmParameters | None = None):
        self.scenario, self.map = scenario, scenario.map
        self.idm = IdmParameters() if idm is None else idm
        first = scenario.tracks_at(0)
        replayed = first.of_type(*REPLAYED_TYPES)
        self.sizes: dict[str, Floats] = {}
        self.agents = self._snap(first.of_type(TrackedObjectType.VEHICLE), replayed)
        self.tracks = self._observe(replayed)

    def _snap(self, vehicles: Tracks, replayed: Tracks) -> dict[str, RailAgent]:
        """Put vehicles on the rails one by one, skipping those that would touch the ego, an object or another."""
        ego = self.scenario.ego[self.scenario.start]
        taken = [*replayed.boxes, ego_boxes(ego)]
        agents: dict[str, RailAgent] = {}
        default = TARGET_SPEED
        for token, box, velocity in zip(vehicles.tokens, vehicles.boxes, vehicles.velocities):
            edge = starting_edge(self.map, box)
            if token in agents or edge is None:
                continue
            baseline = self.map.edges[edge].baseline
            progress = float(baseline.project(box[:2]))
            snapped = np.concatenate([baseline.nearest_pose(box[:2]), box[3:]])
            if boxes_intersect(snapped, np.array(taken)).any():
                continue
            taken.append(snapped)
            # the devkit overwrites its default by the last limit it met
            default = self.map.edges[edge].speed_limit or default
            v = float(np.hypot(*(ego[3:5] if np.isnan(velocity).any() else velocity)))
            path = RailPath(baseline.poses)
            agents[token] = RailAgent(
                token, [edge], path, progress, v, default, box[3], box[4], path.pose_at(path.clamp(progress)),
                shapely.polygons(box_corners(snapped)),
            )  # fmt: skip
        return agents

    def _observe(self, replayed: Tracks) -> Tracks:
        agents = list(self.agents.values())
        if not agents:
            return replayed
        boxes = np.stack([a.box() for a in agents])
        v = np.array([a.v for a in agents])
        velocities = v[:, None] * np.stack([np.cos(boxes[:, 2]), np.sin(boxes[:, 2])], axis=1)
        return Tracks(
            (*self.agents, *replayed.tokens),
            np.concatenate([np.zeros(len(agents), np.int8), replayed.types]),
            np.concatenate([boxes, replayed.boxes]),
            np.concatenate([velocities, replayed.velocities]),
        )

    def step(self, iteration: int, ego: EgoState, dt: float) -> Tracks:
        lights = self.scenario.lights_at(iteration)
        replayed = self.scenario.tracks_at(iteration).of_type(*REPLAYED_TYPES)
        self._forget_far_agents(ego)
        occupancy = Occupancy(self.agents.values(), ego, replayed)
        for agent in list(self.agents.values()):
            agent.extend_route(self.map, lights, self.idm.headway)
            gap, lead_v = self._lead(agent, occupancy, self._red_stop_lines(agent, lights), ego)
            agent.advance(self.map, self.idm, gap, lead_v, dt)
            occupancy.update(agent)
        self.tracks = self._observe(replayed)
        return self.tracks

    def _forget_far_agents(self, ego: EgoState) -> None:
        center = ego_boxes(ego.pose)[:2]
        near = {t: a for t, a in self.agents.items() if np.hypot(*(a.pose[:2] - center)) <= RADIUS}
        self.agents = near

    def _red_stop_lines(self, agent: RailAgent, lights: TrafficLights) -> list[Any]:
        connectors = [e for e in dict.fromkeys(agent.route) if self.map.edges[e].is_connector]
        red = [e for e in connectors if lights.get(self.map.edges[e].id) == TrafficLightStatus.RED]
        return list({id(polygon): polygon for e in red for polygon in self.map.stop_lines(e)}.values())

    def _lead(
        self, agent: RailAgent, occupancy: "Occupancy", stop_lines: list[Any], ego: EgoState
    ) -> tuple[float, float]:
        """Gap [m] and speed along the agent's heading [m/s] of what it follows; the end of its path if nothing."""
        corridor_line = agent.path.after(agent.path.clamp(agent.progress))[:, :2]
        nearest = occupancy.nearest_in_corridor(agent, corridor_line, stop_lines)
        if nearest is None:
            return agent.path.end - agent.progress - agent.length / 2, 0.0
        who, gap = nearest
        if who == EGO:
            return gap, ego.speed * float(np.cos(ego.heading - agent.pose[2]))
        if who in self.agents:
            other = self.agents[who]
            return gap, other.v * float(np.cos(other.pose[2] - agent.pose[2]))
        return gap, 0.0


EGO = "ego"
STOP_LINE = "stop_line"


class Occupancy:
    """Who covers which ground, as polygons with their bounds; stop lines are laid over it per agent."""

    def __init__(self, agents: Any, ego: EgoState, replayed: Tracks):
        self.rails: Sequence[RailAgent] = list(agents)
        self.ids: list[str] = [*(a.token for a in self.rails), EGO, *replayed.tokens]
        self.slot = {token: i for i, token in enumerate(self.ids)}
        boxes = np.concatenate([ego_boxes(ego.pose)[None], replayed.boxes])
        self.polygons = np.empty(len(self.ids), object)
        self.polygons[: len(self.rails)] = [a.footprint for a in self.rails]
        self.polygons[len(self.rails) :] = shapely.polygons(box_corners(boxes))
        self.bounds = shapely.bounds(self.polygons)  # (n, 4)

    def update(self, agent: RailAgent) -> None:
        slot = self.slot[agent.token]
        self.polygons[slot] = agent.footprint
        self.bounds[slot] = shapely.bounds(agent.footprint)

    def nearest_in_corridor(self, agent: RailAgent, line: Floats, stop_lines: list[Any]) -> tuple[str, float] | None:
        """Who is nearest to the agent's footprint among those that touch its corridor, and how far [m]."""
        radius = agent.width / 2
        low, high = line.min(axis=0) - radius, line.max(axis=0) + radius
        hit = np.all(self.bounds[:, :2] <= high, axis=1) & np.all(self.bounds[:, 2:] >= low, axis=1)
        own = self.slot[agent.token]
        hit[own] = False
        index = np.flatnonzero(hit)
        candidates = [*self.polygons[index], *stop_lines]
        if not candidates:
            return None
        path = shapely.LineString(line)
        close = np.flatnonzero(shapely.dwithin(path, candidates, radius + 1e-6))
        if not len(close):
            return None
        corridor = flat_buffer(path, radius)
        touching = [i for i in close.tolist() if candidates[i].intersects(corridor)]
        if not touching:
            return None
        gaps = shapely.distance(self.polygons[own], [candidates[i] for i in touching])
        best = np.flatnonzero(gaps == gaps.min())
        choice = int(best[0]) if len(best) == 1 else self._tie(own, corridor, stop_lines)
        if len(best) > 1:
            return self._name(choice), float(gaps.min())
        winner = touching[choice]
        return (self.ids[index[winner]] if winner < len(index) else STOP_LINE), float(gaps[choice])

    def _name(self, entry: int) -> str:
        return self.ids[entry] if entry < len(self.ids) else STOP_LINE

    def _tie(self, own: int, corridor: Any, stop_lines: list[Any]) -> int:
        """Among several equally near, the one that the devkit's search trees, built in its order, return first."""
        everything = np.empty(len(self.ids) + len(stop_lines), object)
        everything[: len(self.ids)], everything[len(self.ids) :] = self.polygons, stop_lines
        found = [i for i in shapely.STRtree(everything).query(corridor) if everything[i].intersects(corridor)]
        others = [int(i) for i in found if i != own]
        return others[int(shapely.STRtree(everything[others]).nearest(everything[own]))]

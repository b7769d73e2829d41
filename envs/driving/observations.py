"""What surrounds the ego over time: the log's own boxes, or vehicles that drive by the intelligent driver model.

The reactive traffic is nuPlan's IDMAgents, rule for rule: vehicles of the first frame are snapped onto lane baselines
and follow them; pedestrians and static objects are replayed; bicycles are left out; nobody enters later.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import shapely

from envs.driving.geometry import box_corners, boxes_intersect, wrap_angle
from envs.driving.map import Map
from envs.driving.rails import (
    DOUBTFUL,
    OUTSIDE,
    RailPath,
    place_vehicle,
    rectangle_around,
    search_corridor,
    touches_corridor,
)
from envs.driving.scenario import Scenario
from envs.driving.segments import ring_distance
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
RED = TrafficLightStatus.RED
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
        wanted = idm.law(self.v, self.target, gap, lead_v, max)
        self.progress += dt * self.v
        self.v = max(self.v + dt * min(max(wanted, -idm.max_deceleration), idm.max_acceleration), 0.0)
        self.pose = self.path.pose_at(self.path.clamp(self.progress))

    def strip(self, headway: float) -> Floats:
        """Points (m, 2) of the path that it covers now and within the headway."""
        start = self.path.clamp(self.progress - self.length / 2)
        end = self.path.clamp(self.progress + self.length / 2 + self.v * headway)
        return self.path.between(start, end)[:, :2].copy()

    def box(self) -> Floats:
        """(5,)"""
        return np.array([self.pose[0], self.pose[1], wrap_angle(self.pose[2]), self.length, self.width])


def flat_buffer(line: Floats, radius: float) -> Any:
    return shapely.buffer(shapely.LineString(line), radius, quad_segs=BUFFER_SEGMENTS, cap_style="flat")


def ring_of(polygon: Any) -> Floats:
    """Corners (k, 2) of a polygon's outline."""
    return np.asarray(shapely.get_coordinates(polygon.exterior)[:-1])


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
        self.snapped: dict[str, Floats] = {}  # boxes on their baselines, which are the first footprints
        self.ground: Footprints | None = None
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
            pose = path.pose_at(path.clamp(progress))
            agents[token] = RailAgent(token, [edge], path, progress, v, default, float(box[3]), float(box[4]), pose)
            self.snapped[token] = snapped
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
        if self._forget_far_agents(ego) or self.ground is None:
            self.ground = Footprints(list(self.agents.values()), self.idm.headway, self.snapped)
        self.ground.place(ego, replayed)
        for slot, agent in enumerate(self.agents.values()):
            agent.extend_route(self.map, lights, self.idm.headway)
            gap, lead_v = self._lead(agent, slot, self._red_stop_lines(agent, lights), ego)
            agent.advance(self.map, self.idm, gap, lead_v, dt)
            self.ground.update(slot)
        self.snapped = {}
        self.tracks = self._observe(replayed)
        return self.tracks

    def get_state(self) -> dict[str, Any]:
        """Arrays and plain values from which `set_state` goes on exactly."""
        agents = [
            {**{f.name: getattr(agent, f.name) for f in fields(agent)}, "path": agent.path.get_state()}
            for agent in self.agents.values()
        ]
        tracks = {f.name: getattr(self.tracks, f.name) for f in fields(self.tracks)}
        return copy.deepcopy({"agents": agents, "snapped": self.snapped, "tracks": tracks})

    def set_state(self, state: dict[str, Any]) -> None:
        state = copy.deepcopy(state)
        agents = [RailAgent(**{**each, "path": RailPath.of_state(each["path"])}) for each in state["agents"]]
        self.agents = {agent.token: agent for agent in agents}
        self.snapped, self.ground = state["snapped"], None
        self.tracks = Tracks(**{**state["tracks"], "tokens": tuple(state["tracks"]["tokens"])})

    def _forget_far_agents(self, ego: EgoState) -> bool:
        """Whether any agent was left behind."""
        x, y = ego_boxes(ego.pose)[:2].tolist()
        near = {t: a for t, a in self.agents.items() if math.hypot(a.pose[0] - x, a.pose[1] - y) <= RADIUS}
        forgot = len(near) < len(self.agents)
        self.agents = near
        return forgot

    def _red_stop_lines(self, agent: RailAgent, lights: TrafficLights) -> list[Any]:
        edges = [self.map.edges[e] for e in agent.route]
        red = [e for e, edge in zip(agent.route, edges) if edge.is_connector and lights.get(edge.id) == RED]
        return list({id(polygon): polygon for e in red for polygon in self.map.stop_lines(e)}.values())

    def _lead(self, agent: RailAgent, slot: int, stop_lines: list[Any], ego: EgoState) -> tuple[float, float]:
        """Gap [m] and speed along the agent's heading [m/s] of what it follows; the end of its path if nothing."""
        assert self.ground is not None
        line = agent.path.after(agent.path.clamp(agent.progress))[:, :2].copy()
        nearest = self.ground.nearest_in_corridor(slot, line, stop_lines)
        if nearest is None:
            return agent.path.end - agent.progress - agent.length / 2, 0.0
        who, gap = nearest
        if who < len(self.ground.agents):
            other = self.ground.agents[who]
            return gap, other.v * math.cos(other.pose[2] - agent.pose[2])
        if who == len(self.ground.agents):
            return gap, ego.speed * math.cos(ego.heading - agent.pose[2])
        return gap, 0.0


class Footprints:
    """The ground that is taken: by agents (box and strip ahead), the ego, replayed objects, in this order of slots."""

    def __init__(self, agents: list[RailAgent], headway: float, snapped: dict[str, Floats]):
        self.agents, self.headway = agents, headway
        count = len(agents)
        self.widths = np.array([a.width for a in agents])
        self.strips = np.zeros((count, 32, 2))
        self.counts = np.zeros(count, np.int64)
        self.agent_corners, self.agent_bounds = np.zeros((count, 4, 2)), np.zeros((count, 4))
        self.rings: list[list[Floats] | None] = [None] * count
        self.strip_polygons: list[Any] = [None] * count
        for slot, agent in enumerate(agents):
            if agent.token in snapped:
                self._put(slot, snapped[agent.token], np.zeros((0, 2)))
            else:
                self.update(slot)

    def place(self, ego: EgoState, replayed: Tracks) -> None:
        """Set the ego and the replayed objects of this step."""
        corners = box_corners(np.concatenate([ego_boxes(ego.pose)[None], replayed.boxes]))
        bounds = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        self.corners = np.concatenate([self.agent_corners, corners])  # (M, 4, 2)
        self.bounds = np.concatenate([self.agent_bounds, bounds])  # (M, 4)
        count = len(self.agents)
        self.agent_corners, self.agent_bounds = self.corners[:count], self.bounds[:count]  # views

    def update(self, slot: int) -> None:
        """An agent has moved."""
        agent = self.agents[slot]
        self._put(slot, agent.pose, agent.strip(self.headway))

    def _put(self, slot: int, pose: Floats, strip: Floats) -> None:
        agent = self.agents[slot]
        place_vehicle(pose, agent.length, agent.width, strip, self.agent_corners[slot], self.agent_bounds[slot])
        if len(strip) > self.strips.shape[1]:
            wider = np.zeros((len(self.agents), 2 * len(strip), 2))
            wider[:, : self.strips.shape[1]] = self.strips
            self.strips = wider
        self.counts[slot] = len(strip)
        self.strips[slot, : len(strip)] = strip
        self.rings[slot] = self.strip_polygons[slot] = None

    def outline(self, slot: int, stop_lines: Sequence[Any] = ()) -> list[Floats]:
        """Rings of what a slot covers: its box and, for agents, the strip ahead."""
        if slot >= len(self.corners):
            return [ring_of(stop_lines[slot - len(self.corners)])]
        if slot >= len(self.agents):
            return [self.corners[slot]]
        rings = self.rings[slot]
        if rings is None:
            strip = self.strips[slot, : self.counts[slot]].copy()
            rings = [self.agent_corners[slot].copy()]
            if len(strip):
                ring = rectangle_around(strip, self.widths[slot] / 2)
                rings.append(ring if len(ring) else shapely.get_coordinates(self._strip_polygon(slot))[:-1])
            self.rings[slot] = rings
        return rings

    def _strip_polygon(self, slot: int) -> Any:
        if self.strip_polygons[slot] is None:
            strip = self.strips[slot, : self.counts[slot]]
            self.strip_polygons[slot] = flat_buffer(strip, self.widths[slot] / 2)
        return self.strip_polygons[slot]

    def parts(self, slot: int, stop_lines: Sequence[Any] = ()) -> list[Any]:
        """Polygons that a slot covers together: its box and, for agents, the strip ahead."""
        if slot >= len(self.corners):
            return [stop_lines[slot - len(self.corners)]]
        box = shapely.polygons(self.corners[slot])
        return [self._strip_polygon(slot), box] if slot < len(self.agents) and self.counts[slot] else [box]

    def nearest_in_corridor(self, own: int, line: Floats, stop_lines: list[Any]) -> tuple[int, float] | None:
        """The slot nearest to an agent's footprint among those that touch its corridor, and how far [m].

        Slots beyond the last one are stop lines. Candidates come in the order of a lower bound of their distance, so
        that those beyond the nearest are never looked at.
        """
        radius = self.widths[own] / 2
        answers, bounds = search_corridor(
            line, radius, self.corners, self.bounds, self.strips, self.counts, self.widths, own
        )
        found = np.flatnonzero(answers)
        candidates = [(float(bounds[i]), int(i), int(answers[i])) for i in found]
        for number, polygon in enumerate(stop_lines):
            answer = touches_corridor(line, radius, ring_of(polygon), True, 0.0)
            if answer != OUTSIDE:
                candidates.append((0.0, len(self.corners) + number, answer))
        gap, slot, tied = np.inf, -1, False
        corridor = None
        for bound, candidate, answer in sorted(candidates):
            if bound > gap:
                break
            if answer == DOUBTFUL:
                corridor = flat_buffer(line, radius) if corridor is None else corridor
                if not any(part.intersects(corridor) for part in self.parts(candidate, stop_lines)):
                    continue
            distance = self._distance(own, self.outline(candidate, stop_lines), gap)
            if distance <= gap:
                tied, gap, slot = distance == gap, distance, candidate
        if tied:
            slot = self._tie(own, flat_buffer(line, radius), stop_lines)
        return (slot, gap) if slot >= 0 else None

    def _distance(self, own: int, rings: list[Floats], limit: float) -> float:
        """Distance [m] between an agent's footprint and rings; not exact beyond the limit."""
        return min(ring_distance(a, b, limit + 1.0) for a in self.outline(own) for b in rings)

    def _tie(self, own: int, corridor: Any, stop_lines: list[Any]) -> int:
        """Among several equally near, the one that the devkit's search trees, built in its order, return first."""
        polygons = [*(shapely.union_all(self.parts(i)) for i in range(len(self.corners))), *stop_lines]
        everything = np.array(polygons, object)
        found = [i for i in shapely.STRtree(everything).query(corridor) if everything[i].intersects(corridor)]
        others = [int(i) for i in found if i != own]
        return others[int(shapely.STRtree(everything[others]).nearest(everything[own]))]

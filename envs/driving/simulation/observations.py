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

from embodia.envs.driving.map.geometry import box_corners, boxes_intersect, wrap_angle
from embodia.envs.driving.map.rails import RailPath, place_vehicle
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.rail_traffic import (
    BARE,
    DONE,
    LIMIT,
    MIN_PATH_LENGTH,
    NO,
    OUTLINE,
    PROGRESS,
    ROUTE,
    TARGET,
    TIE,
    TOUCH,
    WIDTH,
    YES,
    cover,
    move_all,
)
from embodia.envs.driving.types import EgoState, Floats, TrackedObjectType, Tracks, TrafficLights, TrafficLightStatus
from embodia.envs.driving.vehicle.bicycle import IdmParameters, ego_boxes

REPLAYED_TYPES = (
    TrackedObjectType.PEDESTRIAN,
    TrackedObjectType.BARRIER,
    TrackedObjectType.CZONE_SIGN,
    TrackedObjectType.TRAFFIC_CONE,
    TrackedObjectType.GENERIC_OBJECT,
)
TARGET_SPEED = 10.0  # [m/s] where no speed limit is known
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


def flat_buffer(line: Floats, radius: float) -> Any:
    return shapely.buffer(shapely.LineString(line), radius, quad_segs=BUFFER_SEGMENTS, cap_style="flat")


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
        self.ground: Ground | None = None
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
        boxes = np.array([(*a.pose.tolist(), a.length, a.width) for a in agents])
        v = np.array([a.v for a in agents])
        boxes[:, 2] = wrap_angle(boxes[:, 2])
        velocities = v[:, None] * np.stack([np.cos(boxes[:, 2]), np.sin(boxes[:, 2])], axis=1)
        return Tracks(
            (*self.agents, *replayed.tokens),
            np.concatenate([np.zeros(len(agents), np.int8), replayed.types]),
            np.concatenate([boxes, replayed.boxes]),
            np.concatenate([velocities, replayed.velocities]),
        )

    def step(self, iteration: int, ego: EgoState, dt: float) -> Tracks:
        (error,) = step_together([self], [(iteration, ego, dt)])
        if error is not None:
            raise error
        return self.tracks

    def begin(self, iteration: int, ego: EgoState, dt: float) -> "Step":
        """The step to `iteration`, nobody having moved yet."""
        lights = self.scenario.lights_at(iteration)
        replayed = self.scenario.tracks_at(iteration).of_type(*REPLAYED_TYPES)
        if self._forget_far_agents(ego) or self.ground is None:
            self.ground = Ground(list(self.agents.values()), self.map, self.idm, self.snapped)
        self.ground.place(ego, replayed)
        return Step(self, self.ground, lights, replayed, (ego.speed, ego.heading), dt)

    def end(self, step: "Step") -> None:
        """Everybody has moved."""
        step.ground.hand_back()
        self.snapped = {}
        self.tracks = self._observe(step.replayed)

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


class Ground:
    """The vehicles' table, and the ground that is taken: by them, the ego, replayed objects, in this order of slots."""

    def __init__(self, agents: list[RailAgent], road_map: Map, idm: IdmParameters, snapped: dict[str, Floats]):
        self.agents, self.map, self.idm = agents, road_map, idm
        count = len(agents)
        self.vehicles = np.array([[a.progress, a.v, a.target, 0.0, a.length, a.width] for a in agents]).reshape(-1, 6)
        self.poses = np.array([a.pose for a in agents]).reshape(-1, 3)
        self.path_length = np.zeros(count, np.int64)
        self.path_s, self.path_nodes = np.zeros((count, 0)), np.zeros((count, 0, 3))
        self.strips = np.zeros((count, 2, 2))
        self._make_room(max((len(a.path.s) for a in agents), default=0) + 64)
        self.counts = np.zeros(count, np.int64)
        self.outlines, self.outline_counts = np.zeros((count, 256, 2)), np.full(count, BARE)
        self.corners, self.bounds = np.zeros((count, 4, 2)), np.zeros((count, 4))
        for slot, agent in enumerate(agents):
            self.take_path(slot)
            if agent.token in snapped:
                pose, none = snapped[agent.token], np.zeros((0, 2))
                place_vehicle(pose, agent.length, agent.width, none, self.corners[slot], self.bounds[slot])
            else:
                cover(
                    slot, self.vehicles, self.poses, agent.path.s, agent.path.nodes, self.corners, self.bounds,
                    self.strips, self.counts, self.outlines, self.outline_counts, idm.headway,
                )  # fmt: skip

    def _make_room(self, nodes: int) -> None:
        """For paths of so many nodes."""
        count = len(self.agents)
        s, points, strips = np.zeros((count, nodes)), np.zeros((count, nodes, 3)), np.zeros((count, nodes + 2, 2))
        old = self.path_s.shape[1]
        s[:, :old], points[:, :old], strips[:, : old + 2] = self.path_s, self.path_nodes, self.strips
        self.path_s, self.path_nodes, self.strips = s, points, strips

    def take_path(self, slot: int) -> None:
        """An agent has a path, or another one."""
        agent = self.agents[slot]
        size = len(agent.path.s)
        if size > self.path_s.shape[1]:
            self._make_room(2 * size)
        self.path_length[slot], self.vehicles[slot, PROGRESS] = size, agent.progress
        self.path_s[slot, :size], self.path_nodes[slot, :size] = agent.path.s, agent.path.nodes
        self.vehicles[slot, LIMIT] = self.map.edges[agent.route[-1]].speed_limit or 0.0

    def place(self, ego: EgoState, replayed: Tracks) -> None:
        """Set the ego and the replayed objects of this step."""
        count = len(self.agents)
        corners = box_corners(np.concatenate([ego_boxes(ego.pose)[None], replayed.boxes]))
        bounds = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        self.corners = np.concatenate([self.corners[:count], corners])  # (M, 4, 2)
        self.bounds = np.concatenate([self.bounds[:count], bounds])  # (M, 4)

    def hand_back(self) -> None:
        """Tell the agents where they are."""
        for agent, (progress, v, target), pose in zip(self.agents, self.vehicles[:, :3].tolist(), self.poses.copy()):
            agent.progress, agent.v, agent.target, agent.pose = progress, v, target, pose

    def line(self, slot: int) -> Floats:
        """(k, 2) the rest of an agent's path."""
        path, progress = self.agents[slot].path, float(self.vehicles[slot, PROGRESS])
        return path.after(path.clamp(progress))[:, :2].copy()

    def parts(self, slot: int) -> list[Any]:
        """Polygons that a slot covers together: its box and, for agents, the strip ahead."""
        box = shapely.polygons(self.corners[slot])
        if slot >= len(self.agents) or not self.counts[slot]:
            return [box]
        if self.outline_counts[slot] > 0:
            return [shapely.polygons(self.outlines[slot, : self.outline_counts[slot]]), box]
        return [flat_buffer(self.strips[slot, : self.counts[slot]], self.vehicles[slot, WIDTH] / 2), box]

    def all_parts(self) -> Any:
        """(M,) what every slot covers, as one geometry each."""
        agents = np.flatnonzero(self.counts)
        left = agents[self.outline_counts[agents] <= 0].tolist()  # to GEOS
        ready = agents[self.outline_counts[agents] > 0]
        sizes = self.outline_counts[ready]
        points = np.concatenate([np.zeros((0, 2)), *(self.outlines[i, :n] for i, n in zip(ready, sizes))])
        strips = [
            *shapely.polygons(shapely.linearrings(points, indices=np.repeat(np.arange(len(ready)), sizes))),
            *(flat_buffer(self.strips[i, : self.counts[i]], self.vehicles[i, WIDTH] / 2) for i in left),
        ]
        owners = np.concatenate([ready, np.array(left, np.int64), np.arange(len(self.corners))])
        order = np.argsort(owners, kind="stable")
        parts = np.concatenate([np.array(strips, object), shapely.polygons(self.corners)])
        return shapely.multipolygons(parts[order], indices=owners[order])

    def set_outline(self, slot: int, ring: Floats) -> None:
        if len(ring) > self.outlines.shape[1]:
            wider = np.zeros((len(self.agents), 2 * len(ring), 2))
            wider[:, : self.outlines.shape[1]] = self.outlines
            self.outlines = wider
        self.outlines[slot, : len(ring)], self.outline_counts[slot] = ring, len(ring) or BARE


class Step:
    """One step of the agents of one scenario, which stops where GEOS or the map has to be asked."""

    def __init__(
        self, traffic: IdmAgents, ground: Ground, lights: TrafficLights, replayed: Tracks,
        ego: tuple[float, float], dt: float,
    ):  # fmt: skip
        self.traffic, self.ground, self.lights, self.replayed = traffic, ground, lights, replayed
        self.ego, self.dt = ego, dt
        idm = traffic.idm
        self.law = (idm.min_gap, idm.headway, idm.max_acceleration, idm.max_deceleration, idm.exponent)
        red = {traffic.map.connector_index.get(i) for i, status in lights.items() if status == RED}
        self.stop_lines = {edge: traffic.map.stop_lines(edge) for edge in red if edge is not None}
        self.polygons = list({id(p): p for polygons in self.stop_lines.values() for p in polygons}.values())
        self.number = {id(polygon): number for number, polygon in enumerate(self.polygons)}
        rings = [shapely.get_coordinates(polygon.exterior)[:-1] for polygon in self.polygons]
        self.stop_first = np.cumsum([0, *(len(ring) for ring in rings)])
        self.stop_rings = np.concatenate([np.zeros((0, 2)), *rings])
        self.stops = np.full((len(ground.agents), 1), -1)
        if self.polygons:
            for slot in range(len(ground.agents)):
                self._look_for_stops(slot)
        self.extended = np.zeros(len(ground.agents), bool)
        self.slot, self.why, self.whom, self.tie = 0, DONE, 0, -1
        self.touching = np.zeros(len(ground.corners) + len(self.polygons) + 1, np.int64)

    def _look_for_stops(self, slot: int) -> None:
        """Number the red stop polygons on an agent's route."""
        route = self.ground.agents[slot].route
        numbers = list(dict.fromkeys(self.number[id(p)] for e in route for p in self.stop_lines.get(e, ())))
        if len(numbers) > self.stops.shape[1]:
            wider = np.full((len(self.stops), len(self.polygons)), -1)
            wider[:, : self.stops.shape[1]] = self.stops
            self.stops = wider
        self.stops[slot] = -1
        self.stops[slot, : len(numbers)] = numbers

    def go_on(self) -> bool:
        """Move agents until all have moved, or a strip's outline is missing; whether that is so."""
        while True:
            g = self.ground
            self.slot, self.why, self.whom = move_all(
                self.slot, g.vehicles, g.poses, g.path_s, g.path_nodes, g.path_length, g.corners, g.bounds, g.strips,
                g.counts, g.outlines, g.outline_counts, self.stop_first, self.stop_rings, self.stops, self.extended,
                self.touching, self.tie, self.ego, self.law, self.dt,
            )  # fmt: skip
            self.tie = -1
            if self.why == ROUTE:
                self._extend_route()
            elif self.why == TOUCH:
                self.touching[self.whom] = YES if self._touches(self.whom) else NO
            elif self.why == TIE:
                self.tie = self._nearest()
            else:
                return self.why == OUTLINE

    def _extend_route(self) -> None:
        agent = self.ground.agents[self.slot]
        route = agent.route
        agent.progress, agent.target = self.ground.vehicles[self.slot, [PROGRESS, TARGET]].tolist()
        agent.extend_route(self.traffic.map, self.lights, self.traffic.idm.headway)
        self.extended[self.slot] = True
        if agent.route is not route:
            self.ground.take_path(self.slot)
            if self.polygons:
                self._look_for_stops(self.slot)

    def _corridor(self) -> Any:
        return flat_buffer(self.ground.line(self.slot), self.ground.vehicles[self.slot, WIDTH] / 2)

    def _touches(self, whom: int) -> bool:
        if whom < len(self.ground.corners):
            parts = self.ground.parts(whom)
        else:
            parts = [self.polygons[self.stops[self.slot, whom - len(self.ground.corners)]]]
        return bool(shapely.intersects(self._corridor(), parts).any())

    def _nearest(self) -> int:
        """Among several equally near, the one that the devkit's search trees, built in its order, return first."""
        corridor = self._corridor()
        stops = [self.polygons[number] for number in self.stops[self.slot] if number >= 0]
        everything = np.concatenate([self.ground.all_parts(), np.array(stops, object)])
        found = [i for i in shapely.STRtree(everything).query(corridor) if everything[i].intersects(corridor)]
        others = [int(i) for i in found if i != self.slot]
        return others[int(shapely.STRtree(everything[others]).nearest(everything[self.slot]))]


def step_together(
    traffics: Sequence[IdmAgents], steps: Sequence[tuple[int, EgoState, float]]
) -> list[Exception | None]:
    """`step` for the agents of many scenarios, each with (iteration, ego, dt): None, or what went wrong there."""
    errors: list[Exception | None] = [None] * len(traffics)
    waiting: dict[int, Step] = {}
    for k, (traffic, how) in enumerate(zip(traffics, steps, strict=True)):
        try:
            waiting[k] = traffic.begin(*how)
        except Exception as error:
            errors[k] = error
    while waiting:
        for k, step in list(waiting.items()):
            try:
                if not step.go_on():
                    del waiting[k]
                    traffics[k].end(step)
            except Exception as error:
                errors[k] = error
                waiting.pop(k, None)
        outline(list(waiting.values()))
    return errors


def outline(steps: list[Step]) -> None:
    """Tell every step the outline that it waits for: that of GEOS' buffer, all buffered at once."""
    strips = [step.ground.strips[step.whom, : step.ground.counts[step.whom]] for step in steps]
    if not strips:
        return
    index = np.repeat(np.arange(len(strips)), [len(strip) for strip in strips])
    radii = np.array([step.ground.vehicles[step.whom, WIDTH] / 2 for step in steps])
    lines = shapely.linestrings(np.concatenate(strips), indices=index)
    buffers = shapely.buffer(lines, radii, quad_segs=BUFFER_SEGMENTS, cap_style="flat")
    points, owner = shapely.get_coordinates(shapely.get_exterior_ring(buffers), return_index=True)
    ends = np.searchsorted(owner, np.arange(len(strips) + 1))
    for step, start, end in zip(steps, ends, ends[1:]):
        step.ground.set_outline(step.whom, points[start : end - 1])

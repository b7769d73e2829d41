"""Traffic around the ego: the boxes of the log, or vehicles that drive by the intelligent driver model.

The reactive traffic is nuPlan's IDMAgents, rule for rule: vehicles of the first frame are snapped onto lane baselines
and follow them; pedestrians and static objects are replayed; bicycles are skipped; no vehicle enters later.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Protocol

import numpy as np

from embodia.envs.driving.map.geometry import boxes_intersect, wrap_angle
from embodia.envs.driving.map.rails import RailPath
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.rail_agent import RailAgent, starting_edge
from embodia.envs.driving.simulation.taken_ground import Ground
from embodia.envs.driving.simulation.traffic_step import Step, outline
from embodia.envs.driving.types import EgoState, Floats, TrackedObjectType, Tracks
from embodia.envs.driving.vehicle.bicycle import IdmParameters, ego_boxes

REPLAYED_TYPES = (
    TrackedObjectType.PEDESTRIAN,
    TrackedObjectType.BARRIER,
    TrackedObjectType.CZONE_SIGN,
    TrackedObjectType.TRAFFIC_CONE,
    TrackedObjectType.GENERIC_OBJECT,
)
TARGET_SPEED = 10.0  # [m/s] where no speed limit is known
RADIUS = 100.0  # [m] around the ego; agents beyond it are removed


class Observation(Protocol):
    """The traffic of one scenario: `tracks` is what is there now."""

    tracks: Tracks

    def step(self, iteration: int, ego: EgoState, dt: float) -> Tracks:
        """Advance to `iteration`, dt [s] later, seeing the ego as it was before the step."""


class LogReplay:
    """Traffic as it was recorded."""

    def __init__(self, scenario: Scenario):
        self.scenario = scenario
        self.tracks = scenario.tracks_at(0)

    def step(self, iteration: int, ego: EgoState, dt: float) -> Tracks:
        self.tracks = self.scenario.tracks_at(iteration)
        return self.tracks


class IdmAgents:
    """Vehicles that react to the ego and to each other; see the module's docstring."""

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
        """Return the step to `iteration`, before any agent has moved."""
        lights = self.scenario.lights_at(iteration)
        replayed = self.scenario.tracks_at(iteration).of_type(*REPLAYED_TYPES)
        if self._forget_far_agents(ego) or self.ground is None:
            self.ground = Ground(list(self.agents.values()), self.map, self.idm, self.snapped)
        self.ground.place(ego, replayed)
        return Step(self.map, self.idm, self.ground, lights, replayed, (ego.speed, ego.heading), dt)

    def end(self, step: "Step") -> None:
        """Finish a step in which all agents have moved."""
        step.ground.hand_back()
        self.snapped = {}
        self.tracks = self._observe(step.replayed)

    def get_state(self) -> dict[str, Any]:
        """Return arrays and plain values, from which `set_state` continues exactly."""
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
        """Remove agents that are far from the ego; return whether there were any."""
        x, y = ego_boxes(ego.pose)[:2].tolist()
        near = {t: a for t, a in self.agents.items() if math.hypot(a.pose[0] - x, a.pose[1] - y) <= RADIUS}
        forgot = len(near) < len(self.agents)
        self.agents = near
        return forgot


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

"""nuPlan's closed loop: plan, record, move the ego, move the traffic; one scenario, or many that step together.

A step at iteration i shows the planner the scene, records ego and traffic of i, then drives the ego with the planned
trajectory to i + 1 while the traffic moves on seeing the ego of i. The last iteration is never recorded. Scenarios of a
batch share the arithmetic of a step and nothing else: each gives what it gives alone, and fails on its own account.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES, Scenario
from embodia.envs.driving.simulation.observations import IdmAgents, LogReplay, Observation, step_together
from embodia.envs.driving.types import (
    STATE_SIZE,
    TRAJECTORY_SIZE,
    EgoState,
    Floats,
    Ints,
    InvalidTrajectory,
    Scene,
    StateColumn,
    Tracks,
    Trajectory,
)
from embodia.envs.driving.vehicle.bicycle import MAX_EGO_SPEED
from embodia.envs.driving.vehicle.lqr import drive

CHALLENGE_TIME_LIMIT = 1.0  # [s] per call of the planner
CHALLENGE_HORIZON = 8.0  # [s] a trajectory must cover


class Planner(Protocol):
    """The protocol `planners.DrivingPlanner`, repeated because `envs` imports no other folder."""

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Map) -> dict[str, Any]: ...

    def plan(self, scene: Scene, carry: dict[str, Any]) -> tuple[Trajectory, dict[str, Any]]: ...


class PlannerError(RuntimeError):
    """A planner raised, took too long or returned a trajectory that cannot be driven; the message says where."""


@dataclass(frozen=True)
class SimulationConfig:
    """How traffic and ego move, and the limits of the planner."""

    traffic: Literal["replay", "idm"] = "replay"
    ego: Literal["lqr", "perfect", "log"] = "lqr"
    horizon: float = CHALLENGE_HORIZON  # [s] shortest trajectory allowed
    time_limit: float | None = None  # [s] per call of the planner; the challenge has 1.0


OPEN_LOOP = SimulationConfig("replay", "log")
NONREACTIVE = SimulationConfig("replay", "lqr")
REACTIVE = SimulationConfig("idm", "lqr")
CHALLENGES = {
    "open_loop_boxes": OPEN_LOOP,
    "closed_loop_nonreactive_agents": NONREACTIVE,
    "closed_loop_reactive_agents": REACTIVE,
}


@dataclass(frozen=True, eq=False)
class History:
    """Record of a drive: K = num_iterations - 1 samples."""

    scenario: Scenario
    time_us: Ints  # (K,)
    ego: Floats  # (K, 11)
    tracks: list[Tracks]  # K
    trajectories: list[Trajectory] = field(default_factory=list)  # K, as planned
    planning_time: Floats = field(default_factory=lambda: np.zeros(0))  # (K,) [s]


class Simulation:
    """One scenario being driven: ask for the `scene`, hand in a trajectory, until `done`."""

    def __init__(self, scenario: Scenario, config: SimulationConfig = NONREACTIVE):
        self.scenario, self.config = scenario, config
        self.iteration = 0
        self.ego = scenario.ego[scenario.start].copy()  # (11,)
        self.traffic: Observation = IdmAgents(scenario) if config.traffic == "idm" else LogReplay(scenario)
        past = range(-min(HISTORY_FRAMES, scenario.start), 0)
        size = HISTORY_FRAMES + 1
        self._egos = deque((scenario.ego_at(i) for i in past), maxlen=size)
        self._tracks = deque((scenario.tracks_at(i) for i in past), maxlen=size)
        self._remember()
        num = scenario.num_iterations - 1
        self._ego_log = np.zeros((num, STATE_SIZE))
        self._track_log: list[Tracks] = []
        self._trajectories: list[Trajectory] = []

    @property
    def done(self) -> bool:
        return self.iteration >= self.scenario.num_iterations - 1

    @property
    def time_us(self) -> int:
        return int(self.scenario.time_us[self.scenario.start + self.iteration])

    def _remember(self) -> None:
        self._egos.append(EgoState.from_array(self.time_us, self.ego))
        self._tracks.append(self.traffic.tracks)

    def scene(self) -> Scene:
        lights = self.scenario.lights_at(self.iteration)
        return Scene(self.iteration, self.time_us, tuple(self._egos), tuple(self._tracks), lights)

    def advance(self, trajectory: Trajectory) -> None:
        """Record this iteration and drive to the next one. Raises InvalidTrajectory for one that cannot be driven."""
        (error,) = advance([self], [trajectory])
        if error is not None:
            raise error

    def record(self, trajectory: Trajectory) -> None:
        trajectory.check(self.time_us, self.config.horizon)
        self._ego_log[self.iteration] = self.ego
        self._track_log.append(self.traffic.tracks)
        self._trajectories.append(trajectory)
        self.iteration += 1

    def drive(self, trajectory: Trajectory) -> Floats:
        """The ego (11,) at this iteration, after the one that was recorded. Raises InvalidTrajectory."""
        if self.config.ego == "log":
            return self.scenario.ego[self.scenario.start + self.iteration].copy()
        if self.config.ego == "perfect":
            return self._follow_perfectly(trajectory)
        return drive(self.ego[None], [trajectory], np.array([self.time_us]))[0]

    def traffic_step(self) -> tuple[int, EgoState, float]:
        """How the traffic follows to this iteration: seeing the ego as it was at the last one, and for how long [s]."""
        # a difference of seconds since the epoch, 2e-7 s coarse: the devkit's traffic moves by it
        return self.iteration, self._egos[-1], self.time_us * 1e-6 - self._egos[-1].time_us * 1e-6

    def arrive(self, ego: Floats) -> None:
        """Ego and traffic are where they have driven to."""
        self.ego = ego
        self._remember()

    def _follow_perfectly(self, trajectory: Trajectory) -> Floats:
        state = np.zeros(STATE_SIZE)
        state[:TRAJECTORY_SIZE] = trajectory.at(self.time_us)
        speed = np.hypot(state[StateColumn.VX], state[StateColumn.VY])
        if speed >= MAX_EGO_SPEED:
            raise InvalidTrajectory(f"perfect tracking refuses {speed:.1f} m/s; the limit is {MAX_EGO_SPEED} m/s")
        return state

    def history(self, planning_time: Floats | None = None) -> History:
        """What was recorded so far."""
        frames = slice(self.scenario.start, self.scenario.start + self.iteration)
        times = np.zeros(self.iteration) if planning_time is None else planning_time
        log = self._ego_log[: self.iteration]
        return History(self.scenario, self.scenario.time_us[frames], log, self._track_log, self._trajectories, times)


def advance(simulations: Sequence[Simulation], trajectories: Sequence[Trajectory]) -> list[Exception | None]:
    """Record an iteration of every simulation and drive it to the next; what is wrong with a trajectory, or None."""
    errors: list[Exception | None] = [None] * len(simulations)

    def isolated(k: int, act: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return act(*arguments)
        except Exception as error:
            errors[k] = error

    for k, (simulation, trajectory) in enumerate(zip(simulations, trajectories, strict=True)):
        isolated(k, simulation.record, trajectory)
    moving = [k for k, simulation in enumerate(simulations) if errors[k] is None and not simulation.done]
    tracked = [k for k in moving if simulations[k].config.ego == "lqr"]
    egos: dict[int, Floats] = {}
    if len(tracked) > 1:
        states, until = np.stack([simulations[k].ego for k in tracked]), [simulations[k].time_us for k in tracked]
        with suppress(InvalidTrajectory):  # one that is too short: found out below
            egos = dict(zip(tracked, drive(states, [trajectories[k] for k in tracked], np.array(until))))
    for k in moving:
        if k not in egos:
            egos[k] = isolated(k, simulations[k].drive, trajectories[k])
    driven = [k for k in moving if errors[k] is None]
    reacting = {k: traffic for k in driven if isinstance(traffic := simulations[k].traffic, IdmAgents)}
    steps = [simulations[k].traffic_step() for k in reacting]
    for k, error in zip(reacting, step_together(list(reacting.values()), steps)):
        errors[k] = error
    for k in driven:
        if k not in reacting:
            isolated(k, simulations[k].traffic.step, *simulations[k].traffic_step())
        if errors[k] is None:
            simulations[k].arrive(egos[k])
    return errors

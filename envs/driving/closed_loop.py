"""nuPlan's closed loop: plan, record, move the ego, move the traffic; one scenario or many, each on its own account.

A step at iteration i shows the planner the scene, records ego and traffic of i, then drives the ego with the planned
trajectory to i + 1 while the traffic moves on seeing the ego of i. The last iteration is never recorded.
"""

import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from envs.driving.lqr import Reference, reference_of, track
from envs.driving.map import Map
from envs.driving.observations import IdmAgents, LogReplay, Observation
from envs.driving.scenario import HISTORY_FRAMES, Scenario
from envs.driving.types import (
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
from envs.driving.vehicle import MAX_EGO_SPEED, bicycle_step

CHALLENGE_TIME_LIMIT = 1.0  # [s] per call of the planner
CHALLENGE_HORIZON = 8.0  # [s] a trajectory must cover


class Planner(Protocol):
    """`planners.DrivingPlanner`, repeated here because `envs` imports nobody."""

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Map) -> dict[str, Any]: ...

    def plan(self, scene: Scene, carry: dict[str, Any]) -> tuple[Trajectory, dict[str, Any]]: ...


class PlannerError(RuntimeError):
    """A planner that raised, took too long or returned what cannot be driven; says where."""


@dataclass(frozen=True)
class SimulationConfig:
    """How traffic and ego move, and what is asked of the planner."""

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
    """What happened: K = num_iterations - 1 recorded samples."""

    scenario: Scenario
    time_us: Ints  # (K,)
    ego: Floats  # (K, 11)
    tracks: list[Tracks]  # K
    trajectories: list[Trajectory] = field(default_factory=list)  # K, as planned
    planning_time: Floats = field(default_factory=lambda: np.zeros(0))  # (K,) [s]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One scenario of a batch: its history, or one clear error."""

    scenario: Scenario
    history: History | None
    error: str | None = None


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
        trajectory.check(self.time_us, self.config.horizon)
        self._ego_log[self.iteration] = self.ego
        self._track_log.append(self.traffic.tracks)
        self._trajectories.append(trajectory)
        now, seen = self.time_us, self._egos[-1]
        self.iteration += 1
        if self.done:
            return
        self.ego = self._drive(trajectory, now)
        # a difference of seconds since the epoch, 2e-7 s coarse: the devkit's traffic moves by it
        self.traffic.step(self.iteration, seen, self.time_us * 1e-6 - now * 1e-6)
        self._remember()

    def _drive(self, trajectory: Trajectory, now: int) -> Floats:
        if self.config.ego == "log":
            return self.scenario.ego[self.scenario.start + self.iteration].copy()
        if self.config.ego == "perfect":
            return self._follow_perfectly(trajectory)
        acceleration, steering_rate = track(self.ego, trajectory, now, self._reference(trajectory))
        return bicycle_step(self.ego, acceleration, steering_rate, (self.time_us - now) * 1e-6)

    def _follow_perfectly(self, trajectory: Trajectory) -> Floats:
        state = np.zeros(STATE_SIZE)
        state[:TRAJECTORY_SIZE] = trajectory.at(self.time_us)
        speed = np.hypot(state[StateColumn.VX], state[StateColumn.VY])
        if speed >= MAX_EGO_SPEED:
            raise InvalidTrajectory(f"perfect tracking refuses {speed:.1f} m/s; the limit is {MAX_EGO_SPEED} m/s")
        return state

    def _reference(self, trajectory: Trajectory) -> Reference:
        return reference_of(trajectory)

    def history(self, planning_time: Floats | None = None) -> History:
        """What was recorded so far."""
        frames = slice(self.scenario.start, self.scenario.start + self.iteration)
        times = np.zeros(self.iteration) if planning_time is None else planning_time
        log = self._ego_log[: self.iteration]
        return History(self.scenario, self.scenario.time_us[frames], log, self._track_log, self._trajectories, times)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError when the body takes longer; it is interrupted where signals allow (the main thread)."""
    if seconds is None:
        yield
        return
    start = time.perf_counter()
    interruptible = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")

    def interrupt(signum: int, frame: Any) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, interrupt) if interruptible else None
    if interruptible:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        if interruptible:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    if time.perf_counter() - start > seconds:
        raise TimeoutError


def ask(planner: Planner, simulation: Simulation, carry: dict[str, Any]) -> tuple[Trajectory, dict[str, Any]]:
    """One call of the planner. Raises PlannerError when it raises, dawdles or does not return a trajectory."""
    limit = simulation.config.time_limit
    try:
        with time_limit(limit):
            trajectory, carry = planner.plan(simulation.scene(), carry)
    except TimeoutError as error:
        raise PlannerError(f"took longer than its {limit} s") from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise PlannerError(f"raised {type(error).__name__}: {error} ({place.filename}:{place.lineno})") from error
    if not isinstance(trajectory, Trajectory):
        raise PlannerError(f"returned {type(trajectory).__name__}, not a Trajectory")
    return trajectory, carry


def simulate(scenario: Scenario, planner: Planner, config: SimulationConfig = NONREACTIVE) -> History:
    """Drive one scenario with a planner. Raises PlannerError naming planner, scenario and iteration."""
    simulation = Simulation(scenario, config)
    seconds = []
    try:
        if not scenario.route:
            raise PlannerError("was given no route: the scenario has no roadblock ids; planners need at least one")
        carry = start(planner, scenario)
        while not simulation.done:
            begin = time.perf_counter()
            trajectory, carry = ask(planner, simulation, carry)
            seconds.append(time.perf_counter() - begin)
            simulation.advance(trajectory)
    except (PlannerError, InvalidTrajectory) as error:
        place = f"scenario {scenario.token} ({scenario.log_name}), iteration {simulation.iteration}"
        raise PlannerError(f"{place}: planner {type(planner).__name__} {error}") from error
    return simulation.history(np.array(seconds))


def start(planner: Planner, scenario: Scenario) -> dict[str, Any]:
    try:
        return planner.initial(list(scenario.route), scenario.goal, scenario.map)
    except Exception as error:
        raise PlannerError(f"could not start: {type(error).__name__}: {error}") from error


def simulate_batch(
    scenarios: Iterable[Scenario], planner: Planner, config: SimulationConfig = NONREACTIVE
) -> list[Outcome]:
    """Drive many scenarios; one that fails is reported with its error, the others finish and are kept."""
    outcomes = []
    for scenario in scenarios:
        try:
            outcomes.append(Outcome(scenario, simulate(scenario, planner, config)))
        except Exception as error:
            outcomes.append(Outcome(scenario, None, f"{type(error).__name__}: {error}"))
    return outcomes

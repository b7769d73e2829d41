"""Data types of driving: ego states, tracks, traffic lights, the scene a planner sees and the trajectory it returns.

SI units, angles in radians, time in integer microseconds. Poses are (x, y, heading) in the map's metric frame; the ego
pose is its REAR AXLE, a box is (centre x, centre y, heading, length, width).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import cached

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class TrackedObjectType(IntEnum):
    """Type of a tracked object, with nuPlan's numbers. The first three and EGO are agents, the others are static."""

    VEHICLE = 0
    PEDESTRIAN = 1
    BICYCLE = 2
    TRAFFIC_CONE = 3
    BARRIER = 4
    CZONE_SIGN = 5
    GENERIC_OBJECT = 6
    EGO = 7


AGENT_TYPES = (TrackedObjectType.VEHICLE, TrackedObjectType.PEDESTRIAN, TrackedObjectType.BICYCLE)
STATIC_TYPES = (
    TrackedObjectType.TRAFFIC_CONE,
    TrackedObjectType.BARRIER,
    TrackedObjectType.CZONE_SIGN,
    TrackedObjectType.GENERIC_OBJECT,
)


class TrafficLightStatus(IntEnum):
    GREEN = 0
    YELLOW = 1
    RED = 2
    UNKNOWN = 3


TrafficLights = Mapping[str, TrafficLightStatus]
"""Status by lane connector id; a connector that is missing has no report at this time."""


class StateColumn(IntEnum):
    """Columns of an ego state array (..., 11): the rear axle, velocity and acceleration in the ego's own frame."""

    X = 0  # [m]
    Y = 1  # [m]
    HEADING = 2  # [rad]
    VX = 3  # [m/s] forward
    VY = 4  # [m/s] left
    AX = 5  # [m/s^2]
    AY = 6  # [m/s^2]
    STEERING = 7  # [rad] tire angle
    STEERING_RATE = 8  # [rad/s]
    YAW_RATE = 9  # [rad/s]
    YAW_ACCELERATION = 10  # [rad/s^2]


STATE_SIZE = len(StateColumn)
TRAJECTORY_SIZE = 8
"""A trajectory keeps the first eight columns of a state; rates are not part of it."""
JITTER = 0.05  # [s] by which the row 8 s ahead in a real log may come early


class InvalidTrajectory(ValueError):
    """A planner's trajectory cannot be driven; the message says why."""


@dataclass(frozen=True, slots=True)
class EgoState:
    """The ego vehicle at one time: rear-axle pose, ego-frame velocity and acceleration, steering and rates."""

    time_us: int
    x: float
    y: float
    heading: float
    vx: float = 0.0
    vy: float = 0.0
    ax: float = 0.0
    ay: float = 0.0
    steering: float = 0.0
    steering_rate: float = 0.0
    yaw_rate: float = 0.0
    yaw_acceleration: float = 0.0

    @classmethod
    def from_array(cls, time_us: int, row: Floats) -> "EgoState":
        """row (11,) in the order of `StateColumn`."""
        return cls(int(time_us), *row.tolist())

    def array(self) -> Floats:
        """(11,) in the order of `StateColumn`."""
        return np.array([getattr(self, f.name) for f in fields(self)[1:]])

    @property
    def pose(self) -> Floats:
        """(3,) rear axle x, y, heading."""
        return np.array([self.x, self.y, self.heading])

    @property
    def speed(self) -> float:
        """[m/s] of the rear axle."""
        return float(np.hypot(self.vx, self.vy))


@dataclass(frozen=True)
class Tracks:
    """Every tracked object at one time."""

    tokens: tuple[str, ...]  # (n,) track tokens, stable over time
    types: NDArray[np.int8]  # (n,) TrackedObjectType
    boxes: Floats  # (n, 5) centre x, y, heading, length, width
    velocities: Floats  # (n, 2) global frame; zero for static objects

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, keep: NDArray[Any]) -> "Tracks":
        """The tracks under a mask (n,) or at indices (m,)."""
        index = np.arange(len(self))[keep]
        tokens = tuple(self.tokens[i] for i in index)
        return Tracks(tokens, self.types[index], self.boxes[index], self.velocities[index])

    def of_type(self, *types: TrackedObjectType) -> "Tracks":
        return self.select(np.isin(self.types, types))

    @classmethod
    def empty(cls) -> "Tracks":
        return cls((), np.zeros(0, np.int8), np.zeros((0, 5)), np.zeros((0, 2)))


@dataclass(frozen=True)
class Scene:
    """Input of a planner at one iteration. Histories are oldest first, 0.1 s apart; the last entry is now."""

    iteration: int
    time_us: int
    ego_history: Sequence[EgoState]  # 22 entries: t = -2.1 ... 0.0 s
    tracks_history: Sequence[Tracks]  # 22 entries
    traffic_lights: TrafficLights = field(default_factory=dict)

    @property
    def ego(self) -> EgoState:
        return self.ego_history[-1]

    @property
    def tracks(self) -> Tracks:
        return self.tracks_history[-1]

    def ego_array(self) -> Floats:
        """(22, 11) in the order of `StateColumn`."""
        return np.stack([state.array() for state in self.ego_history])


@dataclass(frozen=True)
class TrajectorySampling:
    """How a planner samples its future; the number of poses excludes the initial state."""

    num_poses: int
    interval: float  # [s]

    @property
    def horizon(self) -> float:
        """[s]"""
        return self.num_poses * self.interval

    def times_us(self, now_us: int) -> Ints:
        """(num_poses + 1,) from now on."""
        return now_us + np.round(np.arange(self.num_poses + 1) * self.interval * 1e6).astype(np.int64)


@dataclass(frozen=True)
class Trajectory:
    """A planned future of the rear axle: linear in time between its states, headings unwrapped before that.

    Raises InvalidTrajectory at once for wrong shapes, fewer than two states, non-finite values or times that do not
    increase.
    """

    time_us: Ints  # (M,)
    states: Floats  # (M, 8): x, y, heading, vx, vy, ax, ay, steering

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_us", np.ascontiguousarray(self.time_us, np.int64))
        object.__setattr__(self, "states", np.ascontiguousarray(self.states, np.float64))
        if self.time_us.ndim != 1 or self.states.shape != (len(self.time_us), TRAJECTORY_SIZE):
            raise InvalidTrajectory(
                f"a trajectory is times (M,) and states (M, {TRAJECTORY_SIZE}); "
                f"got {self.time_us.shape} and {self.states.shape}"
            )
        if len(self.time_us) < 2:
            raise InvalidTrajectory(f"a trajectory needs at least 2 states, the first one now; got {len(self.time_us)}")
        finite = np.isfinite(self.states)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise InvalidTrajectory(
                f"state {row} of the trajectory has {StateColumn(column).name.lower()} = {self.states[row, column]}"
            )
        later = self.time_us[1:] > self.time_us[:-1]
        if not later.all():
            row = int(np.argmin(later)) + 1
            raise InvalidTrajectory(f"trajectory times must increase; state {row} is not later than state {row - 1}")

    @classmethod
    def from_poses(cls, time_us: Ints, poses: Floats) -> "Trajectory":
        """times (M,), rear-axle poses (M, 3); velocities, accelerations and steering zero."""
        poses = np.asarray(poses, np.float64)
        if poses.ndim != 2 or poses.shape[1] != 3:
            raise InvalidTrajectory(f"poses are (M, 3): x, y, heading; got {poses.shape}")
        return cls(time_us, np.concatenate([poses, np.zeros((len(poses), TRAJECTORY_SIZE - 3))], axis=1))

    @property
    def poses(self) -> Floats:
        """(M, 3) x, y, heading."""
        return self.states[:, :3]

    @property
    def start_us(self) -> int:
        return int(self.time_us[0])

    @property
    def end_us(self) -> int:
        return int(self.time_us[-1])

    @cached_property
    def _unwrapped(self) -> Floats:
        states = self.states.copy()
        states[:, StateColumn.HEADING] = unwrapped(states[:, StateColumn.HEADING])
        return states

    def at(self, time_us: Any) -> Floats:
        """Interpolated states (..., 8) at times (...), headings in [-pi, pi). Raises InvalidTrajectory outside."""
        times = np.asarray(time_us)
        if times.size and (times.min() < self.start_us or times.max() > self.end_us):
            raise InvalidTrajectory(
                f"asked for times in [{times.min()}, {times.max()}] us, "
                f"but the trajectory spans [{self.start_us}, {self.end_us}] us"
            )
        states = interpolated(self.time_us, self._unwrapped, times.ravel().astype(np.int64))
        return states.reshape(*times.shape, TRAJECTORY_SIZE)

    def ego_at(self, time_us: int) -> EgoState:
        """The interpolated state as an ego state; steering rate, yaw rate and yaw acceleration are zero."""
        return EgoState(int(time_us), *self.at(time_us).tolist())

    def check(self, now_us: int, horizon: float) -> None:
        """Raise InvalidTrajectory unless the trajectory starts now and covers `horizon` [s], up to a row's jitter."""
        if self.start_us != now_us:
            late = (self.start_us - now_us) * 1e-6
            raise InvalidTrajectory(f"the trajectory must start now ({now_us} us); it starts {late:+.3f} s from now")
        if (self.end_us - now_us) * 1e-6 < horizon - JITTER:
            length = (self.end_us - now_us) * 1e-6
            raise InvalidTrajectory(f"the trajectory is too short: {length:.2f} s, the simulation asks for {horizon} s")


@dataclass(frozen=True)
class Insight:
    """What a planner saw when it chose its plan, to be drawn. Points are in map coordinates, colours RGB."""

    dots: tuple[tuple[Floats, NDArray[np.uint8], float], ...] = ()  # points (K, 2), colours (K, 3), width [m]
    strokes: tuple[tuple[Floats, tuple[int, int, int], float], ...] = ()  # points (K, 2), colour, width [m]
    notes: tuple[str, ...] = ()  # lines of text


@cached
def unwrapped(headings: Floats) -> Floats:
    """Headings (M,) [rad] without jumps of more than half a turn, as `np.unwrap`."""
    out = headings.copy()
    turns = 0.0
    for k in range(1, len(headings)):
        step = headings[k] - headings[k - 1]
        if abs(step) >= np.pi:
            wrapped = (step + np.pi) % (2 * np.pi) - np.pi
            turns += (np.pi if wrapped == -np.pi and step > 0 else wrapped) - step
        out[k] = headings[k] + turns
    return out


@cached
def interpolated(time_us: Ints, states: Floats, times: Ints) -> Floats:
    """States (n, k) at times (n,) within increasing times (M,); headings come unwrapped (M, k), go in [-pi, pi)."""
    out = np.empty((len(times), states.shape[1]))
    high = 1
    for i in range(len(times)):
        if time_us[high - 1] >= times[i]:
            high = 1
        while time_us[high] < times[i] and high < len(time_us) - 1:
            high += 1
        share = (times[i] - time_us[high - 1]) / (time_us[high] - time_us[high - 1])
        for k in range(states.shape[1]):
            out[i, k] = states[high - 1, k] + share * (states[high, k] - states[high - 1, k])
        out[i, 2] = (out[i, 2] + np.pi) % (2 * np.pi) - np.pi
    return out

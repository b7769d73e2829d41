"""A driving scenario: a map, everything that was recorded on it over time, and where the ego is to go."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import (
    STATE_SIZE,
    TRAJECTORY_SIZE,
    Bools,
    EgoState,
    Floats,
    Ints,
    TrackedObjectType,
    Tracks,
    TrafficLights,
    TrafficLightStatus,
    Trajectory,
)

HISTORY_FRAMES = 21  # frames before the first iteration: 2.1 s at 10 Hz
NO_REPORT = -1  # traffic light status of a connector without one
STATUS = tuple(TrafficLightStatus)  # by number


@dataclass(frozen=True, eq=False)
class TrackLog:
    """Tracked objects over F frames as dense arrays; `valid` says where an object was seen."""

    tokens: tuple[str, ...]  # (n,)
    types: NDArray[np.int8]  # (n,)
    boxes: Floats  # (F, n, 5) centre x, y, heading, length, width
    velocities: Floats  # (F, n, 2) global
    valid: Bools  # (F, n)

    def at(self, frame: int) -> Tracks:
        index, tokens, types = self._seen(self.valid[frame].tobytes())
        return Tracks(tokens, types, self.boxes[frame, index], self.velocities[frame, index])

    @cached_property
    def _kept(self) -> dict[bytes, tuple[Ints, tuple[str, ...], NDArray[np.int8]]]:
        return {}

    def _seen(self, mask: bytes) -> tuple[Ints, tuple[str, ...], NDArray[np.int8]]:
        """Return the objects under a mask. Few masks differ from those before and after, so results are kept."""
        if mask not in self._kept:
            index = np.flatnonzero(np.frombuffer(mask, bool))
            types = self.types[index]
            types.flags.writeable = False  # frames share it
            self._kept[mask] = index, tuple(self.tokens[i] for i in index), types
        return self._kept[mask]

    @classmethod
    def from_frames(cls, frames: list[Tracks], first: int = 0) -> "TrackLog":
        """Stack frames, objects identified by track token: those of frame `first` in its order, then the others."""
        index: dict[str, int] = {}
        types: list[int] = []
        for frame in (frames[first], *frames):
            for token, kind in zip(frame.tokens, frame.types):
                if token not in index:
                    index[token] = len(index)
                    types.append(int(kind))
        shape = (len(frames), len(index))
        boxes, velocities, valid = np.zeros((*shape, 5)), np.zeros((*shape, 2)), np.zeros(shape, bool)
        for row, frame in enumerate(frames):
            columns = [index[token] for token in frame.tokens]
            boxes[row, columns], velocities[row, columns], valid[row, columns] = frame.boxes, frame.velocities, True
        return cls(tuple(index), np.array(types, np.int8), boxes, velocities, valid)


@dataclass(frozen=True, eq=False)
class LightLog:
    """Traffic light reports over F frames; NO_REPORT where a connector has none."""

    connector_ids: tuple[str, ...]  # (m,)
    status: NDArray[np.int8]  # (F, m)

    def at(self, frame: int) -> TrafficLights:
        row = self.status[frame].tolist()
        return {i: STATUS[s] for i, s in zip(self.connector_ids, row) if s != NO_REPORT}

    @classmethod
    def from_frames(cls, frames: list[TrafficLights]) -> "LightLog":
        ids = tuple(dict.fromkeys(i for frame in frames for i in frame))
        rows = [[int(frame.get(i, NO_REPORT)) for i in ids] for frame in frames]
        return cls(ids, np.array(rows, np.int8).reshape(len(frames), len(ids)))


@dataclass(frozen=True, eq=False)
class Scenario:
    """One scenario. Frames run at 10 Hz: history, then the iterations of the simulation, then the expert's future.

    Frame `start` is iteration 0 and frame `start + num_iterations - 1` the last one; `tracks` and `lights` cover the
    frames up to there, `time_us` and `ego` may go on (the log's future, that open-loop scores compare with).
    """

    token: str
    log_name: str
    type: str
    map: Map
    time_us: Ints  # (F,)
    ego: Floats  # (F, 11) the expert, as `types.StateColumn`
    start: int
    num_iterations: int
    tracks: TrackLog
    lights: LightLog
    route: tuple[str, ...] = ()  # roadblock and roadblock connector ids
    goal: tuple[float, float, float] | None = None  # x, y, heading
    info: dict[str, str] = field(default_factory=dict)  # further information from the source

    def __post_init__(self) -> None:
        end = self.start + self.num_iterations
        frames = (len(self.tracks.boxes), len(self.lights.status), len(self.time_us))
        if self.num_iterations < 2 or self.start < 0 or min(frames) < end:
            raise ValueError(
                f"scenario {self.token}: {self.num_iterations} iterations from frame {self.start} need {end} frames; "
                f"tracks, lights and times have {frames}"
            )
        if self.ego.shape != (len(self.time_us), STATE_SIZE):
            raise ValueError(f"scenario {self.token}: ego must be ({len(self.time_us)}, 11); got {self.ego.shape}")
        if not np.isfinite(self.ego).all() or np.any(np.diff(self.time_us) <= 0):
            raise ValueError(f"scenario {self.token}: ego states must be finite and times increase")

    def ego_at(self, iteration: int) -> EgoState:
        """The expert at an iteration; negative iterations are its history."""
        frame = self.start + iteration
        return EgoState.from_array(int(self.time_us[frame]), self.ego[frame])

    def tracks_at(self, iteration: int) -> Tracks:
        return self.tracks.at(self.start + iteration)

    def lights_at(self, iteration: int) -> TrafficLights:
        return self.lights.at(self.start + iteration)

    @property
    def iterations(self) -> slice:
        """The frames of the simulation."""
        return slice(self.start, self.start + self.num_iterations)

    @cached_property
    def expert(self) -> Trajectory:
        """The whole log from iteration 0 on, as a trajectory."""
        return Trajectory(self.time_us[self.start :], self.ego[self.start :, :TRAJECTORY_SIZE])

    def count(self, kind: TrackedObjectType) -> int:
        """How many objects of a type there are over the whole scenario."""
        return int(np.sum(self.tracks.types == kind))

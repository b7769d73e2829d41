"""Pedestrians: some walk along the pavement, some wait at a crosswalk until it is safe, and cross."""

import math
from dataclasses import dataclass

import numpy as np

from embodia.envs.driving.generator.road_layout import JunctionKind
from embodia.envs.driving.generator.road_network import Crossing, RoadNetwork
from embodia.envs.driving.generator.signals import Signals
from embodia.envs.driving.types import Floats, TrafficLightStatus

SIZE = (0.7, 0.7)  # [m] length, width
APPROACH = 4.0  # [m] walked on the pavement before and after the crossing
YIELD_REACH = 7.0  # [m] of a pedestrian from the driver's path within which the driver waits
PASSED = 1.8  # [m] behind the driver's path where a pedestrian no longer matters


@dataclass
class Walker:
    token: str
    crossing: int  # -1 on the pavement
    start: Floats
    direction: Floats  # unit
    length: float  # [m] of the walk
    speed: float
    walked: float = 0.0
    reverse: bool = False
    crossing_length: float = 0.0
    moving: bool = True
    pavement: Floats | None = None  # (n, 2) a line to walk along, a metre per segment

    @property
    def position(self) -> Floats:
        if self.pavement is None:
            return self.start + self.direction * self.walked
        k = int(self.walked)
        return self.pavement[k] + (self.walked - k) * (self.pavement[k + 1] - self.pavement[k])

    @property
    def velocity(self) -> Floats:
        """(2,) where the walker is heading, also while it waits."""
        k = int(self.walked)
        way = self.direction if self.pavement is None else self.pavement[k + 1] - self.pavement[k]
        return way / np.hypot(way[0], way[1]) * max(self.speed, 1e-3)

    @property
    def along(self) -> float:
        """[m] from the crossing's start, whichever way the walker goes."""
        done = self.walked - APPROACH
        return self.crossing_length - done if self.reverse else done

    @property
    def on_road(self) -> bool:
        return self.crossing >= 0 and self.moving and -0.6 < self.walked - APPROACH < self.crossing_length

    @property
    def waits(self) -> bool:
        """At the kerb, about to step onto the road."""
        return self.crossing >= 0 and abs(self.walked - APPROACH + 0.8) < 0.3


class Pedestrians:
    """All walkers of a world."""

    def __init__(self, network: RoadNetwork, signals: Signals, rate: float, rng: np.random.Generator):
        """rate: pedestrians per crossing and second."""
        self.network, self.signals, self.rate, self.rng = network, signals, rate, rng
        self.walkers: list[Walker] = []
        self.count = 0
        red: dict[tuple[int, int], list[int]] = {}
        for k, connector in enumerate(signals.connector_ids):
            movement = next(m for m in network.movements if m.connector_id == connector)
            red.setdefault((movement.junction, movement.line), []).append(k)
        self.lights = red
        for _ in range(int(rng.poisson(2.0 + 40 * rate))):
            self._stroll()

    def step(self, time: float, dt: float, safe: dict[int, bool]) -> None:
        """`safe` says of unsignalled crossings whether every driver could stop."""
        for index in range(len(self.network.crossings)):
            if self.rng.random() < self.rate * dt:
                self._arrive(index)
        for walker in self.walkers:
            if walker.waits:
                walker.moving = self._may_cross(walker, time, safe)
            if walker.moving:
                walker.walked += walker.speed * dt
        self.walkers = [w for w in self.walkers if w.walked < w.length]

    def _token(self) -> str:
        self.count += 1
        return f"pedestrian-{self.count}"

    def _arrive(self, index: int) -> None:
        crossing = self.network.crossings[index]
        reverse = bool(self.rng.random() < 0.5)
        start, end = (crossing.end, crossing.start) if reverse else (crossing.start, crossing.end)
        side = self.rng.uniform(-1.0, 1.0)
        length = float(np.hypot(*(end - start)))
        direction = (end - start) / length
        start = start + side * np.array([-direction[1], direction[0]]) - APPROACH * direction
        speed = float(self.rng.uniform(1.1, 1.7))
        total = length + 2 * APPROACH
        self.walkers.append(Walker(self._token(), index, start, direction, total, speed, 0.0, reverse, length))

    def _stroll(self) -> None:
        if not self.network.roadside.sidewalks:
            return
        line = self.network.roadside.sidewalks[self.rng.integers(len(self.network.roadside.sidewalks))]
        line = line[:: int(self.rng.choice([-1, 1]))]
        standing = self.rng.random() < 0.3
        speed = 0.0 if standing else float(self.rng.uniform(0.9, 1.5))
        walker = Walker(self._token(), -1, line[0], line[1] - line[0], len(line) - 1.5, speed, pavement=line)
        walker.walked = float(self.rng.uniform(0, len(line) - 2))
        self.walkers.append(walker)

    def _may_cross(self, walker: Walker, time: float, safe: dict[int, bool]) -> bool:
        crossing = self.network.crossings[walker.crossing]
        if self._signalled(crossing):
            lanes = self.lights.get((crossing.junction or 0, crossing.line), [])
            needed = walker.crossing_length / walker.speed
            return all(
                np.all(self.signals.status(time + ahead)[lanes] == TrafficLightStatus.RED)
                for ahead in (0.0, needed / 2, needed)
            )
        return safe.get(walker.crossing, True)

    def _signalled(self, crossing: Crossing) -> bool:
        junction = crossing.junction
        return junction is not None and self.network.junctions[junction].kind is JunctionKind.SIGNAL

    def busy(self) -> dict[int, list[Walker]]:
        """Walkers on the road, by crossing."""
        busy: dict[int, list[Walker]] = {}
        for walker in self.walkers:
            if walker.on_road:
                busy.setdefault(walker.crossing, []).append(walker)
        return busy

    def waiting(self) -> set[int]:
        """Crossings at which a pedestrian waits."""
        return {w.crossing for w in self.walkers if w.waits}

    def boxes(self) -> Floats:
        """(n, 5)"""
        rows = [(*w.position, math.atan2(w.velocity[1], w.velocity[0]), *SIZE) for w in self.walkers]
        return np.array(rows).reshape(len(rows), 5)

    def velocities(self) -> Floats:
        """(n, 2)"""
        rows = [w.velocity * (w.moving and w.speed > 0) for w in self.walkers]
        return np.array(rows).reshape(len(rows), 2)


def must_wait(walker: Walker, at: float) -> bool:
    """Whether a driver whose path meets the crossing `at` [m] from its start waits for a walker."""
    ahead = (walker.along - at) if walker.reverse else (at - walker.along)
    return -PASSED < ahead < YIELD_REACH

"""Traffic signals: each junction's streets take turns, straight on and right first, then left on its own green."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.driving.road_layout import JunctionKind
from envs.driving.road_network import Movement, RoadNetwork, Turn
from envs.driving.types import Floats, TrafficLightStatus

YELLOW, ALL_RED = 3.0, 1.5  # [s]
THROUGH_GREEN, LEFT_GREEN = (9.0, 16.0), (5.0, 8.0)  # [s] ranges


@dataclass(frozen=True)
class Signals:
    """Every signalled connector's phase: it is green from `start` for `green` seconds of its junction's cycle."""

    connector_ids: tuple[str, ...]
    start: Floats  # (m,) [s]
    green: Floats  # (m,) [s]
    cycle: Floats  # (m,) [s]

    def status(self, time: float) -> NDArray[np.int8]:
        """(m,) TrafficLightStatus at a time [s]."""
        since = np.mod(time - self.start, self.cycle)
        yellow = (since >= self.green) & (since < self.green + YELLOW)
        status = np.full(len(self.start), TrafficLightStatus.RED, np.int8)
        status[since < self.green] = TrafficLightStatus.GREEN
        status[yellow] = TrafficLightStatus.YELLOW
        return status


def phase(movement: Movement) -> tuple[int, bool]:
    """Movements of one phase are green together: a street's straight and right ones, or its left ones."""
    return movement.line, movement.turn is Turn.LEFT


def draw_signals(network: RoadNetwork, rng: np.random.Generator) -> Signals:
    """A cycle for every signalled junction; the present lies anywhere in it."""
    ids: list[str] = []
    rows: list[tuple[float, float, float]] = []
    for index, junction in enumerate(network.junctions):
        if junction.kind is not JunctionKind.SIGNAL:
            continue
        movements = [m for m in network.movements if m.junction == index]
        starts, cycle = _cycle(movements, rng)
        for movement in movements:
            ids.append(movement.connector_id)
            rows.append((*starts[phase(movement)], cycle))
    table = np.array(rows).reshape(len(ids), 3)
    return Signals(tuple(ids), table[:, 0], table[:, 1], table[:, 2])


def _cycle(
    movements: Sequence[Movement], rng: np.random.Generator
) -> tuple[dict[tuple[int, bool], tuple[float, float]], float]:
    """(start, green) [s] of each phase, and the cycle [s]."""
    starts = {}
    clock = offset = float(rng.uniform(0, 60))
    for which in sorted({phase(m) for m in movements}):
        green = float(rng.uniform(*(LEFT_GREEN if which[1] else THROUGH_GREEN)))
        starts[which] = (clock, green)
        clock += green + YELLOW + ALL_RED
    return starts, clock - offset

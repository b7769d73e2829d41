"""Traffic signals: each junction's streets take turns.

A street whose left turns have lanes of their own goes straight and right first, then left; else its two arms, where
left turns share a lane with the others, have their greens one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.generator.road_layout import JunctionKind
from embodia.envs.driving.generator.road_network import Movement, RoadNetwork, Turn
from embodia.envs.driving.types import Floats, TrafficLightStatus

YELLOW, ALL_RED = 3.0, 1.5  # [s]
THROUGH_GREEN, LEFT_GREEN = (9.0, 15.0), (5.0, 8.0)  # [s] ranges


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


Phase = tuple[int, str]  # street, and which part of it


def phases(network: RoadNetwork, movements: Sequence[Movement]) -> dict[str, Phase]:
    """Which movements (by connector id) of one junction are green together."""
    connectors = {edge.id: edge for edge in network.map.connectors}
    blocks = {lane.id: lane.roadblock_id for lane in network.map.lanes}
    lanes: dict[tuple[int, bool], set[str | None]] = {}
    for m in movements:
        lanes.setdefault((m.line, m.turn is Turn.LEFT), set()).add(connectors[m.connector_id].from_lane)
    shared = {line for line, _ in lanes if lanes.get((line, True), set()) & lanes.get((line, False), set())}
    out = {}
    for m in movements:
        arm = blocks[str(connectors[m.connector_id].from_lane)]
        out[m.connector_id] = (m.line, f"arm {arm}" if m.line in shared else "left" if m.turn is Turn.LEFT else "ahead")
    return out


def draw_signals(network: RoadNetwork, rng: np.random.Generator) -> Signals:
    """A cycle for every signalled junction; the present lies anywhere in it."""
    ids: list[str] = []
    rows: list[tuple[float, float, float]] = []
    for index, junction in enumerate(network.junctions):
        if junction.kind is not JunctionKind.SIGNAL:
            continue
        movements = [m for m in network.movements if m.junction == index]
        phase = phases(network, movements)
        starts, cycle = _cycle(sorted(set(phase.values())), rng)
        for movement in movements:
            ids.append(movement.connector_id)
            rows.append((*starts[phase[movement.connector_id]], cycle))
    table = np.array(rows).reshape(len(ids), 3)
    return Signals(tuple(ids), table[:, 0], table[:, 1], table[:, 2])


def _cycle(order: Sequence[Phase], rng: np.random.Generator) -> tuple[dict[Phase, tuple[float, float]], float]:
    """(start, green) [s] of each phase, and the cycle [s]."""
    starts = {}
    clock = offset = float(rng.uniform(0, 60))
    for which in order:
        green = float(rng.uniform(*(LEFT_GREEN if which[1] == "left" else THROUGH_GREEN)))
        starts[which] = (clock, green)
        clock += green + YELLOW + ALL_RED
    return starts, clock - offset

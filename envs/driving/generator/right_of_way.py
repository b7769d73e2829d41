"""Right of way at junctions: drivers claim their connector before they cross the stop line, and give way by rank.

A claim is granted when the light allows it, nobody holds a crossing connector, nobody with right of way is about to
take one, and there is room behind the junction. Paths that cross are therefore never driven at the same time.
"""

from dataclasses import dataclass

import numpy as np
import shapely

from embodia.envs.driving.generator.road_layout import JunctionKind
from embodia.envs.driving.generator.road_network import RoadNetwork
from embodia.envs.driving.types import TrafficLightStatus

CONFLICT_WIDTH = 1.7  # [m] half width of the strips whose overlap makes two connectors conflict
COMFORTABLE_BRAKE = 1.8  # [m/s^2]
YELLOW_BRAKE = 3.0  # [m/s^2] a driver goes on at yellow rather than brake harder
STOPPED = 0.35  # [m/s]
WAIT_BEHIND_LINE = 0.6  # [m] of the front bumper before the stop line
SETTLE = 1.0  # [s] margin to a driver with right of way


@dataclass(frozen=True)
class Approach:
    """A driver before a junction."""

    driver: int
    connector: int  # edge index
    distance: float  # [m] from the front bumper to the connector's start
    speed: float
    lead_before_line: bool  # another driver is before the line
    exit_room: bool
    beside_cyclist: bool  # a cyclist close by on the right could cut across


class RightOfWay:
    """The claims of all junctions of a network."""

    def __init__(self, network: RoadNetwork):
        self.network = network
        road_map = network.map
        self.movement = {road_map.connector_index[m.connector_id]: m for m in network.movements}
        self.kind = {edge: network.junctions[m.junction].kind for edge, m in self.movement.items()}
        self.conflicts = self._conflicts()  # {connector: {other: arc length on the other where the conflict ends}}
        self.claims: dict[int, int] = {}  # driver -> connector
        self.arrived: dict[int, float] = {}  # driver -> time it stopped at a stop sign

    def _conflicts(self) -> dict[int, dict[int, float]]:
        road_map = self.network.map
        edges = sorted(self.movement)
        lines = np.array([road_map.edges[edge].baseline.line for edge in edges])
        strips = shapely.buffer(lines, CONFLICT_WIDTH, cap_style="flat")
        first, second = shapely.STRtree(strips).query(strips, predicate="intersects")
        conflicts: dict[int, dict[int, float]] = {edge: {} for edge in edges}
        crossed = shapely.intersection(lines[second], shapely.buffer(strips[first], 0.8))
        for a, b, part in zip(first, second, crossed):
            same_origin = road_map.edges[edges[a]].from_lane == road_map.edges[edges[b]].from_lane
            if a == b or same_origin or part.is_empty:
                continue
            ends = shapely.line_locate_point(lines[b], shapely.points(shapely.get_coordinates(part)))
            conflicts[edges[a]][edges[b]] = float(np.max(ends))
        return conflicts

    def needs_claim(self, connector: int) -> bool:
        """Where lanes only open there is nothing to claim."""
        return self.kind[connector] is not JunctionKind.JOIN or bool(self.conflicts[connector])

    def release(self, driver: int) -> None:
        self.claims.pop(driver, None)
        self.arrived.pop(driver, None)

    def decide(
        self, approaches: list[Approach], lights: dict[int, int], past: dict[int, float], time: float
    ) -> dict[int, float]:
        """Grant claims; gives the distance [m] to the stop line for every driver that must wait there.

        lights: status by connector; past: for drivers that hold a claim, arc length of their rear bumper on it
        (negative before its start).
        """
        stops = {}
        waiting = {a.driver: a for a in approaches}
        for approach in sorted(approaches, key=lambda a: (self.arrived.get(a.driver, time), a.distance)):
            if approach.driver in self.claims:
                if not self._stopped_by_light(approach, lights):
                    continue
                del self.claims[approach.driver]  # the light changed before the line was crossed
            self._notice_arrival(approach, time)
            if self._close_enough(approach) and self._may_enter(approach, waiting, lights, past, time):
                self.claims[approach.driver] = approach.connector
                past[approach.driver] = -approach.distance
            elif self._must_heed(approach, lights):
                stops[approach.driver] = max(approach.distance - WAIT_BEHIND_LINE, 0.05)
        return stops

    def _notice_arrival(self, approach: Approach, time: float) -> None:
        if approach.speed < STOPPED and approach.distance < 4.0 and not approach.lead_before_line:
            self.arrived.setdefault(approach.driver, time)

    def _close_enough(self, approach: Approach) -> bool:
        """Drivers decide at their braking distance; those who give way, when they can see."""
        movement, kind = self.movement[approach.connector], self.kind[approach.connector]
        gives_way = kind in (JunctionKind.YIELD, JunctionKind.ROUNDABOUT) and movement.rank > 0
        braking = approach.speed**2 / (2 * COMFORTABLE_BRAKE)
        return approach.distance < (min(braking, 8.0) + 4.0 if gives_way else braking + 12.0)

    @staticmethod
    def _stopped_by_light(approach: Approach, lights: dict[int, int]) -> bool:
        """Yellow or red, and room enough to stop."""
        status = lights.get(approach.connector, TrafficLightStatus.GREEN)
        room = approach.distance > max(approach.speed**2 / (2 * YELLOW_BRAKE), 0.3)
        return status in (TrafficLightStatus.YELLOW, TrafficLightStatus.RED) and room

    def _must_heed(self, approach: Approach, lights: dict[int, int]) -> bool:
        status = lights.get(approach.connector, TrafficLightStatus.GREEN)
        if status == TrafficLightStatus.RED or self._stopped_by_light(approach, lights):
            return True
        gives_way = self.kind[approach.connector] is not JunctionKind.SIGNAL and (
            self.kind[approach.connector] is JunctionKind.STOP or self.movement[approach.connector].rank > 0
        )
        return gives_way or approach.distance < approach.speed**2 / (2 * COMFORTABLE_BRAKE) + 6.0

    def _may_enter(
        self,
        approach: Approach,
        waiting: dict[int, Approach],
        lights: dict[int, int],
        past: dict[int, float],
        time: float,
    ) -> bool:
        if approach.lead_before_line or not approach.exit_room or approach.beside_cyclist:
            return False
        status = lights.get(approach.connector, TrafficLightStatus.GREEN)
        if status == TrafficLightStatus.RED or self._stopped_by_light(approach, lights):
            return False
        if self._taken(approach, past):
            return False
        if self.kind[approach.connector] is JunctionKind.STOP:
            return self._my_turn(approach, waiting, time)
        return not self._must_yield(approach, waiting, lights)

    def _my_turn(self, approach: Approach, waiting: dict[int, Approach], time: float) -> bool:
        """All-way stop: the driver that stopped first goes first."""
        if approach.driver not in self.arrived or time - self.arrived[approach.driver] < 0.5:
            return False
        mine = (self.arrived[approach.driver], approach.driver)
        for other in waiting.values():
            crossing = other.connector in self.conflicts[approach.connector]
            waits = crossing and other.exit_room and other.driver in self.arrived and other.driver not in self.claims
            if waits and (self.arrived[other.driver], other.driver) < mine:
                return False
        return True

    def _taken(self, approach: Approach, past: dict[int, float]) -> bool:
        """Whether a driver holds a crossing connector and has not passed the crossing yet."""
        crossing = self.conflicts[approach.connector]
        return any(
            connector in crossing and past.get(driver, -1.0) < crossing[connector]
            for driver, connector in self.claims.items()
        )

    def _must_yield(self, approach: Approach, waiting: dict[int, Approach], lights: dict[int, int]) -> bool:
        """Whether a driver of better rank would reach the crossing before this one has cleared it."""
        rank = self.movement[approach.connector].rank
        crossing = self.conflicts[approach.connector]
        length = self.network.map.edges[approach.connector].baseline.length
        clear = (approach.distance + length) / max(approach.speed, 4.0) + SETTLE
        for other in waiting.values():
            if other.connector not in crossing or self.movement[other.connector].rank >= rank:
                continue
            green = lights.get(other.connector, TrafficLightStatus.GREEN) == TrafficLightStatus.GREEN
            if green and other.exit_room and other.distance < max(other.speed, 3.0) * clear + 3.0:
                return True
        return False

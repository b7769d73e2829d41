"""One step of nuPlan's reactive vehicles, which stops where GEOS or the map has to be asked."""

from typing import Any

import numpy as np
import shapely

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.simulation.rail_traffic import (
    DONE,
    NO,
    OUTLINE,
    PROGRESS,
    ROUTE,
    TARGET,
    TIE,
    TOUCH,
    WIDTH,
    YES,
    move_all,
)
from embodia.envs.driving.simulation.taken_ground import BUFFER_SEGMENTS, Ground, flat_buffer
from embodia.envs.driving.types import Tracks, TrafficLights, TrafficLightStatus
from embodia.envs.driving.vehicle.bicycle import IdmParameters

RED = TrafficLightStatus.RED


class Step:
    """One step of the agents of one scenario, which stops where GEOS or the map has to be asked."""

    def __init__(
        self, road_map: Map, idm: IdmParameters, ground: Ground, lights: TrafficLights, replayed: Tracks,
        ego: tuple[float, float], dt: float,
    ):  # fmt: skip
        self.map, self.idm, self.ground, self.lights, self.replayed = road_map, idm, ground, lights, replayed
        self.ego, self.dt = ego, dt
        self.law = (idm.min_gap, idm.headway, idm.max_acceleration, idm.max_deceleration, idm.exponent)
        red = {self.map.connector_index.get(i) for i, status in lights.items() if status == RED}
        self.stop_lines = {edge: self.map.stop_lines(edge) for edge in red if edge is not None}
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
        agent.extend_route(self.map, self.lights, self.idm.headway)
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

"""One of nuPlan's reactive vehicles: a route of lane baselines, and how far along it is."""

from dataclasses import dataclass

import numpy as np

from embodia.envs.driving.map.rails import RailPath
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.simulation.rail_traffic import (
    MIN_PATH_LENGTH,
)
from embodia.envs.driving.types import Floats, TrafficLights, TrafficLightStatus

MAX_ROUTE_LENGTH = 5  # edges


@dataclass(eq=False)
class RailAgent:
    """A vehicle on rails: its route of edges, its path along them, and its progress and speed there."""

    token: str
    route: list[int]  # edges, at most MAX_ROUTE_LENGTH
    path: RailPath
    progress: float  # [m]
    v: float  # [m/s]
    target: float  # [m/s]
    length: float
    width: float
    pose: Floats  # (3,)

    def extend_route(self, road_map: Map, lights: TrafficLights, headway: float) -> None:
        """Add the straightest passable edge while less than 20 m plus the headway of path remains."""
        while self.path.end - self.progress < MIN_PATH_LENGTH + self.target * headway:
            open_edges = [e for e in road_map.outgoing[self.route[-1]] if passable(road_map, e, lights)]
            if not open_edges:
                return
            edge = min(open_edges, key=road_map.start_curvature)
            self.route = [*self.route, edge][-MAX_ROUTE_LENGTH:]
            ahead = self.path.after(self.path.clamp(self.progress))
            self.path = RailPath(np.concatenate([ahead, road_map.edges[edge].baseline.poses]))
            self.progress = 0.0


def passable(road_map: Map, edge: int, lights: TrafficLights) -> bool:
    """With a traffic light only on green, without one unless it is reported red."""
    lane = road_map.edges[edge]
    status = lights.get(lane.id) if lane.is_connector else None
    return status == TrafficLightStatus.GREEN if lane.has_traffic_light else status != TrafficLightStatus.RED


def starting_edge(road_map: Map, box: Floats) -> int | None:
    """The lane (else, within an intersection, the connector) under a box whose direction fits its heading best."""
    x, y, heading = box[:3]
    edges = road_map.lanes_at(x, y)
    if not edges and road_map.intersections.at(x, y):
        edges = road_map.connectors_at(x, y)
    if not edges:
        return None
    # headings are compared raw, without wrapping, as the devkit does
    return min(edges, key=lambda e: abs(float(road_map.edges[e].baseline.nearest_pose(box[:2])[2]) - heading))

"""PDM-Closed: simulate fifteen simple proposals, score them by the benchmark's own rules, drive the best.

Dauner, Hallgarten, Geiger, Chitta 2023, "Parting with Misconceptions about Learning-based Vehicle Motion Planning"
(CoRL), the rule-based winner of nuPlan's 2023 challenge, as in its public code.
"""

from typing import Any

import numpy as np

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import EgoState, Floats, Scene, TrafficLightStatus, Trajectory, TrajectorySampling
from embodia.envs.driving.vehicle.bicycle import center_accelerations, ego_boxes
from embodia.envs.driving.vehicle.lqr import simulate_proposals
from embodia.planners import Carry
from embodia.planners.driving.corridor import Corridor
from embodia.planners.driving.pdm_areas import PolygonTable, ego_areas
from embodia.planners.driving.pdm_forecast import RADIUS, Forecast, forecast
from embodia.planners.driving.pdm_leaders import find_leaders
from embodia.planners.driving.pdm_proposals import (
    DT,
    LEAD_EVERY,
    PROPOSAL_STEPS,
    SPEED_FRACTIONS,
    TRAJECTORY_STEPS,
    Paths,
    RollOut,
    only,
    start_proposals,
    unroll,
)
from embodia.planners.driving.pdm_route import centerline, corrected_route, present_lane
from embodia.planners.driving.pdm_scorer import Scores, score_proposals

BRAKE_TIME, BRAKE_SPEED = 2.0, 5.0  # [s], [m/s] brake if a collision is sooner, at no more speed
HARDEST_BRAKE, HARDEST_ACCELERATION = -4.05, 2.40  # [m/s^2]


class PdmClosed:
    """The planner. Its carry holds route, paths and the objects it has collided with."""

    def __init__(self) -> None:
        self.sampling = TrajectorySampling(TRAJECTORY_STEPS, DT)

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Map) -> Carry:
        """Raises ValueError for a route without a roadblock of the map."""
        blocks = [block for i in route_roadblock_ids if (block := map_api.block(i)) is not None]
        if not blocks:
            raise ValueError(f"none of the route's roadblocks is on map {map_api.name}: {route_roadblock_ids}")
        return {"map": map_api, "blocks": blocks, "collided": frozenset(), "polygons": PolygonTable.of(map_api)}

    def plan(self, scene: Scene, carry: Carry) -> tuple[Trajectory, Carry]:
        """Return 80 poses every 0.1 s: the best proposal, or a braking manoeuvre."""
        road_map: Map = carry["map"]
        ego = scene.ego
        blocks = carry["blocks"] if "paths" in carry else corrected_route(road_map, carry["blocks"], ego)
        route = [edge for block in blocks for edge in road_map.block_edges[block]]
        x, y = ego_boxes(ego.pose)[:2].tolist()
        drivable = [e for b in road_map.block_layer.near(x, y, RADIUS) for e in road_map.block_edges[b]]
        ahead, collided = forecast(scene, _red_lights(scene, road_map, set(route)), carry["collided"])
        lane = present_lane(road_map, route, drivable, ego)
        paths = carry["paths"] if "paths" in carry else Paths.along(centerline(road_map, blocks, lane))
        rolled = start_proposals(paths, ego.pose[:2], ego.vx, road_map.edges[lane].speed_limit)
        corridors = _corridors(paths, rolled)
        rolled = _continue(rolled, paths, ahead, corridors, PROPOSAL_STEPS)
        states = simulate_proposals(ego.array(), rolled.poses)
        carparks = road_map.carparks.near(x, y, RADIUS)
        areas = ego_areas(ego_boxes(states), carry["polygons"], drivable, carparks, set(route))
        scores = score_proposals(states, ahead, paths, areas, road_map)
        best = int(np.argmax(scores.total))
        if _emergency(scores, best, ego):
            poses = brake(ego, self.sampling)
        else:
            poses = _continue(only(rolled, best), paths, ahead, corridors, TRAJECTORY_STEPS).poses[0]
        carry = carry | {"blocks": blocks, "paths": paths, "collided": collided}
        return Trajectory.from_poses(self.sampling.times_us(scene.time_us), poses), carry


def _red_lights(scene: Scene, road_map: Map, route: set[int]) -> dict[str, Any]:
    """Polygons of the route's connectors whose light is red, by connector id."""
    red = [i for i, status in scene.traffic_lights.items() if status == TrafficLightStatus.RED]
    edges = {i: road_map.connector_index[i] for i in red if i in road_map.connector_index}
    return {i: road_map.edges[edge].polygon for i, edge in edges.items() if edge in route}


def _corridors(paths: Paths, rolled: RollOut) -> list[Corridor]:
    """Return, for each path, the area that the fastest policy could cover in 8 s."""
    reach = rolled.target.max() * TRAJECTORY_STEPS * DT
    start = rolled.s[:: len(SPEED_FRACTIONS), 0]
    return [paths.corridor(k, s, s + reach) for k, s in enumerate(start)]


def _continue(rolled: RollOut, paths: Paths, ahead: Forecast, corridors: list[Corridor], until: int) -> RollOut:
    """Unroll proposals to a step, with leaders for the paths they are on."""
    which = np.unique(rolled.lateral)
    done = rolled.s.shape[1] - 1
    steps = range(done // LEAD_EVERY + 1, until // LEAD_EVERY + 1)
    leaders = find_leaders(ahead, paths.nodes[which], paths.s[which], [corridors[k] for k in which], steps)
    return unroll(rolled, paths, leaders, which, until)


def _emergency(scores: Scores, best: int, ego: EgoState) -> bool:
    return bool(scores.collision_time[best] <= BRAKE_TIME and ego.speed <= BRAKE_SPEED)


def brake(ego: EgoState, sampling: TrajectorySampling) -> Floats:
    """Rear-axle poses (81, 3) that make the tracker stop: straight on, or back, at one corrected speed."""
    state = ego.array()
    v, a = ego.vx, float(center_accelerations(state)[0])
    if v > 0.2:
        speed = 1.1 * (v + float(np.clip(-10.0 * v, HARDEST_BRAKE, HARDEST_ACCELERATION)))
    else:
        speed = float(np.clip(-4.0 * v - a, HARDEST_BRAKE, HARDEST_ACCELERATION))
    travelled = speed * sampling.interval * np.arange(sampling.num_poses + 1)
    poses = np.tile(ego.pose, (len(travelled), 1))
    poses[:, 0] += travelled * np.cos(ego.heading)
    poses[:, 1] += travelled * np.sin(ego.heading)
    return poses

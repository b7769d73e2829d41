"""nuPlan's closed-loop scores of a driven history: eight metrics, their product and weighted mean, and the challenge.

Metric names are nuPlan's columns. Everything is computed on the recorded samples as arrays.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from embodia.envs.driving.map.geometry import box_corners
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.metrics.collision import (
    GROUPS,
    TTC_BOUND,
    Collisions,
    TrackTable,
    find_collisions,
    time_to_collision,
)
from embodia.envs.driving.metrics.comfort import comfort
from embodia.envs.driving.metrics.lanes import Association, associate_corners, associate_path, in_connected_lanes
from embodia.envs.driving.metrics.progress import (
    MIN_RATIO,
    RouteProgress,
    direction_score,
    expert_route,
    progress_ratio,
    progress_with_traffic,
)
from embodia.envs.driving.simulation.closed_loop import History
from embodia.envs.driving.types import Bools, Floats, Ints, StateColumn
from embodia.envs.driving.vehicle.bicycle import ego_boxes, ego_centers

MULTIPLIERS = (
    "no_ego_at_fault_collisions",
    "drivable_area_compliance",
    "ego_is_making_progress",
    "driving_direction_compliance",
)
WEIGHTS = {
    "ego_progress_along_expert_route": 5.0,
    "time_to_collision_within_bound": 5.0,
    "speed_limit_compliance": 4.0,
    "ego_is_comfortable": 2.0,
}
DRIVABLE_TOLERANCE = 0.3  # [m]
MAX_OVERSPEED = 2.23  # [m/s], 5 mph


@dataclass(frozen=True)
class ScenarioScore:
    """Scores of one scenario by metric name, with statistics and their series over the K samples."""

    metrics: dict[str, float]  # includes "score"
    statistics: dict[str, float] = field(default_factory=dict)
    series: dict[str, Floats] = field(default_factory=dict)

    @property
    def score(self) -> float:
        return self.metrics["score"]


def weighted_score(metrics: dict[str, float], multipliers: Iterable[str], weights: dict[str, float]) -> float:
    """Product of the multipliers times the weighted mean of the others."""
    product = float(np.prod([metrics[name] for name in multipliers]))
    return product * sum(w * metrics[name] for name, w in weights.items()) / sum(weights.values())


def drivable_area_compliance(
    road_map: Map, corners: Floats, corner_route: list[list[Association]], center_route: list[Association]
) -> float:
    """0 if a corner (K, 4, 2) is ever 0.3 m or more outside both the drivable area and the lanes of the centre."""
    astray = np.array([[not lanes for lanes in entry] for entry in corner_route])  # (K, 4)
    astray[astray] = ~road_map.drivable_area.contains(corners[astray])
    steps = np.nonzero(astray)[0]
    far = road_map.drivable_area.distance(corners[astray]) >= DRIVABLE_TOLERANCE
    for step, point in zip(steps[far].tolist(), corners[astray][far]):
        lanes = [road_map.edges[e].polygon for e in center_route[step]]
        if not lanes or shapely.distance(lanes, shapely.Point(point)).min() >= DRIVABLE_TOLERANCE:
            return 0.0
    return 1.0


def overspeed(road_map: Map, center_route: list[Association], speed: Floats) -> Floats:
    """(K,) [m/s] above the limit; 0 where the ego is in no lane or a limit is missing."""
    limits = np.array([speed_limit(road_map, association) for association in center_route])
    return np.maximum(speed - limits, 0.0)


def speed_limit(road_map: Map, association: Association) -> float:
    """[m/s] of the lane, or the highest among the lanes that the connectors join; inf where one is missing."""
    if association and association[0] >= road_map.num_lanes:
        lanes = [e for c in association for e in (*road_map.outgoing[c], *road_map.incoming[c])]
    else:
        lanes = association
    limits = [road_map.edges[e].speed_limit for e in lanes]
    known = [limit for limit in limits if limit]
    return max(known) if known and len(known) == len(limits) else np.inf


def speed_limit_compliance(over: Floats, time_us: Ints) -> float:
    """1 minus the mean overspeed in units of 2.23 m/s."""
    step, duration = np.mean(np.diff(time_us)) * 1e-6, (time_us[-1] - time_us[0]) * 1e-6
    return float(max(0.0, 1 - over.sum() * step / (MAX_OVERSPEED * duration))) if over.any() else 1.0


@dataclass(frozen=True, eq=False)
class Drive:
    """The ego of a history, its lanes, and where on the map it was."""

    history: History
    boxes: Floats  # (K, 5)
    centers: Floats  # (K, 2)
    corners: Floats  # (K, 4, 2)
    speed: Floats  # (K,) [m/s]
    center_route: list[Association]  # K
    corner_route: list[list[Association]]  # K of 4
    in_lanes: Bools  # (K,) all corners in one lane or connected lanes
    in_intersection: Bools  # (K,) the rear axle

    @classmethod
    def of(cls, history: History) -> "Drive":
        road_map, ego = history.scenario.map, history.ego
        boxes = ego_boxes(ego)
        corners, centers = box_corners(boxes), boxes[:, :2]
        corner_route = associate_corners(road_map, corners)
        return cls(
            history,
            boxes,
            centers,
            corners,
            np.hypot(ego[:, StateColumn.VX], ego[:, StateColumn.VY]),
            associate_path(road_map, centers),
            corner_route,
            np.array([in_connected_lanes(road_map, entry) for entry in corner_route]),
            road_map.intersections.contains(ego[:, :2]),
        )


def score_history(history: History) -> ScenarioScore:
    """All closed-loop metrics of a history and its score (nuPlan challenges 2 and 3)."""
    return score_histories([history])[0]


def score_histories(histories: Sequence[History]) -> list[ScenarioScore]:
    """Score many histories; collisions are computed for all of them at once."""
    if not histories:
        return []
    drives = [Drive.of(history) for history in histories]
    rear_axles, boxes, speed, in_lanes, in_intersection = (
        np.concatenate(each)
        for each in zip(*((d.history.ego[:, :3], d.boxes, d.speed, d.in_lanes, d.in_intersection) for d in drives))
    )
    table = TrackTable.of([history.tracks for history in histories])
    collisions = find_collisions(rear_axles, boxes, speed, in_lanes, table)
    ttc = time_to_collision(rear_axles, boxes, speed, in_lanes, in_intersection, table, collisions)
    ends = np.cumsum([len(drive.boxes) for drive in drives]).tolist()
    mine = [slice(end - len(drive.boxes), end) for drive, end in zip(drives, ends)]
    return [score_drive(drive, collisions.of_samples(each), ttc[each]) for drive, each in zip(drives, mine)]


def score_drive(drive: Drive, collisions: Collisions, ttc: Floats) -> ScenarioScore:
    """The scores of a drive with these collisions and times to collision (K,)."""
    history, centers = drive.history, drive.centers
    road_map, times = history.scenario.map, history.time_us
    ride = comfort(times, history.ego)
    over = overspeed(road_map, drive.center_route, drive.speed)
    with_traffic = progress_with_traffic(road_map, drive.center_route, centers, times)
    ratio, progress = progress_along_expert_route(history, centers)
    against = abs(float(with_traffic.min()))

    metrics = {
        "no_ego_at_fault_collisions": collisions.score(),
        "drivable_area_compliance": drivable_area_compliance(
            road_map, drive.corners, drive.corner_route, drive.center_route
        ),
        "ego_is_making_progress": float(ratio >= MIN_RATIO),
        "driving_direction_compliance": direction_score(against),
        "ego_progress_along_expert_route": ratio,
        "time_to_collision_within_bound": float(np.all(ttc > TTC_BOUND)),
        "speed_limit_compliance": speed_limit_compliance(over, times),
        "ego_is_comfortable": ride.score(),
    }
    metrics["score"] = weighted_score(metrics, MULTIPLIERS, WEIGHTS)
    statistics = {
        f"at_fault_collisions_with_{group}": float(np.sum(collisions.at_fault & np.isin(collisions.types, types)))
        for group, types in GROUPS.items()
    }
    statistics |= {
        "collisions": float(len(collisions.sample)),
        "min_time_to_collision": float(ttc.min()),
        "metres_against_traffic": against,
        **{f"{name}_within_bounds": float(ok) for name, ok in ride.within_bounds().items()},
        **{f"{who}_progress": float(values.sum()) for who, values in progress.items()},
    }
    series = {"time_to_collision": ttc, "overspeed": over, "progress_with_traffic": with_traffic, **ride.series}
    return ScenarioScore(metrics, statistics, series | {"progress": progress.get("ego", np.zeros(len(centers)))})


def progress_along_expert_route(history: History, centers: Floats) -> tuple[float, dict[str, Floats]]:
    """The progress score, and progress per step of ego and expert; 1 and nothing where the expert has no lane."""
    scenario = history.scenario
    expert_centers = ego_centers(scenario.ego[scenario.iterations])
    route = expert_route(scenario.map, expert_centers)
    if not route:
        return 1.0, {}
    progress = {
        "ego": RouteProgress(scenario.map, route, centers).per_step(),
        "expert": RouteProgress(scenario.map, route, expert_centers).per_step(),
    }
    return progress_ratio(progress["ego"].sum(), progress["expert"].sum()), progress


def challenge_table(
    rows: Iterable[tuple[Any, ScenarioScore]], planner: str, aggregator: str = "weighted_average"
) -> list[dict[str, Any]]:
    """Rows of nuPlan's aggregated metric table from (scenario, score) pairs.

    One row per scenario, one per scenario type, and last `final_score`: the mean over scenarios, which nuPlan computes
    as the mean of per-type means weighted by their number of scenarios. In the rows of types, metrics are sums.
    """
    scenarios = list(rows)
    common = {"planner_name": planner, "aggregator_type": aggregator}
    table: list[dict[str, Any]] = [
        {"scenario": s.token, "log_name": s.log_name, "scenario_type": s.type, "num_scenarios": None}
        | common
        | result.metrics
        for s, result in scenarios
    ]
    names = [k for k in scenarios[0][1].metrics if k != "score"] if scenarios else []
    by_type: dict[str, list[ScenarioScore]] = {}
    for scenario, result in scenarios:
        by_type.setdefault(scenario.type, []).append(result)
    for kind, results in by_type.items():
        sums = {name: sum(r.metrics[name] for r in results) for name in names}
        mean = sum(r.score for r in results) / len(results)
        head = {"scenario": kind, "log_name": None, "scenario_type": kind, "num_scenarios": len(results)}
        table.append(head | common | sums | {"score": mean})
    if scenarios:
        means = {name: float(np.mean([r.metrics[name] for _, r in scenarios])) for name in (*names, "score")}
        head = {"scenario": "final_score", "log_name": None, "scenario_type": "final_score"}
        table.append(head | {"num_scenarios": len(scenarios)} | common | means)
    return table

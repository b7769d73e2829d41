"""Junctions of arms that meet in a point: connectors by turn, stop lines, right of way."""

import math

from shapely.geometry import Polygon

from embodia.envs.driving.generator.road_draft import Draft, reach, rounded_union
from embodia.envs.driving.generator.road_layout import Arm, JunctionKind, JunctionPlan
from embodia.envs.driving.generator.road_network import Carriageway, Turn
from embodia.envs.driving.generator.roadsides import draw_crosswalk
from embodia.envs.driving.map.road_map import StopPolygonType

STOP_KINDS = {
    JunctionKind.SIGNAL: StopPolygonType.TRAFFIC_LIGHT,
    JunctionKind.STOP: StopPolygonType.STOP_SIGN,
    JunctionKind.YIELD: StopPolygonType.YIELD,
    JunctionKind.ROUNDABOUT: StopPolygonType.YIELD,
}


def draw_junction(draft: Draft, index: int, junction: JunctionPlan) -> None:
    first = len(draft.connectors)
    intersection_id = draft.new_id()
    for arm in junction.arms:
        stops = (draw_stop_polygon(draft, arm, STOP_KINDS[junction.kind]),) if has_stops(junction, arm) else ()
        lights = stops if junction.kind is JunctionKind.SIGNAL else ()
        connect_arm(draft, index, junction, arm, lights, intersection_id)
        if junction.crosswalks:
            draw_crosswalk(draft, index, arm)
    shapes = [c.polygon for c in draft.connectors[first:]] + [mouth(draft, a, junction) for a in junction.arms]
    draft.layers.setdefault("intersections", []).append((intersection_id, rounded_union(shapes)))


def has_stops(junction: JunctionPlan, arm: Arm) -> bool:
    if junction.kind is JunctionKind.YIELD:
        return arm.line == 1
    return junction.kind in STOP_KINDS


def connect_arm(
    draft: Draft, index: int, junction: JunctionPlan, arm: Arm, lights: tuple[str, ...], intersection_id: str
) -> None:
    """All connectors out of one arm."""
    way = draft.incoming(arm)
    others = {turn: other for other in junction.arms if other is not arm and (turn := turn_of(arm, other))}
    if junction.kind is JunctionKind.JOIN:
        connect_join(draft, index, way, draft.outgoing(others[Turn.STRAIGHT]), intersection_id)
        return
    lanes_out = {turn: len(draft.outgoing(other).lane_ids) for turn, other in others.items()}
    for turn, other in others.items():
        out = draft.outgoing(other)
        rank = rank_of(junction.kind, arm, turn)
        pairs = [(i, j) for i, t, j in lane_pairs(len(way.lane_ids), lanes_out) if t is turn]
        if pairs:
            draft.connect(way, out, pairs, turn, index, arm.line, rank, lights, intersection_id)


def connect_join(draft: Draft, index: int, way: Carriageway, out: Carriageway, intersection_id: str) -> None:
    n, m = len(way.lane_ids), len(out.lane_ids)
    pairs = [(i, min(i, m - 1)) for i in range(n)] + [(n - 1, j) for j in range(n, m)]
    draft.connect(way, out, pairs, Turn.STRAIGHT, index, 0, 0, (), intersection_id)


def draw_stop_polygon(draft: Draft, arm: Arm, kind: StopPolygonType) -> str:
    """A band across the end of the lanes that come in, 0.8 m to both sides of it."""
    plan = draft.layout.roads[arm.road]
    profile = plan.profile
    inner, outer = profile.median / 2, reach(profile, not arm.at_start)
    draft.stop_types.append(int(kind))
    return draft.add("stop_polygons", draft.across(arm, -0.8, 0.8, inner, outer))


def mouth(draft: Draft, arm: Arm, junction: JunctionPlan) -> Polygon:
    profile = draft.layout.roads[arm.road].profile
    side_in, side_out = reach(profile, not arm.at_start), reach(profile, arm.at_start)
    return draft.across(arm, 0.0, arm.setback, -side_out, side_in)


def turn_of(arm_in: Arm, arm_out: Arm) -> Turn | None:
    """Which way one turns from an arm into another; None for a U turn."""
    angle = math.remainder(arm_out.heading - arm_in.heading - math.pi, math.tau)
    if abs(angle) > 2.6:
        return None
    if abs(angle) < 0.65:
        return Turn.STRAIGHT
    return Turn.LEFT if angle > 0 else Turn.RIGHT


def lane_pairs(lanes_in: int, lanes_out: dict[Turn, int]) -> list[tuple[int, Turn, int]]:
    """(lane in, turn, lane out), lanes counted from the left; every lane in leads somewhere."""
    left, right, straight = lanes_out.get(Turn.LEFT), lanes_out.get(Turn.RIGHT), lanes_out.get(Turn.STRAIGHT)
    last = lanes_in - 1
    pairs: list[tuple[int, Turn, int]] = []
    if straight:
        only_left = bool(left) and lanes_in >= 2 and (lanes_in >= 3 or lanes_in > straight)
        pairs += [(i, Turn.STRAIGHT, min(i, straight - 1)) for i in range(int(only_left), lanes_in)]
        pairs += [(0, Turn.LEFT, 0)] if left else []
        pairs += [(last, Turn.RIGHT, right - 1)] if right else []
        return pairs
    split = (lanes_in + 1) // 2 if right else lanes_in
    if left:
        pairs += [(i, Turn.LEFT, min(i, left - 1)) for i in range(split)]
    if right:
        first = 0 if not left else min(split, last)
        pairs += [(i, Turn.RIGHT, max(right - 1 - (last - i), 0)) for i in range(first, lanes_in)]
    return pairs


def rank_of(kind: JunctionKind, arm: Arm, turn: Turn) -> int:
    """Right of way: at yield signs the first street before the second; left turns after everything else."""
    street = arm.line if kind is JunctionKind.YIELD else 0
    return 2 * street + (turn is Turn.LEFT)

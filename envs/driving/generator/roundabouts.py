"""Roundabouts: one ring lane, counter-clockwise; each arm's junction takes a part of the ring."""

import math

from embodia.envs.driving.generator.junctions import draw_stop_polygon
from embodia.envs.driving.generator.road_curves import arc, strip
from embodia.envs.driving.generator.road_draft import CONNECTOR_STEP, RING_WIDTH, Draft, rounded_union
from embodia.envs.driving.generator.road_layout import MPH, ROUNDABOUT_RADIUS, Arm, JunctionPlan
from embodia.envs.driving.generator.road_network import Carriageway, Movement, Turn
from embodia.envs.driving.map.road_map import Roadblock, StopPolygonType

ROUNDABOUT_LIMIT = 15 * MPH
ROUNDABOUT_ZONE = 0.60  # [rad] half of the ring that an arm's junction takes


def draw_roundabout(draft: Draft, index: int, junction: JunctionPlan) -> None:
    arms = sorted(junction.arms, key=lambda arm: arm.heading % math.tau)
    ring: list[Carriageway] = []
    for arm, following in zip(arms, [*arms[1:], arms[0]]):
        start = arm.heading + ROUNDABOUT_ZONE
        span = (following.heading - arm.heading) % math.tau - 2 * ROUNDABOUT_ZONE
        ring.append(draw_ring_lane(draft, junction, start, start + span))
    for k, arm in enumerate(arms):
        draw_ring_junction(draft, index, junction, arm, ring[k - 1], ring[k])


def draw_ring_lane(draft: Draft, junction: JunctionPlan, start: float, end: float) -> Carriageway:
    radii = [ROUNDABOUT_RADIUS, ROUNDABOUT_RADIUS - RING_WIDTH / 2, ROUNDABOUT_RADIUS + RING_WIDTH / 2]
    line, left, right = (arc(junction.center, r, start, end, CONNECTOR_STEP) for r in radii)
    block_id, lane_id = draft.new_id(), draft.new_id()
    draft.lane(lane_id, line, left, right, block_id, ROUNDABOUT_LIMIT, 0)
    polygon = strip(left, right)
    draft.blocks.append(Roadblock(block_id, polygon))
    draft.add("road_segments", polygon)
    return Carriageway(block_id, (lane_id,), (line,), -1, ROUNDABOUT_LIMIT)


def draw_ring_junction(
    draft: Draft, index: int, junction: JunctionPlan, arm: Arm, before: Carriageway, after: Carriageway
) -> None:
    first = len(draft.connectors)
    intersection_id = draft.new_id()
    enter, leave = draft.incoming(arm), draft.outgoing(arm)
    last = len(enter.lane_ids) - 1
    draw_stop_polygon(draft, arm, StopPolygonType.YIELD)
    draw_ring_arc(draft, index, junction, arm, before, after, intersection_id)
    draft.connect(before, leave, [(0, len(leave.lane_ids) - 1)], Turn.RIGHT, index, arm.line, 0, (), intersection_id)
    pairs = [(i, 0) for i in range(last + 1)]
    draft.connect(enter, after, pairs, Turn.RIGHT, index, arm.line, 1, (), intersection_id)
    shapes = [c.polygon for c in draft.connectors[first:]]
    draft.layers.setdefault("intersections", []).append((intersection_id, rounded_union(shapes, 1.5)))


def draw_ring_arc(
    draft: Draft, index: int, junction: JunctionPlan, arm: Arm, before: Carriageway, after: Carriageway, where: str
) -> None:
    """The connector that stays on the ring past an arm."""
    zone = (arm.heading - ROUNDABOUT_ZONE, arm.heading + ROUNDABOUT_ZONE)
    points = arc(junction.center, ROUNDABOUT_RADIUS, *zone, CONNECTOR_STEP)
    block_id = draft.new_id()
    lanes = before.lane_ids[0], after.lane_ids[0]
    polygon = draft.connector(points, block_id, *lanes, ROUNDABOUT_LIMIT, (), RING_WIDTH)
    draft.movements.append(Movement(draft.connectors[-1].id, index, Turn.CIRCLE, arm.line, 0))
    draft.block_connectors.append(Roadblock(block_id, polygon, True, before.block_id, after.block_id, where))

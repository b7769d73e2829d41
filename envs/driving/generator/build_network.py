"""From a town plan to a road network: lanes side by side, junctions, roadsides.

Traffic keeps to the right. Lanes of a roadblock share their boundaries exactly, so a point is in one lane at most.
"""

import numpy as np
import shapely
from shapely.geometry import Polygon

from embodia.envs.driving.generator.junctions import draw_junction
from embodia.envs.driving.generator.road_curves import normals, strip
from embodia.envs.driving.generator.road_draft import Draft, reach
from embodia.envs.driving.generator.road_layout import LANE_WIDTH, JunctionKind, Layout
from embodia.envs.driving.generator.road_network import Carriageway, RoadNetwork
from embodia.envs.driving.generator.roadsides import draw_mid_crosswalk, draw_roadside
from embodia.envs.driving.generator.roundabouts import draw_roundabout
from embodia.envs.driving.map.road_map import Roadblock


def build(layout: Layout, name: str, rng: np.random.Generator) -> RoadNetwork | None:
    """The network of a plan; None where roads would overlap, so that the caller draws another plan."""
    draft = Draft(layout, name, rng)
    for road in range(len(draft.layout.roads)):
        for forward in (True, False):
            draw_carriageway(draft, road, forward)
    if overlaps(draft):
        return None
    for index, junction in enumerate(draft.layout.junctions):
        if junction.kind is JunctionKind.ROUNDABOUT:
            draw_roundabout(draft, index, junction)
        else:
            draw_junction(draft, index, junction)
    for road in range(len(draft.layout.roads)):
        draw_mid_crosswalk(draft, road)
        draw_roadside(draft, road)
    return RoadNetwork(draft.map(), draft.layout.junctions, draft.movements, draft.crossings, draft.roadside)


def draw_carriageway(draft: Draft, road: int, forward: bool) -> None:
    plan = draft.layout.roads[road]
    profile = plan.profile
    reference = plan.reference if forward else plan.reference[::-1]
    count = profile.forward if forward else profile.backward
    left = normals(reference)
    edges = [reference - left * (profile.median / 2 + i * LANE_WIDTH) for i in range(count + 1)]
    lines = [reference - left * (profile.median / 2 + (i + 0.5) * LANE_WIDTH) for i in range(count)]
    block_id = draft.new_id()
    ids = tuple(draft.new_id() for _ in range(count))
    for i in range(count):
        draft.lane(ids[i], lines[i], edges[i], edges[i + 1], block_id, profile.speed_limit, i)
    polygon = strip(edges[0], edges[-1])
    draft.blocks.append(Roadblock(block_id, polygon))
    draft.add("road_segments", polygon)
    if profile.shoulder:
        draft.add("generic_drivable_areas", strip(edges[-1], edges[-1] - left * profile.shoulder))
    draft.roadside.shoulders[ids[-1]] = profile.shoulder
    draft.ways[road, forward] = Carriageway(block_id, ids, tuple(lines), road, profile.speed_limit)


def overlaps(draft: Draft) -> bool:
    """Whether roads run into one another, or into junctions that are not theirs."""
    roads = [kerb_to_kerb(draft, road, 6.0) for road in range(len(draft.layout.roads))]
    tree = shapely.STRtree(roads)
    first, second = tree.query(roads, predicate="intersects")
    return bool(np.any(first != second)) or not all(road.is_valid for road in roads)


def kerb_to_kerb(draft: Draft, road: int, margin: float) -> Polygon:
    plan = draft.layout.roads[road]
    profile, left = plan.profile, normals(plan.reference)
    reach_right, reach_left = reach(profile, True) + margin, reach(profile, False) + margin
    trim = slice(12, -12)  # ends lie close together at a junction
    return Polygon(
        np.concatenate(
            [
                (plan.reference - left * reach_right)[trim],
                (plan.reference + left * reach_left)[trim][::-1],
            ]
        )
    )

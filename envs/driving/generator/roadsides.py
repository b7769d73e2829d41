"""Areas across and beside the lanes: crosswalks, parking, pickup areas, walkways."""

import math

import numpy as np
from shapely.geometry import Polygon

from embodia.envs.driving.generator.road_curves import normals, strip
from embodia.envs.driving.generator.road_draft import Draft, reach
from embodia.envs.driving.generator.road_layout import CROSSWALK_DEPTH, CROSSWALK_GAP, Arm
from embodia.envs.driving.generator.road_network import Crossing
from embodia.envs.driving.types import Floats

PARKING_WIDTH, PARKING_SPACING, PARKING_CLEARANCE = 2.5, 6.6, 20.0  # [m]
WALKWAY_WIDTH = 2.4  # [m]


def draw_crosswalk(draft: Draft, index: int, arm: Arm) -> None:
    profile = draft.layout.roads[arm.road].profile
    side_in, side_out = reach(profile, not arm.at_start), reach(profile, arm.at_start)
    near, far = CROSSWALK_GAP, CROSSWALK_GAP + CROSSWALK_DEPTH
    crosswalk = draft.add("crosswalks", draft.across(arm, near, far, -side_out, side_in))
    origin, inwards, side = draft.end_frame(arm)
    middle = origin + inwards * (near + far) / 2
    shoulder = profile.shoulder + 0.4
    ends = middle - side * (side_out + shoulder), middle + side * (side_in + shoulder)
    draft.crossings.append(Crossing(crosswalk, *ends, index, arm.line))


def draw_mid_crosswalk(draft: Draft, road: int) -> None:
    plan = draft.layout.roads[road]
    if plan.crosswalk_at is None or len(plan.reference) < 70:
        return
    k = int(plan.crosswalk_at * len(plan.reference))
    right, left = reach(plan.profile, True), reach(plan.profile, False)
    normal = normals(plan.reference)[k]
    along = np.array([normal[1], -normal[0]]) * CROSSWALK_DEPTH / 2
    middle = plan.reference[k]
    corners = [middle + a * along + b for a, b in ((-1, normal * left), (1, normal * left))]
    corners += [middle + a * along - b for a, b in ((1, normal * right), (-1, normal * right))]
    crosswalk = draft.add("crosswalks", Polygon(corners))
    shoulder = plan.profile.shoulder + 0.4
    ends = middle + normal * (left + shoulder), middle - normal * (right + shoulder)
    draft.crossings.append(Crossing(crosswalk, *ends, None, 0))


def draw_roadside(draft: Draft, road: int) -> None:
    """Parking, pickup areas and walkways along both sides of a road."""
    plan = draft.layout.roads[road]
    for forward in (True, False):
        reference = plan.reference if forward else plan.reference[::-1]
        kerb = reach(plan.profile, forward) + plan.profile.shoulder
        left = normals(reference)
        parking = plan.profile.parking[0 if forward else 1]
        if parking:
            draw_parking(draft, reference, left, kerb, plan.crosswalk_at)
        inner = kerb + (PARKING_WIDTH if parking else 0.0) + 0.8
        outer = inner + WALKWAY_WIDTH
        draft.add("walkways", strip(reference - left * inner, reference - left * outer))
        draft.roadside.sidewalks.append(reference - left * (inner + outer) / 2)


def draw_parking(draft: Draft, reference: Floats, left: Floats, kerb: float, crosswalk_at: float | None) -> None:
    """Stretches of kerbside parking that keep clear of junctions and crosswalks, some of them pickup areas."""
    keep = int(PARKING_CLEARANCE)
    stretches = [(keep, len(reference) - keep)]
    if crosswalk_at is not None:
        middle = len(reference) // 2
        stretches = [(keep, middle - 8), (middle + 8, len(reference) - keep)]
    for first, last in stretches:
        if last - first < 14:
            continue
        part = slice(first, last)
        inner, outer = reference[part] - left[part] * kerb, reference[part] - left[part] * (kerb + PARKING_WIDTH)
        polygon = strip(inner, outer)
        draft.add("carparks", polygon)
        pickup = draft.rng.random() < draft.layout.pickup
        if pickup:
            draft.roadside.pickup_areas.append(polygon)
        draw_spots(draft, (inner + outer) / 2, 0.25 if pickup else 0.7)


def draw_spots(draft: Draft, line: Floats, share: float) -> None:
    for k in range(4, len(line) - 4, math.ceil(PARKING_SPACING)):
        if draft.rng.random() < share:
            heading = math.atan2(*(line[k + 1] - line[k - 1])[::-1])
            draft.roadside.parking.append(np.append(line[k], heading))

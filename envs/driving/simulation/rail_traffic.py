"""One step of vehicles on rails, compiled: each looks for a leader on its way and drives by IDM.

They move one after another, and each sees those before it where they have gone. Where plain arithmetic leaves a doubt
the step stops and says what it has to be told; it goes on from there.
"""

import math

import numpy as np

from embodia.envs.compiled import cached
from embodia.envs.driving.map.rails import (
    DOUBTFUL,
    OUTSIDE,
    place_vehicle,
    pose_on,
    rectangle_around,
    rest_of,
    search_corridor,
    stretch_of,
    strip_outline,
    touches_corridor,
)
from embodia.envs.driving.map.segments import ring_distance
from embodia.envs.driving.types import Bools, Floats, Ints

DONE, ROUTE, TOUCH, OUTLINE, TIE = range(5)
"""Why a step stops: all have moved; a path comes to its end; GEOS must say whether a candidate touches the corridor;
a strip's outline is left to GEOS; several candidates are equally near."""
PROGRESS, SPEED, TARGET, LIMIT, LENGTH, WIDTH = range(6)  # columns of the vehicles' table
UNKNOWN, YES, NO = range(3)
BARE = -1  # corners of the outline of a vehicle that covers its box alone
MIN_PATH_LENGTH = 20.0  # [m]


@cached
def move_all(
    slot: int, vehicles: Floats, poses: Floats, path_s: Floats, path_nodes: Floats, path_length: Ints, corners: Floats,
    bounds: Floats, strips: Floats, counts: Ints, outlines: Floats, outline_counts: Ints, stop_first: Ints,
    stop_rings: Floats, stops: Ints, extended: Bools, touching: Ints, tie: int, ego: tuple[float, float],
    law: tuple[float, float, float, float, float], dt: float,
) -> tuple[int, int, int]:  # fmt: skip
    """Move the vehicles from `slot` on: the slot at which the step stopped, why, and whom that concerns.

    vehicles (n, 6), poses (n, 3), paths by arc length (n, P) and nodes (n, P, 3), the first `path_length` (n,) each;
    corners (M, 4, 2) and bounds (M, 4) of vehicles, ego and replayed objects; strips ahead (n, S, 2) of `counts` (n,)
    points, their outlines (n, O, 2) of `outline_counts` (n,) corners; rows of `stop_rings` from `stop_first` on are red
    stop polygons, and `stops` (n, Q) those on a vehicle's way, -1 for none; extended (n,): this step has looked for
    more path; touching (M + Q,) and tie: what was told of this slot; ego: speed and heading.
    """
    min_gap, headway, fastest, hardest, exponent = law
    total = len(vehicles)
    for i in range(slot, total):
        s, nodes = path_s[i, : path_length[i]], path_nodes[i, : path_length[i]]
        start, end = s[0], s[-1]
        progress, v, target = vehicles[i, PROGRESS], vehicles[i, SPEED], vehicles[i, TARGET]
        if not extended[i] and end - progress < MIN_PATH_LENGTH + target * headway:
            return i, ROUTE, i
        line = rest_of(s, nodes, max(start, min(progress, end)))[:, :2].copy()
        radius = vehicles[i, WIDTH] / 2
        answers, nearest = search_corridor(line, radius, corners, bounds, strips, counts, vehicles[:, WIDTH], i)
        order = candidates(line, radius, answers, nearest, stop_first, stop_rings, stops[i])
        gap, who, tied = np.inf, -1, False
        for row in range(len(order)):
            other, answer = int(order[row, 1]), int(order[row, 2])
            if order[row, 0] > gap:
                break
            if answer == DOUBTFUL:
                if touching[other] == UNKNOWN:
                    return i, TOUCH, other
                if touching[other] == NO:
                    continue
            if outline_counts[i] == 0:
                return i, OUTLINE, i
            if other < total and outline_counts[other] == 0:
                return i, OUTLINE, other
            if other < len(corners):
                distance = apart(i, corners[other], corners, outlines, outline_counts, gap + 1.0)
                if other < total and outline_counts[other] != BARE:
                    ring = outlines[other, : outline_counts[other]]
                    distance = min(distance, apart(i, ring, corners, outlines, outline_counts, gap + 1.0))
            else:
                stop = stops[i, other - len(corners)]
                ring = stop_rings[stop_first[stop] : stop_first[stop + 1]]
                distance = apart(i, ring, corners, outlines, outline_counts, gap + 1.0)
            if distance <= gap:
                tied, gap, who = distance == gap, distance, other
        if tied:
            if tie < 0:
                return i, TIE, i
            who = tie
        lead_v = 0.0
        if who < 0:
            gap = end - progress - vehicles[i, LENGTH] / 2
        elif who < total:
            lead_v = vehicles[who, SPEED] * math.cos(poses[who, 2] - poses[i, 2])
        elif who == total:
            lead_v = ego[0] * math.cos(ego[1] - poses[i, 2])
        if vehicles[i, LIMIT] > 0:
            target = vehicles[i, LIMIT]
        braking = 2 * math.sqrt(fastest * hardest)
        ratio = (min_gap + v * headway + v * (v - lead_v) / braking) / max(gap, min_gap)
        change = fastest * (1 - (v / target) ** exponent - ratio**2)
        progress, v = progress + dt * v, max(v + dt * min(max(change, -hardest), fastest), 0.0)
        vehicles[i, PROGRESS], vehicles[i, SPEED], vehicles[i, TARGET] = progress, v, target
        poses[i] = pose_on(s, nodes, max(start, min(progress, end)))
        cover(i, vehicles, poses, s, nodes, corners, bounds, strips, counts, outlines, outline_counts, headway)
        touching[:] = UNKNOWN
        tie = -1
    return total, DONE, 0


@cached
def cover(
    i: int, vehicles: Floats, poses: Floats, s: Floats, nodes: Floats, corners: Floats, bounds: Floats, strips: Floats,
    counts: Ints, outlines: Floats, outline_counts: Ints, headway: float,
) -> None:  # fmt: skip
    """Write down the ground that a vehicle covers: its box, and the strip of its path within the headway."""
    progress, length, width = vehicles[i, PROGRESS], vehicles[i, LENGTH], vehicles[i, WIDTH]
    start, end = s[0], s[-1]
    first = max(start, min(progress - length / 2, end))
    last = max(start, min(progress + length / 2 + vehicles[i, SPEED] * headway, end))
    strip = stretch_of(s, nodes, first, last)[:, :2].copy()
    counts[i] = len(strip)
    strips[i, : len(strip)] = strip
    place_vehicle(poses[i], length, width, strip, corners[i], bounds[i])
    ring = rectangle_around(strip, width / 2)
    if len(ring):
        outline_counts[i], outlines[i, :4] = 4, ring
    else:
        outline_counts[i] = strip_outline(strip, width / 2, outlines[i])


@cached
def candidates(
    line: Floats, radius: float, answers: Ints, nearest: Floats, stop_first: Ints, stop_rings: Floats, stops: Ints
) -> Floats:
    """Rows (k, 3) of a lower bound of the distance [m], number, and answer, in this order, of what is on the way."""
    rows = np.empty((len(answers) + len(stops), 3))
    count = 0
    for i in range(len(answers)):
        if answers[i] != OUTSIDE:
            rows[count, 0], rows[count, 1], rows[count, 2] = nearest[i], i, answers[i]
            count += 1
    for number in range(len(stops)):
        if stops[number] >= 0:
            ring = stop_rings[stop_first[stops[number]] : stop_first[stops[number] + 1]]
            answer = touches_corridor(line, radius, ring, True, 0.0)
            if answer != OUTSIDE:
                rows[count, 0], rows[count, 1], rows[count, 2] = 0.0, len(answers) + number, answer
                count += 1
    for i in range(1, count):  # numbers grow already, so a stable sort by the bound is enough
        for k in range(i, 0, -1):
            if rows[k - 1, 0] <= rows[k, 0]:
                break
            for column in range(3):
                rows[k - 1, column], rows[k, column] = rows[k, column], rows[k - 1, column]
    return rows[:count]


@cached
def apart(i: int, ring: Floats, corners: Floats, outlines: Floats, outline_counts: Ints, limit: float) -> float:
    """Distance [m] from the ground that a vehicle covers to a polygon's ring (k, 2); not exact beyond the limit."""
    distance = ring_distance(corners[i], ring, limit)
    if outline_counts[i] != BARE:
        distance = min(distance, ring_distance(outlines[i, : outline_counts[i]], ring, limit))
    return distance

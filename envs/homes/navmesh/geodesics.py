"""Geodesics as habitat-sim measures them: A* over polygons, then a string pulled tight through the corridor.

SPL, rewards and released episodes are counted with these lengths. A* takes polygons to be entered in the middle of
their edges, so the corridor is not always the best one, and the path a little longer than the shortest there is
(`shortest_paths` finds that). Source: Detour `findPath` and `findStraightPath`, habitat-sim `PathFinder::findPath`;
string pulling: Mononen 2010, "Simple Stupid Funnel Algorithm".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.navmesh import Floor
from embodia.envs.homes.navmesh.open_list import MOST_NODES, UNSEEN, Search, begin, meet, pop, put
from embodia.envs.homes.navmesh.shortest_paths import (
    NOWHERE,
    Goals,
    GoalTree,
    VisibilityGraph,
    goal_behind,
    shortest_way,
)
from embodia.envs.homes.navmesh.single import INFINITE, ZERO
from embodia.envs.homes.navmesh.surface import ANY, clamped, distance_between, on_segment, project

Array = NDArray[Any]

LONGEST = 256  # polygons of a corridor and points of a path; habitat-sim calls longer paths unreachable
GREED = np.float32(0.999)  # of the straight way to the goal, by which open polygons are ordered
AT_PORTAL = np.float32(0.001) * np.float32(0.001)  # [m2]
SAME_POINT = np.float32(1 / 16384) * np.float32(1 / 16384)  # [m2]
NO_DETOUR = 1 + 2e-6  # most that float32 lengthens a path
EQUAL = np.float32(1e-5)  # relative to the coordinates: Magnum's fuzzy equality


@compiled_exactly
def _way_to(search: Search, p: int, corridor: Array) -> int:
    """Fill the corridor up to polygon p; returns its length, 0 if it is too long."""
    count, q = 0, p
    while q != -1:
        count += 1
        q = search.parent[q]
    if count > LONGEST:
        return 0
    for k in range(count - 1, -1, -1):
        corridor[k] = p
        p = search.parent[p]
    return count


@compiled_exactly
def find_corridor(floor: Floor, search: Search, p: int, start: Array, goal_p: int, goal: Array, corridor: Array) -> int:
    """Polygons from p to goal_p, between places on them: fills `corridor`, returns how many, 0 if none leads there."""
    begin(search, p, start, distance_between(start, goal) * GREED)
    size, nodes, too_many = 1, 1, False
    while size:
        current = pop(search, size)
        size -= 1
        if current == goal_p:
            return 0 if too_many else _way_to(search, goal_p, corridor)
        for k in range(floor.sides[current]):
            other = floor.neighbours[current, k]
            if other == -1 or other == search.parent[current]:
                continue
            state = search.state[other]
            if state == UNSEEN:
                if nodes == MOST_NODES:
                    too_many = True
                    continue
                meet(search, other, floor.rings[current, k], floor.rings[current, k + 1])
                nodes += 1
            cost = search.cost[current] + distance_between(search.place[current], search.place[other])
            ahead = distance_between(search.place[other], goal)
            if other == goal_p:
                cost, ahead = cost + ahead, ZERO
            total = cost + ahead * GREED
            if state == UNSEEN or total < search.total[other]:
                search.cost[other] = cost
                size = put(search, size, other, current, total)
    return 0


@compiled_exactly
def _area(a: Array, b: Array, c: Array) -> float:
    """Twice the signed area in plan: negative where c lies to the right of the way from a to b."""
    return (c[0] - a[0]) * (b[2] - a[2]) - (b[0] - a[0]) * (c[2] - a[2])


@compiled_exactly
def _same(a: Array, b: Array) -> bool:
    dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    return dx * dx + dy * dy + dz * dz < SAME_POINT


@compiled_exactly
def _append(points: Array, count: int, point: Array) -> int:
    """Add a point unless it repeats the last one; returns the number of points."""
    if count and _same(points[count - 1], point):
        return count
    points[count] = point
    return count + 1


@compiled_exactly
def _portal(floor: Floor, p: int, q: int) -> int:
    """The first edge that leads from polygon p to q, left end first."""
    k = 0
    while floor.neighbours[p, k] != q:
        k += 1
    return k


@compiled_exactly
def pull_string(floor: Floor, corridor: Array, n: int, first: Array, last: Array, points: Array) -> int:
    """The shortest path between places in the first and the last of a corridor's n polygons.

    Fills `points`, returns how many; LONGEST = too many.
    """
    count = _append(points, 0, first)
    apex, left, right = first, first, first
    left_at, right_at, i = 0, 0, 0
    while i < n and n > 1 and count < LONGEST:
        new_left, new_right = last, last
        if i + 1 < n:
            k = _portal(floor, corridor[i], corridor[i + 1])
            new_left, new_right = floor.rings[corridor[i], k], floor.rings[corridor[i], k + 1]
            if i == 0 and on_segment(apex, new_left, new_right)[0] < AT_PORTAL:
                i += 1
                continue
        turn_at = -1
        if _area(apex, right, new_right) <= ZERO:
            if _same(apex, right) or _area(apex, left, new_right) > ZERO:
                right, right_at = new_right, i
            else:
                apex, turn_at = left, left_at
        if turn_at == -1 and _area(apex, left, new_left) >= ZERO:
            if _same(apex, left) or _area(apex, right, new_left) < ZERO:
                left, left_at = new_left, i
            else:
                apex, turn_at = right, right_at
        if turn_at == -1:
            i += 1
            continue
        # The string bends here: begin again at the bend, or end if it is the goal.
        before, count = count, _append(points, count, apex)
        if turn_at == n - 1 and count > before:
            return count
        left, right = apex, apex
        left_at, right_at, i = turn_at, turn_at, turn_at + 1
    return _append(points, count, last) if count < LONGEST else LONGEST


@compiled_exactly
def _length(points: Array, count: int) -> float:
    length = ZERO
    for k in range(1, count):
        length += distance_between(points[k], points[k - 1])
    return length


@compiled_exactly
def _equal(a: Array, b: Array) -> bool:
    """Whether places are one for habitat-sim, whose vectors compare to within EQUAL."""
    for k in range(3):
        off, size = abs(a[k] - b[k]), abs(a[k]) + abs(b[k])
        if off >= EQUAL and (a[k] == ZERO or b[k] == ZERO or off >= EQUAL * size):
            return False
    return True


@compiled_exactly
def find_path(
    floor: Floor, search: Search, goals: Goals, g: int, p: int, place: Array, start: Array, points: Array
) -> tuple[float, int]:
    """The path to goal g from `place` on polygon p, whose first point is `start`.

    Returns its length [m], inf = none, and how many `points` it has, which are filled in.
    """
    goal_p = goals.polygon[g]
    if p == -1 or goal_p == -1:
        return INFINITE, 0
    if _equal(place, goals.place[g]):
        points[0], points[1] = place, goals.place[g]
        return ZERO, 2
    if floor.island[p] != floor.island[goal_p]:
        return INFINITE, 0
    corridor = np.empty(LONGEST, np.int64)
    corridor[0], n = p, 1
    if p != goal_p:
        n = find_corridor(floor, search, p, place, goal_p, goals.place[g], corridor)
    count = pull_string(floor, corridor, n, start, goals.end[g], points) if n else 0
    if count == 0 or count >= LONGEST:
        return INFINITE, 0
    return _length(points, count), count


@compiled_exactly
def distances(floor: Floor, search: Search, goals: Goals, places: Array) -> Array:
    """Lengths of the paths from places (M, 3) to the first goal [m]; inf = none."""
    lengths, points = np.full(len(places), INFINITE, np.float32), np.empty((LONGEST, 3), np.float32)
    for m in range(len(places)):
        p, place = project(floor, places[m], ANY)
        if p != -1:
            start = clamped(floor, p, places[m])
            lengths[m] = find_path(floor, search, goals, 0, p, place, start, points)[0]
    return lengths


@compiled_exactly
def nearest_goal(
    floor: Floor,
    search: Search,
    graph: VisibilityGraph,
    goals: Goals,
    tree: GoalTree,
    p: int,
    place: Array,
    start: Array,
    points: Array,
) -> tuple[float, int, int]:
    """Length [m] of the path to the nearest goal, its number and how many points it has; (inf, -1, 0) = none.

    The goal that is exactly nearest is nearest here too if the way to it is found without a detour, as it mostly is
    (on an uneven floor up to the millimetres by which bends change a path's heights). Else all are tried, while the
    straight way to them is shorter than the best path so far.
    """
    exact, step = shortest_way(floor, graph, goals, tree, p, start)
    if step == NOWHERE:
        return INFINITE, -1, 0
    best_g = goal_behind(tree, step)
    best, best_count = find_path(floor, search, goals, best_g, p, place, start, points)
    if best <= exact * NO_DETOUR:
        return best, best_g, best_count
    straight, other = np.empty(len(goals.polygon), np.float32), np.empty_like(points)
    for g in range(len(straight)):
        straight[g] = distance_between(start, goals.end[g])
    for g in np.argsort(straight):
        if straight[g] > best:
            break
        length, count = find_path(floor, search, goals, g, p, place, start, other)
        if length < best:
            best, best_g, best_count = length, g, count
            points[:count] = other[:count]
    return best, best_g, best_count


@compiled_exactly
def nearest_distances(
    floor: Floor, search: Search, graph: VisibilityGraph, goals: Goals, tree: GoalTree, places: Array
) -> Array:
    """Lengths of the paths from places (M, 3) to the nearest of several goals [m]; inf = none."""
    lengths, points = np.full(len(places), INFINITE, np.float32), np.empty((LONGEST, 3), np.float32)
    for m in range(len(places)):
        p, place = project(floor, places[m], ANY)
        if p != -1:
            start = clamped(floor, p, places[m])
            lengths[m] = nearest_goal(floor, search, graph, goals, tree, p, place, start, points)[0]
    return lengths

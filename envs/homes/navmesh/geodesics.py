"""Geodesics as habitat-sim measures them: A* over polygons, then a string pulled tight through the corridor.

SPL, rewards and released episodes are counted with these lengths. A* takes polygons to be entered in the middle of
their edges, so the corridor is not always the best one, and the path a little longer than the shortest there is
(`shortest_paths` finds that). Source: Detour `findPath` and `findStraightPath`, habitat-sim `PathFinder::findPath`;
string pulling: Mononen 2010, "Simple Stupid Funnel Algorithm".
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.navmesh import NavMesh
from embodia.envs.homes.navmesh.open_list import MOST_NODES, UNSEEN, Search, begin, meet, pop, put, state_of
from embodia.envs.homes.navmesh.surface import (
    ANY,
    contains,
    distance_between,
    on_segment,
    part_way,
    project,
    try_step,
    wall_distance,
)

Array = NDArray[Any]

LONGEST = 256  # polygons of a corridor and points of a path; habitat-sim calls what is longer unreachable
NOWHERE = np.int64(-1)
GREED = np.float32(0.999)  # of the straight way to the goal, by which open polygons are ordered
AT_PORTAL = np.float32(0.001) * np.float32(0.001)  # [m2]
SAME_POINT = np.float32(1 / 16384) * np.float32(1 / 16384)  # [m2]
EQUAL = np.float32(1e-5)  # relative to the coordinates: Magnum's fuzzy equality
ZERO, INFINITE = np.float32(0), np.float32(np.inf)


class Goals(NamedTuple):
    """Places to go to: as asked for, their polygons (-1 = off the navmesh), and the points on these."""

    asked: Array  # (G, 3) float32 [m]
    polygon: Array  # (G,) int64
    place: Array  # (G, 3) float32 [m]


def goals_on(mesh: NavMesh, asked: Array) -> Goals:
    """Project places (G, 3) float32."""
    polygons, places = np.empty(len(asked), np.int64), np.empty((len(asked), 3), np.float32)
    for g, place in enumerate(asked):
        polygons[g], places[g] = project(mesh, place, ANY)
    return Goals(np.ascontiguousarray(asked), polygons, places)


@compiled_exactly
def _way_to(mesh: NavMesh, search: Search, p: int, corridor: Array) -> int:
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
def find_corridor(
    mesh: NavMesh, search: Search, p: int, start: Array, goal_p: int, goal: Array, corridor: Array
) -> int:
    """Polygons from p to goal_p, between places on them; fills `corridor` and returns how many, 0 if no way leads."""
    begin(search, p, start, distance_between(start, goal) * GREED)
    size, nodes, too_many = 1, 1, False
    while size:
        current = pop(search, size)
        size -= 1
        if current == goal_p:
            return 0 if too_many else _way_to(mesh, search, goal_p, corridor)
        for k in range(mesh.sides[current]):
            other = mesh.neighbours[current, k]
            if other == -1 or other == search.parent[current]:
                continue
            state = state_of(search, other)
            if state == UNSEEN:
                if nodes == MOST_NODES:
                    too_many = True
                    continue
                meet(search, other, mesh.rings[current, k], mesh.rings[current, k + 1])
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
def _clamped(mesh: NavMesh, p: int, place: Array) -> Array:
    """The place itself if it lies over polygon p, else the nearest point on its border."""
    clamped = place.copy()
    if contains(mesh, p, place):
        return clamped
    best, share, edge = INFINITE, ZERO, 0
    for k in range(mesh.sides[p]):
        distance, s = on_segment(place, mesh.rings[p, k], mesh.rings[p, k + 1])
        if distance < best:
            best, share, edge = distance, s, k
    clamped[0], clamped[1], clamped[2] = part_way(mesh.rings[p, edge], mesh.rings[p, edge + 1], share)
    return clamped


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
def _portal(mesh: NavMesh, p: int, q: int) -> int:
    """The first edge that leads from polygon p to q, left end first."""
    k = 0
    while mesh.neighbours[p, k] != q:
        k += 1
    return k


@compiled_exactly
def pull_string(mesh: NavMesh, corridor: Array, n: int, start: Array, goal: Array, points: Array) -> int:
    """The shortest path through a corridor of n polygons: fills `points`, returns how many; LONGEST = too many."""
    first, last = _clamped(mesh, corridor[0], start), _clamped(mesh, corridor[n - 1], goal)
    count = _append(points, 0, first)
    apex, left, right = first, first, first
    apex_at, left_at, right_at = 0, 0, 0
    i = 0
    while i < n and n > 1 and count < LONGEST:
        new_left, new_right = last, last
        if i + 1 < n:
            k = _portal(mesh, corridor[i], corridor[i + 1])
            new_left, new_right = mesh.rings[corridor[i], k], mesh.rings[corridor[i], k + 1]
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
        apex_at = left_at = right_at = turn_at
        i = apex_at + 1
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
    mesh: NavMesh, search: Search, goals: Goals, g: int, asked: Array, p: int, place: Array, points: Array
) -> tuple[float, int]:
    """The path to goal g from a place asked for, projected on polygon p: its length [m], inf = none; fills `points`."""
    goal_p = goals.polygon[g]
    if p == -1 or goal_p == -1:
        return INFINITE, 0
    if _equal(place, goals.place[g]):
        points[0], points[1] = place, goals.place[g]
        return ZERO, 2
    if mesh.island[p] != mesh.island[goal_p]:
        return INFINITE, 0
    corridor = np.empty(LONGEST, np.int64)
    corridor[0], n = p, 1
    if p != goal_p:
        n = find_corridor(mesh, search, p, place, goal_p, goals.place[g], corridor)
    count = pull_string(mesh, corridor, n, asked, goals.asked[g], points) if n else 0
    if count == 0 or count >= LONGEST:
        return INFINITE, 0
    return _length(points, count), count


@compiled_exactly
def nearest_goal(
    mesh: NavMesh, search: Search, goals: Goals, asked: Array, p: int, place: Array, points: Array
) -> tuple[float, int, int]:
    """Length [m] of the path to the nearest goal, its number and how many points it has; (inf, NOWHERE, 0) = none.

    Goals are tried from the nearest on as the crow flies, while they can still be nearer than the best.
    """
    n = len(goals.polygon)
    if n == 1:
        length, count = find_path(mesh, search, goals, 0, asked, p, place, points)
        return length, (np.int64(0) if count else NOWHERE), count
    straight = np.empty(n, np.float32)
    for g in range(n):
        straight[g] = distance_between(asked, goals.asked[g])
    best, best_g, best_count = INFINITE, NOWHERE, 0
    other = np.empty_like(points)
    for g in np.argsort(straight, kind="mergesort"):
        if straight[g] > best:
            break
        length, count = find_path(mesh, search, goals, g, asked, p, place, other)
        if length < best:
            best, best_g, best_count = length, g, count
            points[:count] = other[:count]
    return best, best_g, best_count


@compiled_exactly
def distance(mesh: NavMesh, search: Search, goals: Goals, asked: Array) -> float:
    """Length of the path from a place to the nearest goal [m]; inf = none."""
    p, place = project(mesh, asked, ANY)
    points = np.empty((LONGEST, 3), np.float32)
    return nearest_goal(mesh, search, goals, asked, p, place, points)[0]


@compiled_exactly
def probe_steps(
    mesh: NavMesh, search: Search, goals: Goals, start: Array, targets: Array, sliding: bool, radius: float
) -> tuple[Array, Array, Array]:
    """Steps from `start` to each target (M, 3): where they end, how far walls are there (at most `radius` [m]), and
    how far the nearest goal."""
    ends, clearance, left = np.empty_like(targets), np.empty(len(targets)), np.empty(len(targets))
    for m in range(len(targets)):
        ends[m] = try_step(mesh, start, targets[m], sliding)
        clearance[m] = wall_distance(mesh, search, ends[m], radius)[0]
        left[m] = distance(mesh, search, goals, ends[m])
    return ends, clearance, left

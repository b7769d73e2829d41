"""Exact shortest paths on a navmesh: straight lines that bend only at corners of its walls.

A visibility graph over those corners is made once per navmesh, a shortest-path tree once per set of goals (Dijkstra),
and a distance is then one look around from where the agent stands (Lozano-Perez & Wesley 1979; the look around walks
from polygon to polygon, as in Cui et al. 2017, "Compromise-free pathfinding on a navigation mesh"). Habitat's own
geodesics (`geodesics`) are the same paths or slightly longer ones. Lengths are 3-D.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly
from embodia.envs.homes.navmesh.navmesh import Floor, NavMesh
from embodia.envs.homes.navmesh.surface import ANY, clamped, project

Array = NDArray[Any]

TOUCH = 1e-6  # [m2], how far beside a line of sight a corner may lie and still be seen
DEPTH = 1024  # views waiting at once
ACROSS = 10_000  # polygons that a line of sight may cross
NOWHERE = -(2**31)


class VisibilityGraph(NamedTuple):
    """The corners at which paths bend, and which of them see each other."""

    place: Array  # (K, 3) float32 [m]
    corner: Array  # (P, 6) int64 which of them is at each polygon's corner, -1 = none
    first: Array  # (K + 1,) int64
    target: Array  # (E,) int64 corners
    length: Array  # (E,) float64 [m]


class Goals(NamedTuple):
    """Places to go to."""

    polygon: Array  # (G,) int64, -1 = off the navmesh
    place: Array  # (G, 3) float32 [m], the nearest points on the navmesh
    end: Array  # (G, 3) float32 [m], where paths end: the place asked for, where it lies over the navmesh


class GoalTree(NamedTuple):
    """The shortest paths from every corner to the nearest of some goals."""

    distance: Array  # (K,) float64 [m], inf = unreachable
    following: Array  # (K,) int64: next corner, or -1 - g for goal g


@compiled_exactly
def goals_on(floor: Floor, asked: Array) -> Goals:
    """Project places (G, 3) float32."""
    goals = Goals(np.empty(len(asked), np.int64), np.empty_like(asked), asked.copy())
    for g in range(len(asked)):
        p, place = project(floor, asked[g], ANY)
        goals.polygon[g], goals.place[g] = p, place
        if p != -1:
            goals.end[g] = clamped(floor, p, asked[g])
    return goals


@compiled_exactly
def side(ax: float, az: float, bx: float, bz: float, px: float, pz: float) -> float:
    """Twice the signed area of a, b, p in plan: negative where p lies on the inner side of a polygon's edge ab."""
    return (bx - ax) * (pz - az) - (px - ax) * (bz - az)


@compiled_exactly
def _between(a: Array, b: Array) -> float:
    """Length of the straight line [m] in float64."""
    dx, dy, dz = np.float64(a[0]) - b[0], np.float64(a[1]) - b[1], np.float64(a[2]) - b[2]
    return np.sqrt(dx * dx + dy * dy + dz * dz)


@compiled_exactly
def _entry(floor: Floor, p: int, edge: int) -> int:
    """The number of edge `edge` of polygon p in the polygon beyond it; -1 if that polygon has no such edge.

    Where polygons overlap, the polygon beyond may have the edge as a wall.
    """
    other = floor.neighbours[p, edge]
    x, z = floor.rings[p, edge + 1, 0], floor.rings[p, edge + 1, 2]
    found = -1
    for k in range(floor.sides[other]):
        if floor.rings[other, k, 0] == x and floor.rings[other, k, 2] == z:
            if floor.neighbours[other, k] == p:
                return k
            found = k
    return found


@compiled_exactly
def _look_through(
    floor: Floor,
    corner: Array,
    p: int,
    edge: int,
    sx: float,
    sz: float,
    seen: Array,
    count: int,
    stack_p: Array,
    stack_v: Array,
) -> int:
    """Add the corners seen from (sx, sz) on polygon p through one of its edges; returns the count.

    A view is an edge to look through between two rays, to its right and left end at first.
    """
    a, b = floor.rings[p, edge], floor.rings[p, edge + 1]
    stack_p[0, 0], stack_p[0, 1] = p, edge
    stack_v[0, 0], stack_v[0, 1], stack_v[0, 2], stack_v[0, 3] = b[0] - sx, b[2] - sz, a[0] - sx, a[2] - sz
    size = 1
    while size:
        size -= 1
        p, edge = stack_p[size, 0], stack_p[size, 1]
        rx, rz, lx, lz = stack_v[size, 0], stack_v[size, 1], stack_v[size, 2], stack_v[size, 3]
        other = floor.neighbours[p, edge]
        if other == -1:
            continue
        entry, sides = _entry(floor, p, edge), floor.sides[other]
        if entry == -1:
            continue
        # From the left end of the edge around the polygon to its right end.
        for step in range(1, sides):
            k = (entry + step) % sides
            a, b = floor.rings[other, k], floor.rings[other, k + 1]
            ax, az, bx, bz = a[0] - sx, a[2] - sz, b[0] - sx, b[2] - sz
            between = rx * az - rz * ax >= -TOUCH and ax * lz - az * lx >= -TOUCH
            if step > 1 and between and corner[other, k] != -1 and count < len(seen):
                seen[count] = corner[other, k]
                count += 1
            qx, qz = (bx, bz) if rx * bz - rz * bx >= 0 else (rx, rz)
            wx, wz = (ax, az) if ax * lz - az * lx >= 0 else (lx, lz)
            if qx * wz - qz * wx > 0 and size < DEPTH:
                stack_p[size, 0], stack_p[size, 1] = other, k
                stack_v[size, 0], stack_v[size, 1], stack_v[size, 2], stack_v[size, 3] = qx, qz, wx, wz
                size += 1
    return count


@compiled_exactly
def _inside(floor: Floor, p: int, place: Array) -> tuple[float, float]:
    """`place`, a hair inside polygon p, so that no line of sight starts along an edge."""
    x, z = 0.0, 0.0
    for k in range(floor.sides[p]):
        x += floor.rings[p, k, 0] / floor.sides[p]
        z += floor.rings[p, k, 2] / floor.sides[p]
    return place[0] + 1e-5 * (x - place[0]), place[2] + 1e-5 * (z - place[2])


@compiled_exactly
def look_around(floor: Floor, corner: Array, p: int, place: Array, seen: Array) -> int:
    """Corners seen from a place on polygon p: fills `seen` and returns how many (some may come twice)."""
    stack_p, stack_v = np.empty((DEPTH, 2), np.int64), np.empty((DEPTH, 4))
    sx, sz = _inside(floor, p, place)
    count = np.int64(0)
    for k in range(floor.sides[p]):
        if corner[p, k] != -1:
            seen[count] = corner[p, k]
            count += 1
        count = _look_through(floor, corner, p, k, sx, sz, seen, count, stack_p, stack_v)
    return int(count)


@compiled_exactly
def line_of_sight(floor: Floor, p: int, place: Array, goal_p: int, goal: Array) -> bool:
    """Whether the straight line from a place on polygon p to a goal on polygon goal_p stays on the mesh."""
    sx, sz = _inside(floor, p, place)
    gx, gz = _inside(floor, goal_p, goal)
    entry = -1
    for _ in range(ACROSS):
        if p == goal_p:
            return True
        leave = -1
        for k in range(floor.sides[p]):
            if k == entry:
                continue
            a, b = floor.rings[p, k], floor.rings[p, k + 1]
            to_left, to_right = side(sx, sz, gx, gz, a[0], a[2]), side(sx, sz, gx, gz, b[0], b[2])
            if to_left >= 0 and to_right <= 0 and side(a[0], a[2], b[0], b[2], gx, gz) > 0:
                leave = k
                break
        if leave == -1 or floor.neighbours[p, leave] == -1:
            return False  # over the goal on another storey, or at a wall
        entry = _entry(floor, p, leave)
        p = floor.neighbours[p, leave]
    return False


@compiled_exactly
def _room_to_see(floor: Floor) -> Array:
    """Room for all the corners that `look_around` may report."""
    return np.empty(64 * len(floor.sides) + 64, np.int64)


@compiled_exactly
def _edges(
    floor: Floor, corner: Array, place: Array, fan_first: Array, fan_polygon: Array, fan_corner: Array
) -> tuple[Array, Array, Array]:
    """What each corner sees, as the last three fields of a VisibilityGraph; `fan` is where it is in polygons."""
    n = len(place)
    stack_p, stack_v = np.empty((DEPTH, 2), np.int64), np.empty((DEPTH, 4))
    seen, mark = _room_to_see(floor), np.full(n, -1, np.int64)
    first = np.zeros(n + 1, np.int64)
    targets = [np.int64(0)][:0]
    for i in range(n):
        sx, sz = float(place[i, 0]), float(place[i, 2])
        count = np.int64(0)
        for m in range(fan_first[i], fan_first[i + 1]):
            p, k = fan_polygon[m], fan_corner[m]
            sides = floor.sides[p]
            for step in range(1, sides):
                near = corner[p, (k + step) % sides]
                if near != -1:
                    seen[count] = near
                    count += 1
            for step in range(1, sides - 1):
                count = _look_through(floor, corner, p, (k + step) % sides, sx, sz, seen, count, stack_p, stack_v)
        mark[i] = i
        for s in range(count):
            if mark[seen[s]] != i:
                mark[seen[s]] = i
                targets.append(seen[s])
        first[i + 1] = len(targets)
    target = np.array(targets, np.int64)
    length = np.empty(len(target))
    for i in range(n):
        for e in range(first[i], first[i + 1]):
            length[e] = _between(place[i], place[target[e]])
    return first, target, length


def visibility_graph(mesh: NavMesh) -> VisibilityGraph:
    """The graph of a navmesh's bending corners: wall vertices with at least a half turn of floor around them."""
    vertex = np.flatnonzero(_wall_vertices(mesh) & (_floor_angle(mesh) >= np.pi - 1e-6))
    number = np.full(len(mesh.vertices) + 1, -1, np.int64)  # the last one for -1, no vertex
    number[vertex] = np.arange(len(vertex))
    corner, place = number[mesh.polygons], mesh.vertices[vertex]
    polygon, at = np.nonzero(corner >= 0)
    order = np.argsort(corner[polygon, at], kind="stable")
    fan_first = np.searchsorted(corner[polygon, at][order], np.arange(len(vertex) + 1)).astype(np.int64)
    return VisibilityGraph(place, corner, *_edges(mesh.floor, corner, place, fan_first, polygon[order], at[order]))


def _wall_vertices(mesh: NavMesh) -> Array:
    p, k = np.nonzero((mesh.floor.neighbours == -1) & (mesh.polygons >= 0))
    on_wall = np.zeros(len(mesh.vertices), bool)
    on_wall[mesh.polygons[p, k]] = on_wall[mesh.polygons[p, (k + 1) % mesh.floor.sides[p]]] = True
    return on_wall


def _floor_angle(mesh: NavMesh) -> Array:
    """(V,) sum of the angles [rad] of the polygons at each vertex, in plan."""
    p, k = np.nonzero(mesh.polygons >= 0)
    plan, sides = mesh.floor.rings[:, :, [0, 2]].astype(np.float64), mesh.floor.sides[p]
    to_next, to_last = plan[p, k + 1] - plan[p, k], plan[p, (k - 1) % sides] - plan[p, k]
    cross = to_next[:, 0] * to_last[:, 1] - to_next[:, 1] * to_last[:, 0]
    angle = np.arctan2(np.abs(cross), (to_next * to_last).sum(axis=-1))
    return np.bincount(mesh.polygons[p, k], angle, minlength=len(mesh.vertices))


@compiled_exactly
def goal_tree(floor: Floor, graph: VisibilityGraph, goals: Goals) -> GoalTree:
    """Dijkstra over the corners, from those that see a goal."""
    count = len(graph.place)
    distance, following = np.full(count, np.inf), np.full(count, NOWHERE, np.int64)
    seen = _room_to_see(floor)
    for g in range(len(goals.polygon)):
        if goals.polygon[g] == -1:
            continue
        for s in range(look_around(floor, graph.corner, goals.polygon[g], goals.end[g], seen)):
            c = seen[s]
            gap = _between(graph.place[c], goals.end[g])
            if gap < distance[c]:
                distance[c], following[c] = gap, -1 - g
    done = np.zeros(count, np.bool_)
    for _ in range(count):
        i = -1
        for j in range(count):
            if not done[j] and distance[j] < np.inf and (i == -1 or distance[j] < distance[i]):
                i = j
        if i == -1:
            break
        done[i] = True
        for e in range(graph.first[i], graph.first[i + 1]):
            j = graph.target[e]
            if distance[i] + graph.length[e] < distance[j]:
                distance[j], following[j] = distance[i] + graph.length[e], i
    return GoalTree(distance, following)


@compiled_exactly
def goal_behind(tree: GoalTree, step: int) -> int:
    """The goal that a first step leads to."""
    while step >= 0:
        step = tree.following[step]
    return -1 - step


@compiled_exactly
def shortest_way(
    floor: Floor, graph: VisibilityGraph, goals: Goals, tree: GoalTree, p: int, place: Array
) -> tuple[float, int]:
    """Distance from a place on polygon p to the nearest goal, and where the path goes first.

    The step is a corner, -1 - g for goal g in plain sight, or NOWHERE.
    """
    best, step, seen = np.inf, NOWHERE, _room_to_see(floor)
    for s in range(look_around(floor, graph.corner, p, place, seen)):
        c = seen[s]
        if tree.distance[c] < best:
            length = _between(graph.place[c], place) + tree.distance[c]
            if length < best:
                best, step = length, c
    gaps = np.empty(len(goals.polygon))
    for g in range(len(gaps)):
        same = goals.polygon[g] != -1 and floor.island[goals.polygon[g]] == floor.island[p]
        gaps[g] = _between(place, goals.end[g]) if same else np.inf
    while len(gaps):
        g = int(np.argmin(gaps))
        if not gaps[g] < best:
            break
        if line_of_sight(floor, p, place, goals.polygon[g], goals.end[g]):
            return gaps[g], -1 - g
        gaps[g] = np.inf
    return best, step

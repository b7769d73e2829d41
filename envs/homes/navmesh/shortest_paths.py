"""Exact shortest paths on a navmesh: straight lines that bend only at corners of its walls.

A visibility graph over those corners is made once per navmesh, a shortest-path tree once per set of goals (Dijkstra),
and a distance is then one look around from where the agent stands (Lozano-Perez & Wesley 1979; the look around walks
from polygon to polygon, as in Cui et al. 2017, "Compromise-free pathfinding on a navigation mesh"). Habitat's own
geodesics (`geodesics`) are the same paths or slightly longer ones. Lengths are 3-D.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.geodesics import Goals
from embodia.envs.homes.navmesh.navmesh import NavMesh

Array = NDArray[Any]

TOUCH = 1e-6  # [m2], how far beside a line of sight a corner may lie and still be seen
DEPTH = 1024  # views waiting at once
ACROSS = 10_000  # polygons that a line of sight may cross
NOWHERE = -(2**31)


class VisibilityGraph(NamedTuple):
    """Which corners see each other."""

    corner: Array  # (K,) int64 vertex of each corner
    of_vertex: Array  # (V,) int64 corner of each vertex, -1 = none
    first: Array  # (K + 1,) int64
    target: Array  # (E,) int64 corners
    length: Array  # (E,) float64 [m]


class GoalField(NamedTuple):
    """Distances from every corner to the nearest of some goals."""

    goals: Array  # (G, 3) float64 [m] on the navmesh
    polygon: Array  # (G,) int64
    number: Array  # (G,) int64, which of the goals asked for
    distance: Array  # (K,) float64 [m], inf = unreachable
    following: Array  # (K,) int64: next corner, or -1 - g for goal g


@compiled_exactly
def side(ax: float, az: float, bx: float, bz: float, px: float, pz: float) -> float:
    """Twice the signed area of a, b, p in plan: negative where p lies on the inner side of a polygon's edge ab."""
    return (bx - ax) * (pz - az) - (px - ax) * (bz - az)


@compiled_exactly
def _entry(mesh: NavMesh, p: int, edge: int) -> int:
    """The number of edge `edge` of polygon p in the polygon beyond it."""
    other, end = mesh.neighbours[p, edge], mesh.polygons[p, (edge + 1) % mesh.sides[p]]
    k = 0
    while mesh.neighbours[other, k] != p or mesh.polygons[other, k] != end:
        k += 1
    return k


@compiled_exactly
def _look_through(
    mesh: NavMesh,
    of_vertex: Array,
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
    a, b = mesh.rings[p, edge], mesh.rings[p, edge + 1]
    stack_p[0, 0], stack_p[0, 1] = p, edge
    stack_v[0, 0], stack_v[0, 1], stack_v[0, 2], stack_v[0, 3] = b[0] - sx, b[2] - sz, a[0] - sx, a[2] - sz
    size = 1
    while size:
        size -= 1
        p, edge = stack_p[size, 0], stack_p[size, 1]
        rx, rz, lx, lz = stack_v[size, 0], stack_v[size, 1], stack_v[size, 2], stack_v[size, 3]
        other = mesh.neighbours[p, edge]
        if other == -1:
            continue
        entry, sides = _entry(mesh, p, edge), mesh.sides[other]
        # From the left end of the edge around the polygon to its right end.
        for step in range(1, sides):
            k = (entry + step) % sides
            a, b = mesh.rings[other, k], mesh.rings[other, k + 1]
            ax, az, bx, bz = a[0] - sx, a[2] - sz, b[0] - sx, b[2] - sz
            if step > 1 and count < len(seen):
                corner_here = of_vertex[mesh.polygons[other, k]]
                if corner_here != -1 and rx * az - rz * ax >= -TOUCH and ax * lz - az * lx >= -TOUCH:
                    seen[count] = corner_here
                    count += 1
            qx, qz = (bx, bz) if rx * bz - rz * bx >= 0 else (rx, rz)
            wx, wz = (ax, az) if ax * lz - az * lx >= 0 else (lx, lz)
            if qx * wz - qz * wx > 0 and size < DEPTH:
                stack_p[size, 0], stack_p[size, 1] = other, k
                stack_v[size, 0], stack_v[size, 1], stack_v[size, 2], stack_v[size, 3] = qx, qz, wx, wz
                size += 1
    return count


@compiled_exactly
def _inside(mesh: NavMesh, p: int, place: Array) -> tuple[float, float]:
    """`place`, a hair inside polygon p, so that no line of sight starts along an edge."""
    x, z = 0.0, 0.0
    for k in range(mesh.sides[p]):
        x += mesh.rings[p, k, 0] / mesh.sides[p]
        z += mesh.rings[p, k, 2] / mesh.sides[p]
    return place[0] + 1e-5 * (x - place[0]), place[2] + 1e-5 * (z - place[2])


@compiled_exactly
def look_around(mesh: NavMesh, of_vertex: Array, p: int, place: Array, seen: Array) -> int:
    """Corners seen from a place on polygon p: fills `seen` and returns how many (some may come twice)."""
    stack_p, stack_v = np.empty((DEPTH, 2), np.int64), np.empty((DEPTH, 4))
    sx, sz = _inside(mesh, p, place)
    count = np.int64(0)
    for k in range(mesh.sides[p]):
        here = of_vertex[mesh.polygons[p, k]]
        if here != -1:
            seen[count] = here
            count += 1
        count = _look_through(mesh, of_vertex, p, k, sx, sz, seen, count, stack_p, stack_v)
    return int(count)


@compiled_exactly
def line_of_sight(mesh: NavMesh, p: int, place: Array, goal_p: int, goal: Array) -> bool:
    """Whether the straight line from a place on polygon p to a goal on polygon goal_p stays on the mesh."""
    sx, sz = _inside(mesh, p, place)
    gx, gz = _inside(mesh, goal_p, goal)
    entry = -1
    for _ in range(ACROSS):
        if p == goal_p:
            return True
        leave = -1
        for k in range(mesh.sides[p]):
            if k == entry:
                continue
            a, b = mesh.rings[p, k], mesh.rings[p, k + 1]
            to_left, to_right = side(sx, sz, gx, gz, a[0], a[2]), side(sx, sz, gx, gz, b[0], b[2])
            if to_left >= 0 and to_right <= 0 and side(a[0], a[2], b[0], b[2], gx, gz) > 0:
                leave = k
                break
        if leave == -1 or mesh.neighbours[p, leave] == -1:
            return False  # at a wall, or over the goal on another storey
        entry = _entry(mesh, p, leave)
        p = mesh.neighbours[p, leave]
    return False


@compiled_exactly
def _graph(
    mesh: NavMesh, vertex: Array, of_vertex: Array, fan_first: Array, fan_polygon: Array, fan_corner: Array
) -> tuple[Array, Array, Array]:
    n = len(vertex)
    stack_p, stack_v = np.empty((DEPTH, 2), np.int64), np.empty((DEPTH, 4))
    seen, mark = np.empty(16 * len(mesh.vertices) + 64, np.int64), np.full(n, -1, np.int64)
    first = np.zeros(n + 1, np.int64)
    targets = [np.int64(0)][:0]
    for i in range(n):
        v = vertex[i]
        sx, sz = float(mesh.vertices[v, 0]), float(mesh.vertices[v, 2])
        count = np.int64(0)
        for m in range(fan_first[v], fan_first[v + 1]):
            p, k = fan_polygon[m], fan_corner[m]
            sides = mesh.sides[p]
            for step in range(1, sides):
                near = of_vertex[mesh.polygons[p, (k + step) % sides]]
                if near != -1:
                    seen[count] = near
                    count += 1
            for step in range(1, sides - 1):
                edge = (k + step) % sides
                count = _look_through(mesh, of_vertex, p, edge, sx, sz, seen, count, stack_p, stack_v)
        mark[i] = i
        for s in range(count):
            j = seen[s]
            if mark[j] != i:
                mark[j] = i
                targets.append(j)
        first[i + 1] = len(targets)
    target = np.array(targets, np.int64)
    length = np.empty(len(target))
    for i in range(n):
        for e in range(first[i], first[i + 1]):
            a, b = mesh.vertices[vertex[i]], mesh.vertices[vertex[target[e]]]
            length[e] = _between(a, float(b[0]), float(b[1]), float(b[2]))
    return first, target, length


@compiled_exactly
def _between(place: Array, x: float, y: float, z: float) -> float:
    """Length of the straight line [m] in float64."""
    dx, dy, dz = place[0] - x, place[1] - y, place[2] - z
    return np.sqrt(dx * dx + dy * dy + dz * dz)


def visibility_graph(mesh: NavMesh) -> VisibilityGraph:
    """The graph of a navmesh's bending corners: wall vertices with at least a half turn of floor around them."""
    vertex = np.flatnonzero(_wall_vertices(mesh) & (_floor_angle(mesh) >= np.pi - 1e-6)).astype(np.int64)
    of_vertex = np.full(len(mesh.vertices), -1, np.int64)
    of_vertex[vertex] = np.arange(len(vertex))
    polygon, at = np.nonzero(mesh.polygons >= 0)
    flat = mesh.polygons[polygon, at]
    order = np.argsort(flat, kind="stable")
    fan_first = np.searchsorted(flat[order], np.arange(len(mesh.vertices) + 1)).astype(np.int64)
    first, target, length = _graph(mesh, vertex, of_vertex, fan_first, polygon[order], at[order])
    return VisibilityGraph(vertex, of_vertex, first, target, length)


def _rings(mesh: NavMesh) -> tuple[Array, Array, Array]:
    """(P, 6) vertex before each corner, at it and behind it; -1 beyond the last corner."""
    p, k = np.nonzero(mesh.polygons >= 0)
    before, behind = np.full((2, *mesh.polygons.shape), -1, np.int64)
    behind[p, k] = mesh.polygons[p, (k + 1) % mesh.sides[p]]
    before[p, k] = mesh.polygons[p, (k - 1) % mesh.sides[p]]
    return before, mesh.polygons, behind


def _wall_vertices(mesh: NavMesh) -> Array:
    _, here, behind = _rings(mesh)
    wall = (mesh.neighbours == -1) & (here >= 0)
    on_wall = np.zeros(len(mesh.vertices), bool)
    on_wall[here[wall]] = on_wall[behind[wall]] = True
    return on_wall


def _floor_angle(mesh: NavMesh) -> Array:
    """(V,) sum of the angles [rad] of the polygons at each vertex, in plan."""
    before, here, behind = (ring[mesh.polygons >= 0] for ring in _rings(mesh))
    plan = mesh.vertices[:, [0, 2]].astype(np.float64)
    to_next, to_last = plan[behind] - plan[here], plan[before] - plan[here]
    cross = to_next[:, 0] * to_last[:, 1] - to_next[:, 1] * to_last[:, 0]
    angle = np.arctan2(np.abs(cross), (to_next * to_last).sum(axis=-1))
    return np.bincount(here, angle, minlength=len(mesh.vertices))


@compiled_exactly
def _tree(
    mesh: NavMesh,
    graph: VisibilityGraph,
    goals: Array,
    polygons: Array,
    distance: Array,
    following: Array,
    seen: Array,
) -> None:
    """Dijkstra over the corners, from those that see a goal."""
    count = len(graph.corner)
    for g in range(len(goals)):
        for s in range(look_around(mesh, graph.of_vertex, polygons[g], goals[g], seen)):
            c = seen[s]
            gap = _between(mesh.vertices[graph.corner[c]], goals[g, 0], goals[g, 1], goals[g, 2])
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


def goal_field(mesh: NavMesh, graph: VisibilityGraph, goals: Goals) -> GoalField:
    """Shortest-path tree towards goals; those off the mesh are left out."""
    number = np.flatnonzero(goals.polygon != -1).astype(np.int64)
    places, on = np.ascontiguousarray(goals.place[number], np.float64), goals.polygon[number]
    count = len(graph.corner)
    distance, following = np.full(count, np.inf), np.full(count, NOWHERE, np.int64)
    _tree(mesh, graph, places, on, distance, following, seen_buffer(mesh))
    return GoalField(places, on, number, distance, following)


def seen_buffer(mesh: NavMesh) -> Array:
    """Room for all the corners that `look_around` may report."""
    return np.empty(16 * len(mesh.vertices) + 64, np.int64)


@compiled_exactly
def nearest_goal(
    mesh: NavMesh, graph: VisibilityGraph, field: GoalField, p: int, place: Array, seen: Array
) -> tuple[float, int]:
    """Distance from a place (3,) float64 on polygon p to the nearest goal, and where the path goes first.

    The step is a corner, -1 - g for goal g in plain sight, or NOWHERE.
    """
    best, step = np.inf, NOWHERE
    for s in range(look_around(mesh, graph.of_vertex, p, place, seen)):
        c = seen[s]
        if field.distance[c] < best:
            at = mesh.vertices[graph.corner[c]]
            length = _between(place, float(at[0]), float(at[1]), float(at[2])) + field.distance[c]
            if length < best:
                best, step = length, c
    gaps = np.empty(len(field.goals))
    for g in range(len(gaps)):
        goal = field.goals[g]
        same = mesh.island[field.polygon[g]] == mesh.island[p]
        gaps[g] = _between(place, goal[0], goal[1], goal[2]) if same else np.inf
    while len(gaps):
        g = int(np.argmin(gaps))
        if not gaps[g] < best:
            break
        if line_of_sight(mesh, p, place, field.polygon[g], field.goals[g]):
            best, step = gaps[g], -1 - g
            break
        gaps[g] = np.inf
    return best, step

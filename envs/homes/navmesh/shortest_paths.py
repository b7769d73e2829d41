"""Exact shortest paths on a navmesh: straight lines that bend only at corners of its walls.

A visibility graph over those corners is made once per navmesh, a shortest-path tree once per set of goals (Dijkstra),
and a distance is then one look around from where the agent stands (Lozano-Perez & Wesley 1979; the look around walks
from triangle to triangle, as in Cui et al. 2017, "Compromise-free pathfinding on a navigation mesh"). habitat-sim's
A* over polygons with string pulling finds the same paths or slightly longer ones. Lengths are 3-D.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.navmesh import NavMesh
from embodia.envs.homes.navmesh.surface import ANY, height_on, project, side, try_step, wall_distance

Array = NDArray[Any]

TOUCH = 1e-6  # [m2], how far beside a line of sight a corner may lie and still be seen
DEPTH = 1024  # views waiting at once
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
    goal_triangle: Array  # (G,) int64
    goal_index: Array  # (G,) int64, which of the goals asked for
    distance: Array  # (K,) float64 [m], inf = unreachable
    following: Array  # (K,) int64: next corner, or -1 - g for goal g


@compiled_exactly
def _look(
    mesh: NavMesh,
    of_vertex: Array,
    t: int,
    edge: int,
    sx: float,
    sz: float,
    rx: float,
    rz: float,
    lx: float,
    lz: float,
    seen: Array,
    count: int,
    stack_t: Array,
    stack_v: Array,
) -> int:
    """Add the corners seen from (sx, sz) through `edge` of triangle t between the rays r and l; returns the count."""
    stack_t[0, 0], stack_t[0, 1] = t, edge
    stack_v[0, 0], stack_v[0, 1], stack_v[0, 2], stack_v[0, 3] = rx, rz, lx, lz
    size = 1
    while size:
        size -= 1
        t, edge = stack_t[size, 0], stack_t[size, 1]
        rx, rz, lx, lz = stack_v[size, 0], stack_v[size, 1], stack_v[size, 2], stack_v[size, 3]
        other = mesh.neighbours[t, edge]
        if other == -1:
            continue
        entry = 0
        while mesh.neighbours[other, entry] != t or mesh.triangles[other, entry] != mesh.triangles[t, (edge + 1) % 3]:
            entry += 1
        apex = mesh.triangles[other, (entry + 2) % 3]
        cx, cz = mesh.vertices[apex, 0] - sx, mesh.vertices[apex, 2] - sz
        from_right, to_left = rx * cz - rz * cx, cx * lz - cz * lx
        if of_vertex[apex] != -1 and from_right >= -TOUCH and to_left >= -TOUCH and count < len(seen):
            seen[count] = of_vertex[apex]
            count += 1
        # Beyond the near edge's right end lies the edge right end -> apex, beyond its left end apex -> left end.
        qx, qz = (cx, cz) if to_left >= 0 else (lx, lz)
        if rx * qz - rz * qx > 0 and size < DEPTH:
            stack_t[size, 0], stack_t[size, 1] = other, (entry + 1) % 3
            stack_v[size, 0], stack_v[size, 1], stack_v[size, 2], stack_v[size, 3] = rx, rz, qx, qz
            size += 1
        qx, qz = (cx, cz) if from_right >= 0 else (rx, rz)
        if qx * lz - qz * lx > 0 and size < DEPTH:
            stack_t[size, 0], stack_t[size, 1] = other, (entry + 2) % 3
            stack_v[size, 0], stack_v[size, 1], stack_v[size, 2], stack_v[size, 3] = qx, qz, lx, lz
            size += 1
    return count


@compiled_exactly
def _look_through(
    mesh: NavMesh,
    of_vertex: Array,
    t: int,
    edge: int,
    sx: float,
    sz: float,
    seen: Array,
    count: int,
    stack_t: Array,
    stack_v: Array,
) -> int:
    a, b = mesh.triangles[t, edge], mesh.triangles[t, (edge + 1) % 3]
    rx, rz = mesh.vertices[a, 0] - sx, mesh.vertices[a, 2] - sz
    lx, lz = mesh.vertices[b, 0] - sx, mesh.vertices[b, 2] - sz
    return _look(mesh, of_vertex, t, edge, sx, sz, rx, rz, lx, lz, seen, count, stack_t, stack_v)


@compiled_exactly
def _inside(mesh: NavMesh, t: int, place: Array) -> tuple[float, float]:
    """`place`, a hair inside triangle t, so that no line of sight starts along an edge."""
    x, z = 0.0, 0.0
    for k in range(3):
        x += mesh.vertices[mesh.triangles[t, k], 0] / 3
        z += mesh.vertices[mesh.triangles[t, k], 2] / 3
    return place[0] + 1e-5 * (x - place[0]), place[2] + 1e-5 * (z - place[2])


@compiled_exactly
def look_around(mesh: NavMesh, of_vertex: Array, t: int, place: Array, seen: Array) -> int:
    """Corners seen from a place on triangle t: fills `seen` and returns how many (some may come twice)."""
    stack_t, stack_v = np.empty((DEPTH, 2), np.int64), np.empty((DEPTH, 4))
    sx, sz = _inside(mesh, t, place)
    count = np.int64(0)
    for k in range(3):
        corner = of_vertex[mesh.triangles[t, k]]
        if corner != -1:
            seen[count] = corner
            count += 1
        count = _look_through(mesh, of_vertex, t, k, sx, sz, seen, count, stack_t, stack_v)
    return int(count)


@compiled_exactly
def line_of_sight(mesh: NavMesh, t: int, place: Array, goal_t: int, goal: Array) -> bool:
    """Whether the straight line from a place on triangle t to a goal on triangle goal_t stays on the mesh."""
    sx, sz = _inside(mesh, t, place)
    gx, gz = _inside(mesh, goal_t, goal)
    edge = -1
    for _ in range(10000):
        if t == goal_t:
            return True
        leave = -1
        for k in range(3):
            if k == edge:
                continue
            a, b = mesh.vertices[mesh.triangles[t, k]], mesh.vertices[mesh.triangles[t, (k + 1) % 3]]
            right, left = side(sx, sz, gx, gz, a[0], a[2]), side(sx, sz, gx, gz, b[0], b[2])
            if right <= 0 and left >= 0 and side(a[0], a[2], b[0], b[2], gx, gz) < 0:
                leave = k
                break
        if leave == -1:
            # The goal lies over this triangle: the same one, or one of another storey.
            return abs(height_on(mesh, t, gx, gz) - goal[1]) < mesh.climb + 1e-3
        other = mesh.neighbours[t, leave]
        if other == -1:
            return False
        edge = 0
        while mesh.neighbours[other, edge] != t or mesh.triangles[other, edge] != mesh.triangles[t, (leave + 1) % 3]:
            edge += 1
        t = other
    return False


@compiled_exactly
def _graph(
    mesh: NavMesh, corner: Array, of_vertex: Array, fan_first: Array, fan_triangle: Array, fan_corner: Array
) -> tuple[Array, Array, Array]:
    n = len(corner)
    stack_t, stack_v = np.empty((DEPTH, 2), np.int64), np.empty((DEPTH, 4))
    seen, mark = np.empty(16 * len(mesh.vertices) + 64, np.int64), np.full(n, -1, np.int64)
    first = np.zeros(n + 1, np.int64)
    targets = [np.int64(0)][:0]
    for i in range(n):
        v = corner[i]
        sx, sz = mesh.vertices[v, 0], mesh.vertices[v, 2]
        count = np.int64(0)
        for m in range(fan_first[v], fan_first[v + 1]):
            t, k = fan_triangle[m], fan_corner[m]
            for step in (1, 2):
                near = of_vertex[mesh.triangles[t, (k + step) % 3]]
                if near != -1:
                    seen[count] = near
                    count += 1
            count = _look_through(mesh, of_vertex, t, (k + 1) % 3, sx, sz, seen, count, stack_t, stack_v)
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
            difference = mesh.vertices[corner[i]] - mesh.vertices[corner[target[e]]]
            length[e] = np.sqrt((difference * difference).sum())
    return first, target, length


def visibility_graph(mesh: NavMesh) -> VisibilityGraph:
    """The graph of a navmesh's bending corners: wall vertices with at least a half turn of floor around them."""
    corner = np.flatnonzero(_wall_vertices(mesh) & (_floor_angle(mesh) >= np.pi - 1e-6)).astype(np.int64)
    of_vertex = np.full(len(mesh.vertices), -1, np.int64)
    of_vertex[corner] = np.arange(len(corner))
    flat = mesh.triangles.ravel()
    order = np.argsort(flat, kind="stable").astype(np.int64)
    fan_first = np.searchsorted(flat[order], np.arange(len(mesh.vertices) + 1)).astype(np.int64)
    first, target, length = _graph(mesh, corner, of_vertex, fan_first, order // 3, order % 3)
    return VisibilityGraph(corner, of_vertex, first, target, length)


def _wall_vertices(mesh: NavMesh) -> Array:
    on_wall = np.zeros(len(mesh.vertices), bool)
    t, k = np.nonzero(mesh.neighbours == -1)
    on_wall[mesh.triangles[t, k]] = on_wall[mesh.triangles[t, (k + 1) % 3]] = True
    return on_wall


def _floor_angle(mesh: NavMesh) -> Array:
    """(V,) sum of the angles [rad] of the triangles at each vertex, in plan."""
    plan = mesh.vertices[:, [0, 2]][mesh.triangles]
    to_next, to_last = np.roll(plan, -1, axis=1) - plan, np.roll(plan, 1, axis=1) - plan
    cross = to_next[..., 0] * to_last[..., 1] - to_next[..., 1] * to_last[..., 0]
    angle = np.arctan2(np.abs(cross), (to_next * to_last).sum(axis=-1))
    return np.bincount(mesh.triangles.ravel(), angle.ravel(), minlength=len(mesh.vertices))


@compiled_exactly
def _tree(
    mesh: NavMesh,
    graph: VisibilityGraph,
    goals: Array,
    triangles: Array,
    distance: Array,
    following: Array,
    seen: Array,
) -> None:
    """Dijkstra over the corners, from those that see a goal."""
    count = len(graph.corner)
    for g in range(len(goals)):
        for s in range(look_around(mesh, graph.of_vertex, triangles[g], goals[g], seen)):
            c = seen[s]
            gap = 0.0
            for k in range(3):
                gap += (mesh.vertices[graph.corner[c], k] - goals[g, k]) ** 2
            if np.sqrt(gap) < distance[c]:
                distance[c], following[c] = np.sqrt(gap), -1 - g
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


def goal_field(mesh: NavMesh, graph: VisibilityGraph, goals: Array, triangles: Array) -> GoalField:
    """Shortest-path tree towards goals (G, 3) that lie on triangles (G,); triangle -1 = not on the mesh, left out."""
    index = np.flatnonzero(triangles != -1).astype(np.int64)
    places, on = np.ascontiguousarray(goals[index], np.float64), triangles[index].astype(np.int64)
    count = len(graph.corner)
    distance, following = np.full(count, np.inf), np.full(count, NOWHERE, np.int64)
    _tree(mesh, graph, places, on, distance, following, seen_buffer(mesh))
    return GoalField(places, on, index, distance, following)


def seen_buffer(mesh: NavMesh) -> Array:
    """Room for all the corners that `look_around` may report."""
    return np.empty(16 * len(mesh.vertices) + 64, np.int64)


@compiled_exactly
def nearest_goal(
    mesh: NavMesh, corner: Array, of_vertex: Array, field: GoalField, t: int, place: Array, seen: Array
) -> tuple[float, int]:
    """Distance from a place on triangle t to the nearest goal, and where the path goes first.

    The step is a corner, -1 - g for goal g in plain sight, or NOWHERE.
    """
    best, step = np.inf, NOWHERE
    for s in range(look_around(mesh, of_vertex, t, place, seen)):
        c = seen[s]
        if field.distance[c] < best:
            v = corner[c]
            dx, dy, dz = mesh.vertices[v, 0] - place[0], mesh.vertices[v, 1] - place[1], mesh.vertices[v, 2] - place[2]
            length = np.sqrt(dx * dx + dy * dy + dz * dz) + field.distance[c]
            if length < best:
                best, step = length, c
    gaps = np.empty(len(field.goals))
    for g in range(len(gaps)):
        same = mesh.island[field.goal_triangle[g]] == mesh.island[t]
        gaps[g] = np.sqrt(((field.goals[g] - place) ** 2).sum()) if same else np.inf
    while len(gaps):
        g = int(np.argmin(gaps))
        if not gaps[g] < best:
            break
        if line_of_sight(mesh, t, place, field.goal_triangle[g], field.goals[g]):
            best, step = gaps[g], -1 - g
            break
        gaps[g] = np.inf
    return best, step


@compiled_exactly
def probe_steps(
    mesh: NavMesh,
    corner: Array,
    of_vertex: Array,
    field: GoalField,
    start: Array,
    targets: Array,
    sliding: bool,
    radius: float,
    seen: Array,
) -> tuple[Array, Array, Array]:
    """Filtered steps from `start` to each target (M, 3): where they end, how far walls are there (at most `radius`
    [m]), and how far the nearest goal."""
    ends, clearance, distance = np.empty(targets.shape), np.empty(len(targets)), np.full(len(targets), np.inf)
    for m in range(len(targets)):
        ends[m] = try_step(mesh, start, targets[m], sliding)
        clearance[m] = wall_distance(mesh, ends[m], radius)[0]
        t, place = project(mesh, ends[m], ANY)
        if t != -1:
            distance[m] = nearest_goal(mesh, corner, of_vertex, field, t, place, seen)[0]
    return ends, clearance, distance

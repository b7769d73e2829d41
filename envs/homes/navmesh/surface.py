"""Questions about one place on a navmesh: where it is, where a step leads, how far the next wall is.

These are Detour's `findNearestPoly`, `moveAlongSurface` and `findDistanceToWall` with habitat-sim's use of them
(`PathFinder::tryStep`), on triangles. Distances in plan are in (x, z); triangles turn so that `_side` of an inner
point is positive along each edge.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.navmesh import GRID_CELL, NavMesh

Array = NDArray[Any]

ANY = np.int64(-1)  # island; a NumPy integer, since literals would be compiled for one by one
REACH = np.array([2.0, 4.0, 2.0])  # [m], half extents of the box in which a point is projected


@compiled_exactly
def side(ax: float, az: float, bx: float, bz: float, px: float, pz: float) -> float:
    """Twice the signed area of a, b, p in plan: positive where p lies on the inner side of edge ab."""
    return (bx - ax) * (pz - az) - (px - ax) * (bz - az)


@compiled_exactly
def contains(mesh: NavMesh, t: int, x: float, z: float) -> bool:
    """Whether (x, z) lies over triangle t, its edges included."""
    for k in range(3):
        a, b = mesh.vertices[mesh.triangles[t, k]], mesh.vertices[mesh.triangles[t, (k + 1) % 3]]
        if side(a[0], a[2], b[0], b[2], x, z) < 0:
            return False
    return True


@compiled_exactly
def height_on(mesh: NavMesh, t: int, x: float, z: float) -> float:
    """y of triangle t's plane over (x, z) [m]."""
    a, b, c = (
        mesh.vertices[mesh.triangles[t, 0]],
        mesh.vertices[mesh.triangles[t, 1]],
        mesh.vertices[mesh.triangles[t, 2]],
    )
    area = side(a[0], a[2], b[0], b[2], c[0], c[2])
    wb = side(c[0], c[2], a[0], a[2], x, z) / area
    wc = side(a[0], a[2], b[0], b[2], x, z) / area
    return a[1] + wb * (b[1] - a[1]) + wc * (c[1] - a[1])


@compiled_exactly
def on_edge(mesh: NavMesh, t: int, k: int, x: float, z: float) -> tuple[float, float]:
    """Nearest point of edge k of triangle t in plan: squared distance, and its share of the way along the edge."""
    a, b = mesh.vertices[mesh.triangles[t, k]], mesh.vertices[mesh.triangles[t, (k + 1) % 3]]
    dx, dz = b[0] - a[0], b[2] - a[2]
    s = ((x - a[0]) * dx + (z - a[2]) * dz) / (dx * dx + dz * dz)
    s = min(max(s, 0.0), 1.0)
    ex, ez = a[0] + s * dx - x, a[2] + s * dz - z
    return ex * ex + ez * ez, s


@compiled_exactly
def _nearest_on(mesh: NavMesh, t: int, point: Array) -> tuple[float, float, float, float]:
    """Nearest point of triangle t, and Detour's measure of its distance: free within `climb` above or below."""
    if contains(mesh, t, point[0], point[2]):
        y = height_on(mesh, t, point[0], point[2])
        gap = max(abs(y - point[1]) - mesh.climb, 0.0)
        return gap * gap, point[0], y, point[2]
    best, best_k, best_s = np.inf, 0, 0.0
    for k in range(3):
        distance, s = on_edge(mesh, t, k, point[0], point[2])
        if distance < best:
            best, best_k, best_s = distance, k, s
    a, b = mesh.vertices[mesh.triangles[t, best_k]], mesh.vertices[mesh.triangles[t, (best_k + 1) % 3]]
    x, y, z = a[0] + best_s * (b[0] - a[0]), a[1] + best_s * (b[1] - a[1]), a[2] + best_s * (b[2] - a[2])
    return best + (y - point[1]) ** 2, x, y, z


@compiled_exactly
def project(mesh: NavMesh, point: Array, island: int) -> tuple[int, Array]:
    """Triangle nearest to a point and the place on it; triangle -1 if none within REACH. island -1 = any."""
    best, best_t = np.inf, -1
    x, y, z = np.nan, np.nan, np.nan
    rows, columns = int(mesh.grid[2]), int(mesh.grid[3])
    row, column = (
        int(np.floor((point[2] - mesh.grid[1]) / GRID_CELL)),
        int(np.floor((point[0] - mesh.grid[0]) / GRID_CELL)),
    )
    rings = int(np.ceil(REACH[0] / GRID_CELL)) + 1
    for ring in range(rings):
        for r in range(max(row - ring, 0), min(row + ring, rows - 1) + 1):
            for c in range(max(column - ring, 0), min(column + ring, columns - 1) + 1):
                if max(abs(r - row), abs(c - column)) != ring:
                    continue
                cell = r * columns + c
                for m in range(mesh.grid_first[cell], mesh.grid_first[cell + 1]):
                    t = mesh.grid_triangles[m]
                    if island != -1 and mesh.island[t] != island:
                        continue
                    distance, px, py, pz = _nearest_on(mesh, t, point)
                    if distance < best and abs(py - point[1]) <= REACH[1]:
                        best, best_t, x, y, z = distance, t, px, py, pz
        # Whatever lies in the next rings is further away in plan than this ring is wide.
        if best <= (ring * GRID_CELL) ** 2:
            break
    if best_t != -1 and (abs(x - point[0]) > REACH[0] or abs(z - point[2]) > REACH[2]):
        best_t = -1
    return best_t, np.array([x, y, z])


@compiled_exactly
def _crossing(ax: float, az: float, bx: float, bz: float, cx: float, cz: float, dx: float, dz: float) -> float:
    """Share of the way from a to b at which it meets segment cd; -1 if it does not."""
    denominator = (bx - ax) * (dz - cz) - (bz - az) * (dx - cx)
    if denominator == 0:
        return -1.0
    s = ((cx - ax) * (dz - cz) - (cz - az) * (dx - cx)) / denominator
    u = ((cx - ax) * (bz - az) - (cz - az) * (bx - ax)) / denominator
    return s if 0 <= s <= 1 and 0 <= u <= 1 else -1.0


@compiled_exactly
def move_along(mesh: NavMesh, t: int, start: Array, target: Array, sliding: bool) -> tuple[int, Array]:
    """Walk from `start` on triangle t towards `target`: as near as the walls let (sliding), or up to the first wall.

    Searches the triangles around the step, as Detour does; returns the last triangle and the place on it.
    """
    mx, mz = (start[0] + target[0]) / 2, (start[2] + target[2]) / 2
    radius = np.hypot(start[0] - target[0], start[2] - target[2]) / 2 + 0.001
    queue = np.empty(64, np.int64)
    queue[0] = t
    size, at = 1, 0
    best, best_t, x, z = np.inf, t, start[0], start[2]
    stop, stop_t = -1.0, t
    while at < size:
        current = queue[at]
        at += 1
        if contains(mesh, current, target[0], target[2]):
            best_t, x, z = current, target[0], target[2]
            break
        for k in range(3):
            other = mesh.neighbours[current, k]
            if other == -1:
                distance, s = on_edge(mesh, current, k, target[0], target[2])
                a, b = mesh.vertices[mesh.triangles[current, k]], mesh.vertices[mesh.triangles[current, (k + 1) % 3]]
                if distance < best:
                    best, best_t = distance, current
                    x, z = a[0] + s * (b[0] - a[0]), a[2] + s * (b[2] - a[2])
                # Only walls that the step leaves through: whoever touches one may walk away from it.
                if not sliding and side(a[0], a[2], b[0], b[2], target[0], target[2]) < 0:
                    share = _crossing(start[0], start[2], target[0], target[2], a[0], a[2], b[0], b[2])
                    if share > stop:
                        stop, stop_t = share, current
                continue
            if size == len(queue):
                continue
            seen = False
            for q in range(size):
                seen = seen or queue[q] == other
            if not seen and on_edge(mesh, current, k, mx, mz)[0] <= radius * radius:
                queue[size] = other
                size += 1
    if stop >= 0:
        best_t, x, z = stop_t, start[0] + stop * (target[0] - start[0]), start[2] + stop * (target[2] - start[2])
    return best_t, np.array([x, height_on(mesh, best_t, x, z), z])


@compiled_exactly
def try_step(mesh: NavMesh, start: Array, target: Array, sliding: bool) -> Array:
    """Where a step from `start` towards `target` ends (3,); `start` itself if they are not connected."""
    t, origin = project(mesh, start, ANY)
    goal_t, _ = project(mesh, target, ANY)
    if t == -1 or goal_t == -1 or mesh.island[t] != mesh.island[goal_t]:
        return start
    last, end = move_along(mesh, t, origin, target, sliding)
    end_t, _ = project(mesh, end, ANY)
    if end_t == -1 or mesh.island[end_t] != mesh.island[t]:
        # On an edge that touches another island: a hair back into the triangle it belongs to.
        centre = np.zeros(3)
        for k in range(3):
            centre += mesh.vertices[mesh.triangles[last, k]] / 3
        inward = centre - end
        end = end + 1e-4 * inward / np.sqrt((inward * inward).sum())
    return end


@compiled_exactly
def wall_distance(mesh: NavMesh, point: Array, radius: float) -> tuple[float, Array]:
    """Distance to the nearest wall of the island in plan, at most `radius` [m], and the nearest place on it (3,)."""
    t, place = project(mesh, point, ANY)
    best = radius * radius
    hit = np.full(3, np.nan)
    if t == -1:
        return radius, hit
    queue = np.empty(len(mesh.triangles), np.int64)
    seen = np.zeros(len(mesh.triangles), np.bool_)
    queue[0], seen[t] = t, True
    size, at = 1, 0
    while at < size:
        current = queue[at]
        at += 1
        for k in range(3):
            distance, s = on_edge(mesh, current, k, place[0], place[2])
            if distance >= best:
                continue
            other = mesh.neighbours[current, k]
            if other == -1:
                a, b = mesh.vertices[mesh.triangles[current, k]], mesh.vertices[mesh.triangles[current, (k + 1) % 3]]
                best = distance
                hit = a + s * (b - a)
            elif not seen[other]:
                seen[other] = True
                queue[size] = other
                size += 1
    return np.sqrt(best), hit


@compiled_exactly
def navigable(mesh: NavMesh, point: Array, max_y_delta: float) -> bool:
    """habitat-sim's test: on the mesh to 1 cm in plan and within `max_y_delta` [m] in height."""
    t, place = project(mesh, point, ANY)
    if t == -1 or abs(place[1] - point[1]) > max_y_delta:
        return False
    return (place[0] - point[0]) ** 2 + (place[2] - point[2]) ** 2 <= 1e-4


@compiled_exactly
def navigable_grid(mesh: NavMesh, xs: Array, y: float, zs: Array, max_y_delta: float) -> Array:
    """(len(zs), len(xs)) bool: where the mesh is, at height y."""
    free = np.zeros((len(zs), len(xs)), np.bool_)
    point = np.array([0.0, y, 0.0])
    for r in range(len(zs)):
        for c in range(len(xs)):
            point[0], point[2] = xs[c], zs[r]
            free[r, c] = navigable(mesh, point, max_y_delta)
    return free


@compiled_exactly
def sample(mesh: NavMesh, cumulative: Array, t_candidates: Array, uniforms: Array) -> Array:
    """A point spread evenly over the candidate triangles; three uniform numbers in [0, 1)."""
    t = t_candidates[min(np.searchsorted(cumulative, uniforms[0] * cumulative[-1], "right"), len(t_candidates) - 1)]
    root = np.sqrt(uniforms[1])
    a, b, c = (
        mesh.vertices[mesh.triangles[t, 0]],
        mesh.vertices[mesh.triangles[t, 1]],
        mesh.vertices[mesh.triangles[t, 2]],
    )
    return (1 - root) * a + root * (1 - uniforms[2]) * b + root * uniforms[2] * c

"""Heights inside the polygons: Recast's `rcBuildPolyMeshDetail`.

A polygon is flat between its corners; the floor under it need not be. Samples of the cells' heights are taken along its
edges and over its inside, and those that are off by more than the allowed error become corners of a Delaunay
triangulation. All arithmetic is float32 in Recast's order, since ties decide which sample is taken.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly
from embodia.envs.homes.navmesh.heightfield import OpenCells
from embodia.envs.homes.navmesh.polygons import Polygons, sides
from embodia.envs.homes.navmesh.single import FAR, HALF, ONE, TWO, ZERO, single

Array = NDArray[Any]

MOST_POINTS = 127  # of one polygon's triangulation
MOST_TRIANGLES = 255
MOST_SAMPLES = 31  # intervals along one edge
UNKNOWN = 0xFFFF  # height of a cell that no floor of the polygon covers
OPEN, HULL = -1, -2  # beyond an edge of a triangulation: not looked at yet; outside

SAME_X = np.float32(1e-6)  # [m], edges along z
ON_BORDER = np.float32(0.001) * np.float32(0.001)  # [m2]
IN_CELL = np.float32(0.01)  # of a cell: points on a cell's border belong to it
LEFT_OF = np.float32(1e-5)  # [m2], twice the area of a triangle that counts
CIRCLE = np.float32(1e-6)  # [m2], the same for one that has a circumcircle
NEARLY = np.float32(0.001)  # of a circle's radius
WITHIN = np.float32(1e-4)  # barycentric
JITTER = np.float32(0.1)  # of a cell, against symmetric samples
SPREAD = np.float32(65535)


class Detail(NamedTuple):
    """Triangles of each polygon. Corner numbers are the polygon's own, then its extra points'."""

    points: Array  # (D, 3) float32 [m] from the mesh's lowest corner: extra points of all polygons
    first_point: Array  # (P + 1,) int64
    triangles: Array  # (T, 4) int64: three corners, and bit k set where edge k is part of the polygon's border
    first_triangle: Array  # (P + 1,) int64


class Patch(NamedTuple):
    """Heights of the cells around a polygon."""

    x: int  # of its first column
    z: int  # of its first row
    height: Array  # (rows, columns) int64 cells, UNKNOWN where there is none


def detail_mesh(
    polygons: Polygons, cells: OpenCells, region: Array, size: float, height: float, distance: float, error: float
) -> Detail:
    """The detail of all polygons. Lengths in metres: cell size and height, distance of samples, error allowed."""
    size, height, distance, error = (single(value) for value in (size, height, distance, error))
    scale = np.array([size, height, size], np.float32)
    points, triangles = [np.zeros((0, 3), np.float32)], [np.zeros((0, 4), np.int64)]
    for p, polygon in enumerate(polygons.polygons):
        corners = polygons.corners[polygon[: sides(polygon)]]
        patch = _patch(corners, cells, region, int(polygons.region[p]))
        ring = corners.astype(np.float32) * scale
        inner, made = triangulate(ring, patch, size, height, distance, error)
        points.append(inner)
        triangles.append(made)
    counts = [np.cumsum([0, *(len(each) for each in parts[1:])]) for parts in (points, triangles)]
    return Detail(np.concatenate(points), counts[0], np.concatenate(triangles), counts[1])


# --- heights of cells


@compiled_exactly
def _patch(corners: Array, cells: OpenCells, region: Array, number: int) -> Patch:
    """Heights of the polygon's region, spread to the cells around it."""
    rows, columns = (len(cells.first) - 1) // cells.columns, cells.columns
    x0, z0 = max(corners[:, 0].min() - 1, 0), max(corners[:, 2].min() - 1, 0)
    x1, z1 = min(corners[:, 0].max() + 1, columns), min(corners[:, 2].max() + 1, rows)
    patch = Patch(x0, z0, np.full((z1 - z0, x1 - x0), UNKNOWN, np.int64))
    queue = np.empty(patch.height.size + 1, np.int64)
    count = _own_heights(patch, cells, region, number, queue)
    if count == -1:
        queue[0] = _centre(corners, patch, cells)
        count = 1
    at = 0
    while at < count:
        i = queue[at]
        at += 1
        for d in range(4):
            j = cells.neighbour[i, d]
            if j != -1 and _spread(patch, cells, j):
                queue[count] = j
                count += 1
    return patch


@compiled_exactly
def _inside(patch: Patch, cells: OpenCells, i: int) -> tuple[int, int]:
    """Row and column of cell i in the patch; row -1 outside."""
    row, column = cells.column[i] // cells.columns - patch.z, cells.column[i] % cells.columns - patch.x
    if 0 <= row < patch.height.shape[0] and 0 <= column < patch.height.shape[1]:
        return row, column
    return -1, -1


@compiled_exactly
def _spread(patch: Patch, cells: OpenCells, i: int) -> bool:
    """Write down the height of cell i, unless its column has one."""
    row, column = _inside(patch, cells, i)
    if row == -1 or patch.height[row, column] != UNKNOWN:
        return False
    patch.height[row, column] = cells.floor[i]
    return True


@compiled_exactly
def _own_heights(patch: Patch, cells: OpenCells, region: Array, number: int, queue: Array) -> int:
    """Heights of the region's cells. Returns how many lie at its border, now in `queue`; -1 if it has no cells."""
    count, empty = 0, True
    for row in range(patch.height.shape[0]):
        for column in range(patch.height.shape[1]):
            k = (patch.z + row) * cells.columns + patch.x + column
            for i in range(cells.first[k], cells.first[k + 1]):
                if region[i] != number:
                    continue
                patch.height[row, column] = cells.floor[i]
                empty = False
                for d in range(4):
                    j = cells.neighbour[i, d]
                    if j != -1 and region[j] != number:
                        queue[count] = i
                        count += 1
                        break
                break
    return -1 if empty else count


@compiled_exactly
def _nearest_cell(corners: Array, patch: Patch, cells: OpenCells) -> int:
    """The cell beside one of the corners whose height is nearest to the corner's."""
    best, difference = -1, np.int64(0xFFFF)
    for c in range(len(corners)):
        for dx, dz in ((0, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0)):
            row, column = corners[c, 2] + dz - patch.z, corners[c, 0] + dx - patch.x
            if not (0 <= row < patch.height.shape[0] and 0 <= column < patch.height.shape[1]):
                continue
            k = (patch.z + row) * cells.columns + patch.x + column
            for i in range(cells.first[k], cells.first[k + 1]):
                if abs(corners[c, 1] - cells.floor[i]) < difference:
                    best, difference = i, abs(corners[c, 1] - cells.floor[i])
    return best


@compiled_exactly
def _centre(corners: Array, patch: Patch, cells: OpenCells) -> int:
    """For a polygon without cells of its own: the cell at its centre, reached on foot from one of its corners."""
    x, z = corners[:, 0].sum() // len(corners), corners[:, 2].sum() // len(corners)
    seen = np.zeros(patch.height.shape, np.bool_)
    stack = np.empty(seen.size + 1, np.int64)
    stack[0] = i = _nearest_cell(corners, patch, cells)
    size = 1
    order = np.arange(4)
    while size:
        size -= 1
        i = stack[size]
        dx, dz = x - cells.column[i] % cells.columns, z - cells.column[i] // cells.columns
        if dx == 0 and dz == 0:
            break
        towards = (1 if dz > 0 else 3) if dx == 0 else (2 if dx > 0 else 0)
        order[towards], order[3] = order[3], order[towards]
        for d in order:
            j = cells.neighbour[i, d]
            if j == -1:
                continue
            row, column = _inside(patch, cells, j)
            if row != -1 and not seen[row, column]:
                seen[row, column] = True
                stack[size] = j
                size += 1
        order[towards], order[3] = order[3], order[towards]
    row, column = _inside(patch, cells, i)
    patch.height[row, column] = cells.floor[i]
    return i


@compiled_exactly
def _height_at(x: float, y: float, z: float, patch: Patch, inverse_size: float, height: float, rings: int) -> int:
    """Height [cells] of the cell at a place [m]; where it is unknown, that of the cell around it nearest to y."""
    rows, columns = patch.height.shape
    column = min(max(int(np.floor(x * inverse_size + IN_CELL)) - patch.x, 0), columns - 1)
    row = min(max(int(np.floor(z * inverse_size + IN_CELL)) - patch.z, 0), rows - 1)
    best, difference = patch.height[row, column], FAR
    for ring in range(1, rings + 1):
        if best != UNKNOWN:
            break
        # Around the ring from the cell to the right on, downwards first, as Recast's spiral goes.
        dx, dz = ring, 1 - ring
        for _ in range(8 * ring):
            r, c = row + dz, column + dx
            if 0 <= r < rows and 0 <= c < columns and patch.height[r, c] != UNKNOWN:
                off = abs(np.float32(patch.height[r, c]) * height - y)
                if off < difference:
                    best, difference = patch.height[r, c], off
            if dx == ring and dz < ring:
                dz += 1
            elif dz == ring and dx > -ring:
                dx -= 1
            elif dx == -ring and dz > -ring:
                dz -= 1
            else:
                dx += 1
    return best


# --- geometry in plan, float32


@compiled_exactly
def _cross(a: Array, b: Array, c: Array) -> float:
    return (b[0] - a[0]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[0] - a[0])


@compiled_exactly
def _apart(a: Array, b: Array) -> float:
    dx, dz = b[0] - a[0], b[2] - a[2]
    return np.sqrt(dx * dx + dz * dz)


@compiled_exactly
def _to_segment(p: Array, a: Array, b: Array, rise: float) -> float:
    """Squared distance of a point to a segment, in space (`rise` 1) or in plan (`rise` 0)."""
    ux, uy, uz = b[0] - a[0], (b[1] - a[1]) * rise, b[2] - a[2]
    dx, dy, dz = p[0] - a[0], (p[1] - a[1]) * rise, p[2] - a[2]
    length = ux * ux + uy * uy + uz * uz
    t = ux * dx + uy * dy + uz * dz
    if length > ZERO:
        t /= length
    t = min(max(t, ZERO), ONE)
    dx, dy, dz = a[0] + t * ux - p[0], (a[1] + t * uy - p[1]) * rise, a[2] + t * uz - p[2]
    return dx * dx + dy * dy + dz * dz


@compiled_exactly
def _inside_by(ring: Array, p: Array) -> float:
    """Distance of a point to the ring's edges, squared, negative inside."""
    inside, nearest = False, FAR
    for i in range(len(ring)):
        a, b = ring[i], ring[i - 1]
        if (a[2] > p[2]) != (b[2] > p[2]) and p[0] < (b[0] - a[0]) * (p[2] - a[2]) / (b[2] - a[2]) + a[0]:
            inside = not inside
        nearest = min(nearest, _to_segment(p, b, a, ZERO))
    return -nearest if inside else nearest


@compiled_exactly
def _narrowest(ring: Array) -> float:
    """Least width of a convex ring over its edges [m]."""
    n, least = len(ring), FAR
    for i in range(n):
        j, most = (i + 1) % n, ZERO
        for k in range(n):
            if k not in (i, j):
                most = max(most, _to_segment(ring[k], ring[i], ring[j], ZERO))
        least = min(least, most)
    return np.sqrt(least)


@compiled_exactly
def _off_triangle(p: Array, a: Array, b: Array, c: Array) -> float:
    """How far a point lies above or below a triangle [m], FAR beside it."""
    ux, uz, vx, vz, wx, wz = c[0] - a[0], c[2] - a[2], b[0] - a[0], b[2] - a[2], p[0] - a[0], p[2] - a[2]
    uu, uv, uw = ux * ux + uz * uz, ux * vx + uz * vz, ux * wx + uz * wz
    vv, vw = vx * vx + vz * vz, vx * wx + vz * wz
    inverse = ONE / (uu * vv - uv * uv)
    s, t = (vv * uw - uv * vw) * inverse, (uu * vw - uv * uw) * inverse
    if s >= -WITHIN and t >= -WITHIN and s + t <= ONE + WITHIN:
        return abs(a[1] + (c[1] - a[1]) * s + (b[1] - a[1]) * t - p[1])
    return FAR


@compiled_exactly
def _off_mesh(p: Array, points: Array, triangles: Array, count: int) -> float:
    """The least of `_off_triangle` over a triangulation."""
    least = FAR
    for t in range(count):
        least = min(least, _off_triangle(p, points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]))
    return least


@compiled_exactly
def _circumcircle(a: Array, b: Array, c: Array, centre: Array) -> float:
    """Radius, and centre in plan, of the circle through three points; 0 around the first if they lie on a line."""
    bx, bz, cx, cz = b[0] - a[0], b[2] - a[2], c[0] - a[0], c[2] - a[2]
    cross = bx * cz - bz * cx
    if abs(cross) <= CIRCLE:
        centre[0], centre[2] = a[0], a[2]
        return ZERO
    b2, c2 = bx * bx + bz * bz, cx * cx + cz * cz
    x = (b2 * (cz - ZERO) + c2 * (ZERO - bz)) / (TWO * cross)
    z = (b2 * (ZERO - cx) + c2 * (bx - ZERO)) / (TWO * cross)
    centre[0], centre[2] = x + a[0], z + a[2]
    return np.sqrt(x * x + z * z)


# --- triangulation of one polygon


@compiled_exactly
def _edge_points(
    a: Array, b: Array, room: int, patch: Patch, size: float, height: float, distance: float, error: float
) -> Array:
    """Points (n, 3) on the way from a to b at which the floor is off the straight line, in order.

    The edge is looked at in the same direction from both sides, so that neighbours agree.
    """
    swapped = a[2] > b[2] if abs(a[0] - b[0]) < SAME_X else a[0] > b[0]
    if swapped:
        a, b = b, a
    dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    n = min(1 + int(np.floor(np.sqrt(dx * dx + dz * dz) / distance)), MOST_SAMPLES, room)
    if n < 2:
        return np.empty((0, 3), np.float32)
    samples = np.empty((n + 1, 3), np.float32)
    for k in range(n + 1):
        share = np.float32(k) / np.float32(n)
        samples[k, 0], samples[k, 1], samples[k, 2] = a[0] + dx * share, a[1] + dy * share, a[2] + dz * share
        cell = _height_at(samples[k, 0], samples[k, 1], samples[k, 2], patch, ONE / size, height, 2)
        samples[k, 1] = np.float32(cell) * height
    kept = np.empty(n + 1, np.int64)
    kept[0], kept[1] = 0, n
    count, k = 2, 0
    while k < count - 1:
        worst, at = ZERO, -1
        for m in range(kept[k] + 1, kept[k + 1]):
            off = _to_segment(samples[m], samples[kept[k]], samples[kept[k + 1]], ONE)
            if off > worst:
                worst, at = off, m
        if at != -1 and worst > error * error:
            for m in range(count, k + 1, -1):
                kept[m] = kept[m - 1]
            kept[k + 1] = at
            count += 1
        else:
            k += 1
    inner = samples[kept[1 : count - 1]]
    return inner[::-1].copy() if swapped else inner


@compiled_exactly
def _fan(points: Array, hull: Array, corners: int, triangles: Array) -> int:
    """Triangulate a hull from its best ear on, to the left or right by the shorter perimeter; returns the number."""
    n = len(hull)
    start, left, right, least = 0, 1, n - 1, FAR
    for i in range(n):
        if hull[i] >= corners:
            continue  # the middle of a straight edge is no ear
        before, after = points[hull[i - 1]], points[hull[(i + 1) % n]]
        around = _apart(before, points[hull[i]]) + _apart(points[hull[i]], after) + _apart(after, before)
        if around < least:
            start, left, right, least = i, (i + 1) % n, (i - 1) % n, around
    triangles[0, 0], triangles[0, 1], triangles[0, 2] = hull[start], hull[left], hull[right]
    count = 1
    while (left + 1) % n != right:
        on_left, on_right = (left + 1) % n, (right - 1) % n
        a, b = points[hull[left]], points[hull[right]]
        by_left = _apart(a, points[hull[on_left]]) + _apart(points[hull[on_left]], b)
        by_right = _apart(b, points[hull[on_right]]) + _apart(a, points[hull[on_right]])
        triangles[count, 0], triangles[count, 2] = hull[left], hull[right]
        triangles[count, 1] = hull[on_left] if by_left < by_right else hull[on_right]
        if by_left < by_right:
            left = on_left
        else:
            right = on_right
        count += 1
    return count


@compiled_exactly
def _find_edge(edges: Array, count: int, s: int, t: int) -> int:
    for e in range(count):
        if (edges[e, 0] == s and edges[e, 1] == t) or (edges[e, 0] == t and edges[e, 1] == s):
            return e
    return -1


@compiled_exactly
def _set_face(edge: Array, s: int, t: int, face: int) -> None:
    """What lies to the left of the way from s to t along an edge."""
    if edge[0] == s and edge[1] == t and edge[2] == OPEN:
        edge[2] = face
    elif edge[1] == s and edge[0] == t and edge[3] == OPEN:
        edge[3] = face


@compiled_exactly
def _overlaps(points: Array, edges: Array, count: int, s: int, t: int) -> bool:
    """Whether the segment from s to t crosses an edge that it does not share an end with."""
    for e in range(count):
        a, b = edges[e, 0], edges[e, 1]
        if s in (a, b) or t in (a, b):
            continue
        a1, a2 = _cross(points[a], points[b], points[t]), _cross(points[a], points[b], points[s])
        if a1 * a2 < ZERO:
            a3 = _cross(points[s], points[t], points[a])
            if a3 * (a3 + a2 - a1) < ZERO:
                return True
    return False


@compiled_exactly
def _third_corner(points: Array, count: int, edges: Array, used: int, s: int, t: int) -> int:
    """The point that makes a Delaunay triangle to the left of the edge from s to t; -1 if there is none."""
    best, radius, centre = -1, -ONE, np.zeros(3, np.float32)
    for u in range(count):
        if u in (s, t) or _cross(points[s], points[t], points[u]) <= LEFT_OF:
            continue
        if radius >= ZERO:
            away = _apart(centre, points[u])
            if away > radius * (ONE + NEARLY):
                continue
            on_circle = not away < radius * (ONE - NEARLY)
            if on_circle and (_overlaps(points, edges, used, s, u) or _overlaps(points, edges, used, t, u)):
                continue
        best = u
        radius = _circumcircle(points[s], points[t], points[u], centre)
    return best


@compiled_exactly
def _complete(points: Array, count: int, edges: Array, used: int, e: int, face: int) -> int:
    """Put triangle number `face` on the open side of edge e if there is one; returns the number of edges."""
    s, t = (edges[e, 0], edges[e, 1]) if edges[e, 2] == OPEN else (edges[e, 1], edges[e, 0])
    u = _third_corner(points, count, edges, used, s, t)
    if u == -1:
        _set_face(edges[e], s, t, HULL)
        return used
    _set_face(edges[e], s, t, face)
    for a, b in ((u, s), (t, u)):
        other = _find_edge(edges, used, a, b)
        if other != -1:
            _set_face(edges[other], a, b, face)
        elif used < len(edges):
            edges[used, 0], edges[used, 1], edges[used, 2], edges[used, 3] = a, b, face, OPEN
            used += 1
    return used


@compiled_exactly
def _add_corners(triangle: Array, a: int, b: int) -> None:
    """One more edge of a triangle, from a to b."""
    if triangle[0] == -1:
        triangle[0], triangle[1] = a, b
    elif triangle[0] == b:
        triangle[2] = a
    elif triangle[1] == a:
        triangle[2] = b


@compiled_exactly
def _delaunay(points: Array, count: int, hull: Array, triangles: Array) -> int:
    """Delaunay triangulation of points inside a hull; returns the number of triangles."""
    edges = np.empty((10 * count, 4), np.int64)
    used, faces = 0, 0
    for i in range(len(hull)):
        if _find_edge(edges, used, hull[i - 1], hull[i]) == -1:
            edges[used, 0], edges[used, 1], edges[used, 2], edges[used, 3] = hull[i - 1], hull[i], HULL, OPEN
            used += 1
    e = 0
    while e < used:
        for side in (2, 3):
            if edges[e, side] == OPEN:
                used = _complete(points, count, edges, used, e, faces)
                faces += edges[e, side] == faces
        e += 1
    made = np.full((faces, 3), -1, np.int64)
    for e in range(used):
        if edges[e, 3] >= 0:
            _add_corners(made[edges[e, 3]], edges[e, 0], edges[e, 1])
        if edges[e, 2] >= 0:
            _add_corners(made[edges[e, 2]], edges[e, 1], edges[e, 0])
    t = 0
    while t < faces:  # what dangles is replaced by the last one
        if made[t].min() == -1:
            faces -= 1
            made[t] = made[faces]
        else:
            t += 1
    triangles[:faces, :3] = made[:faces]
    return faces


@compiled_exactly
def _hull(
    ring: Array, patch: Patch, size: float, height: float, distance: float, error: float, points: Array, hull: Array
) -> tuple[int, int]:
    """The ring with extra points along its edges: fills `points` and `hull`, returns their lengths."""
    count, around = len(ring), 0
    points[:count] = ring
    for i in range(len(ring)):
        before = i - 1 if i else len(ring) - 1
        hull[around] = before
        around += 1
        extra = _edge_points(ring[before], ring[i], MOST_POINTS - 1 - count, patch, size, height, distance, error)
        for k in range(len(extra)):
            points[count], hull[around] = extra[k], count
            count, around = count + 1, around + 1
    return count, around


@compiled_exactly
def _samples(ring: Array, patch: Patch, size: float, height: float, distance: float) -> Array:
    """(n, 3) float32: places on a grid inside the ring with the floor's height there, slightly out of line."""
    low, high = ring[0].copy(), ring[0].copy()
    for i in range(1, len(ring)):
        for axis in range(3):
            low[axis], high[axis] = min(low[axis], ring[i, axis]), max(high[axis], ring[i, axis])
    x0, x1 = int(np.floor(low[0] / distance)), int(np.ceil(high[0] / distance))
    z0, z1 = int(np.floor(low[2] / distance)), int(np.ceil(high[2] / distance))
    samples = np.empty(((x1 - x0) * (z1 - z0), 3), np.float32)
    place = np.empty(3, np.float32)
    place[1] = (high[1] + low[1]) * HALF
    n = 0
    for z in range(z0, z1):
        for x in range(x0, x1):
            place[0], place[2] = np.float32(x) * distance, np.float32(z) * distance
            if _inside_by(ring, place) > -distance / TWO:
                continue
            cell = _height_at(place[0], place[1], place[2], patch, ONE / size, height, 2)
            samples[n, 0] = place[0] + _jitter(n * 0x8DA6B343) * size * JITTER
            samples[n, 1] = np.float32(cell) * height
            samples[n, 2] = place[2] + _jitter(n * 0xD8163841) * size * JITTER
            n += 1
    return samples[:n]


@compiled_exactly
def _jitter(hashed: int) -> float:
    """The low 16 bits as a number from -1 to 1."""
    low: Any = np.float32(hashed & 0xFFFF)
    return low / SPREAD * TWO - ONE


@compiled_exactly
def _worst_sample(samples: Array, added: Array, points: Array, triangles: Array, count: int, error: float) -> int:
    """The sample furthest off the triangulation by more than `error` [m], -1 if there is none."""
    worst, at = ZERO, -1
    for i in range(len(samples)):
        if not added[i]:
            off = _off_mesh(samples[i], points, triangles, count)
            if off < FAR and off > worst:
                worst, at = off, i
    return at if worst > error else -1


@compiled_exactly
def _mark_border(ring: Array, points: Array, triangles: Array, count: int) -> None:
    """Set bit k in the fourth column where edge k of a triangle runs along the ring."""
    for t in range(count):
        triangles[t, 3] = 0
        for k in range(3):
            a, b = points[triangles[t, k]], points[triangles[t, (k + 1) % 3]]
            for i in range(len(ring)):
                p, q = ring[i - 1], ring[i]
                if _to_segment(a, p, q, ZERO) < ON_BORDER and _to_segment(b, p, q, ZERO) < ON_BORDER:
                    triangles[t, 3] |= 1 << k


@compiled_exactly
def triangulate(
    ring: Array, patch: Patch, size: float, height: float, distance: float, error: float
) -> tuple[Array, Array]:
    """A convex ring (n, 3) float32 [m] with the floor's heights: extra points (m, 3), triangles (t, 4) as in Detail."""
    points, hull = np.empty((MOST_POINTS, 3), np.float32), np.empty(MOST_POINTS, np.int64)
    triangles = np.empty((2 * MOST_POINTS, 4), np.int64)
    count, around = _hull(ring, patch, size, height, distance, error, points, hull)
    made = _fan(points, hull[:around], len(ring), triangles)
    if _narrowest(ring) >= distance * TWO:
        samples = _samples(ring, patch, size, height, distance)
        added = np.zeros(len(samples), np.bool_)
        while count < MOST_POINTS:
            i = _worst_sample(samples, added, points, triangles, made, error)
            if i == -1:
                break
            added[i] = True
            points[count] = samples[i]
            count += 1
            made = _delaunay(points, count, hull[:around], triangles)
    made = min(made, MOST_TRIANGLES)
    _mark_border(ring, points, triangles, made)
    return points[len(ring) : count].copy(), triangles[:made].copy()

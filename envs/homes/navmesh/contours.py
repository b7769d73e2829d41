"""Outlines of regions as simple polygons, and their triangles: the last part of Recast's navigation mesh.

Recast's `rcBuildContours` and `rcBuildPolyMesh`: walk around each region along cell corners, keep the corners where
the neighbour changes, add wall corners until no point of the staircase is further than `max_error` from the outline,
join holes to outlines by a short cut, and clip ears. All coordinates are integers (cells), so that every test on
them is exact.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.heightfield import OpenCells

Array = NDArray[Any]


@compiled_exactly
def _corner_height(cells: OpenCells, i: int, d: int) -> int:
    """Highest floor of the cells around the corner between directions d and d + 1."""
    neighbour, floor, e = cells.neighbour, cells.floor, (d + 1) % 4
    height = floor[i]
    for a, b in ((d, e), (e, d)):
        j = neighbour[i, a]
        if j != -1:
            height = max(height, floor[j])
            k = neighbour[j, b]
            if k != -1:
                height = max(height, floor[k])
    return height


@compiled_exactly
def _walk(i: int, d: int, cells: OpenCells, region: Array, border: Array, points: Array) -> int:
    """Corners (x, y, z, region beyond the edge that ends there) around the region from border d of cell i on."""
    neighbour, start, start_dir, count = cells.neighbour, i, d, 0
    while True:
        if border[i, d]:
            x, z = cells.column[i] % cells.columns, cells.column[i] // cells.columns
            j = neighbour[i, d]
            points[count, 0] = x + (d == 1 or d == 2)
            points[count, 1] = _corner_height(cells, i, d)
            points[count, 2] = z + (d == 0 or d == 1)
            points[count, 3] = region[j] if j != -1 else 0
            count += 1
            border[i, d] = False
            d = (d + 1) % 4
        else:
            i, d = neighbour[i, d], (d + 3) % 4
        if i == start and d == start_dir:
            return count


@compiled_exactly
def _distance_squared(x: float, z: float, ax: float, az: float, bx: float, bz: float) -> float:
    """Of a point to a segment, in cells; float32, because ties decide which corner is kept."""
    dx, dz = np.float32(bx - ax), np.float32(bz - az)
    length = dx * dx + dz * dz
    t = dx * np.float32(x - ax) + dz * np.float32(z - az)
    if length > 0:
        t /= length
    t = min(max(t, np.float32(0)), np.float32(1))
    ex, ez = np.float32(ax) + t * dx - np.float32(x), np.float32(az) + t * dz - np.float32(z)
    return float(ex * ex + ez * ez)


@compiled_exactly
def _first_corners(points: Array, kept: Array) -> int:
    """Where the neighbour changes; or, with one neighbour all around, the lower left and the upper right corner."""
    n, count = len(points), 0
    if np.any(points[:, 3] != 0):
        for i in range(n):
            if points[i, 3] != points[(i + 1) % n, 3]:
                kept[count] = i
                count += 1
    if count == 0:
        low = high = 0
        for i in range(n):
            x, z = points[i, 0], points[i, 2]
            if x < points[low, 0] or (x == points[low, 0] and z < points[low, 2]):
                low = i
            if x > points[high, 0] or (x == points[high, 0] and z > points[high, 2]):
                high = i
        kept[0], kept[1] = low, high
        count = 2
    return count


@compiled_exactly
def _insert(kept: Array, count: int, after: int, value: int) -> None:
    for k in range(count, after + 1, -1):
        kept[k] = kept[k - 1]
    kept[after + 1] = value


@compiled_exactly
def _furthest(points: Array, a: int, b: int, max_error: float) -> int:
    """The wall corner between kept corners a and b furthest from their line, -1 if none is beyond `max_error`.

    The walk always goes in the same direction of space, so that both sides of a border agree.
    """
    n = len(points)
    forward = points[b, 0] > points[a, 0] or (points[b, 0] == points[a, 0] and points[b, 2] > points[a, 2])
    step, begin, end = (1, a, b) if forward else (n - 1, b, a)
    i = (begin + step) % n
    best, best_distance = -1, max_error * max_error
    worst = 0.0
    if points[i, 3] == 0:
        while i != end:
            distance = _distance_squared(
                points[i, 0], points[i, 2], points[begin, 0], points[begin, 2], points[end, 0], points[end, 2]
            )
            if distance > worst:
                worst = distance
                best = i
            i = (i + step) % n
    return best if worst > best_distance else -1


@compiled_exactly
def simplify(points: Array, max_error: float, max_edge: int) -> Array:
    """Indices into `points` (n, 4) of the corners of the simplified outline."""
    n = len(points)
    kept = np.empty(n + 2, np.int64)
    count = _first_corners(points, kept)
    i = 0
    while i < count:
        best = _furthest(points, kept[i], kept[(i + 1) % count], max_error)
        if best != -1:
            _insert(kept, count, i, best)
            count += 1
        else:
            i += 1
    i = 0
    while i < count and max_edge > 0:
        a, b = kept[i], kept[(i + 1) % count]
        dx, dz = points[b, 0] - points[a, 0], points[b, 2] - points[a, 2]
        between = (b - a) % n
        if points[(a + 1) % n, 3] == 0 and dx * dx + dz * dz > max_edge * max_edge and between > 1:
            forward = dx > 0 or (dx == 0 and dz > 0)
            _insert(kept, count, i, (a + (between if forward else between + 1) // 2) % n)
            count += 1
        else:
            i += 1
    return kept[:count]


@compiled_exactly
def contours(cells: OpenCells, region: Array, max_error: float, max_edge: int) -> tuple[Array, Array, Array]:
    """Simplified outlines of all regions: corners (n, 3), start of each outline (m + 1,), region of each (m,)."""
    n = len(region)
    border = np.zeros((n, 4), np.bool_)
    total = 0
    for i in range(n):
        if region[i]:
            for d in range(4):
                j = cells.neighbour[i, d]
                border[i, d] = j == -1 or region[j] != region[i]
                total += border[i, d]
    points = np.empty((total + 1, 4), np.int64)
    corners = np.empty((total + 1, 3), np.int64)
    starts, regions = [0], [0][:0]
    used = 0
    for i in range(n):
        for d in range(4):
            if not border[i, d]:
                continue
            count = _walk(i, d, cells, region, border, points)
            kept = simplify(points[:count], max_error, max_edge)
            begin = used
            for k in kept:
                corner = points[k, :3]
                if used > begin and corners[used - 1, 0] == corner[0] and corners[used - 1, 2] == corner[2]:
                    continue
                corners[used] = corner
                used += 1
            if used - begin > 1 and np.all(corners[used - 1, ::2] == corners[begin, ::2]):
                used -= 1
            if used - begin < 3:
                used = begin
                continue
            starts.append(used)
            regions.append(region[i])
    return corners[:used], np.array(starts), np.array(regions)


@compiled_exactly
def _area(a: Array, b: Array, c: Array) -> int:
    """Twice the signed area of a triangle in the (x, z) plane; negative = inner side for outlines as walked here."""
    return (b[0] - a[0]) * (c[2] - a[2]) - (c[0] - a[0]) * (b[2] - a[2])


@compiled_exactly
def _between(a: Array, b: Array, c: Array) -> bool:
    if _area(a, b, c) != 0:
        return False
    if a[0] != b[0]:
        return (a[0] <= c[0] <= b[0]) or (a[0] >= c[0] >= b[0])
    return (a[2] <= c[2] <= b[2]) or (a[2] >= c[2] >= b[2])


@compiled_exactly
def _crosses(a: Array, b: Array, c: Array, d: Array) -> bool:
    """Whether segments ab and cd meet, ends included."""
    abc, abd, cda, cdb = _area(a, b, c), _area(a, b, d), _area(c, d, a), _area(c, d, b)
    if abc != 0 and abd != 0 and cda != 0 and cdb != 0:
        return ((abc > 0) != (abd > 0)) and ((cda > 0) != (cdb > 0))
    return _between(a, b, c) or _between(a, b, d) or _between(c, d, a) or _between(c, d, b)


@compiled_exactly
def _same(a: Array, b: Array) -> bool:
    return a[0] == b[0] and a[2] == b[2]


@compiled_exactly
def _inside_cone(before: Array, at: Array, after: Array, point: Array, strict: bool) -> bool:
    """Whether `point` lies on the inner side of the corner before-at-after."""
    slack = 0 if strict else 1
    if _area(before, at, after) <= 0:  # convex corner
        return _area(at, point, before) < slack and _area(point, at, after) < slack
    return not (_area(at, point, after) <= 0 and _area(point, at, before) <= 0)


@compiled_exactly
def _clear_of(ring: Array, a: Array, b: Array) -> bool:
    """No edge of the ring meets segment ab, but at shared corners."""
    n = len(ring)
    for k in range(n):
        c, d = ring[k], ring[(k + 1) % n]
        if _same(a, c) or _same(b, c) or _same(a, d) or _same(b, d):
            continue
        if _crosses(a, b, c, d):
            return False
    return True


@compiled_exactly
def signed_area(ring: Array) -> int:
    """Twice the area in cells; outlines are positive, holes negative."""
    total = 0
    for k in range(len(ring)):
        a, b = ring[k - 1], ring[k]
        total += b[0] * a[2] - a[0] * b[2]
    return total


@compiled_exactly
def bridge_hole(outline: Array, hole: Array, others: Any) -> Array:
    """Outline and hole as one ring, joined by the shortest clear cut from a corner of the hole; empty if none.

    `others` are the corners of the remaining holes, (k, n, 3) as a list of rings.
    """
    n, m = len(outline), len(hole)
    left = 0
    for k in range(m):
        if hole[k, 0] < hole[left, 0] or (hole[k, 0] == hole[left, 0] and hole[k, 2] < hole[left, 2]):
            left = k
    for shift in range(m):
        h = (left + shift) % m
        corner = hole[h]
        distance = np.empty(n, np.int64)
        for k in range(n):
            dx, dz = outline[k, 0] - corner[0], outline[k, 2] - corner[2]
            visible = _inside_cone(outline[k - 1], outline[k], outline[(k + 1) % n], corner, True)
            distance[k] = dx * dx + dz * dz if visible else np.iinfo(np.int64).max
        for k in np.argsort(distance):
            if distance[k] == np.iinfo(np.int64).max:
                break
            clear = _clear_of(outline, outline[k], corner) and _clear_of(hole, outline[k], corner)
            for other in others:
                clear = clear and _clear_of(other, outline[k], corner)
            if clear:
                ring = np.empty((n + m + 2, 3), np.int64)
                for s in range(n + 1):
                    ring[s] = outline[(k + s) % n]
                for s in range(m + 1):
                    ring[n + 1 + s] = hole[(h + s) % m]
                return ring
    return outline[:0]


@compiled_exactly
def _is_diagonal(ring: Array, rest: Array, count: int, i: int, j: int, strict: bool) -> bool:
    """Whether the cut from the i-th to the j-th remaining corner runs inside the polygon."""
    a, b = ring[rest[i]], ring[rest[j]]
    before, after = ring[rest[(i - 1) % count]], ring[rest[(i + 1) % count]]
    if not _inside_cone(before, a, after, b, strict):
        return False
    for k in range(count):
        k1 = (k + 1) % count
        if k in (i, j) or k1 in (i, j):
            continue
        c, d = ring[rest[k]], ring[rest[k1]]
        if _same(a, c) or _same(b, c) or _same(a, d) or _same(b, d):
            continue
        if strict and _crosses(a, b, c, d):
            return False
        if not strict and _crosses_properly(a, b, c, d):
            return False
    return True


@compiled_exactly
def _crosses_properly(a: Array, b: Array, c: Array, d: Array) -> bool:
    abc, abd, cda, cdb = _area(a, b, c), _area(a, b, d), _area(c, d, a), _area(c, d, b)
    if abc == 0 or abd == 0 or cda == 0 or cdb == 0:
        return False
    return ((abc > 0) != (abd > 0)) and ((cda > 0) != (cdb > 0))


@compiled_exactly
def clip_ears(ring: Array) -> Array:
    """Triangles (n - 2, 3) of a simple polygon as indices of its corners, shortest cuts first.

    Touching or slightly overlapping rings (thin outlines after simplification) get looser tests; what no cut can
    divide is left out.
    """
    rest = np.arange(len(ring))
    count, used = len(ring), 0
    triangles = np.empty((max(len(ring) - 2, 0), 3), np.int64)
    while count > 3:
        best, best_length = -1, np.iinfo(np.int64).max
        for strict in (True, False):
            for i in range(count):
                j = (i + 2) % count
                if not _is_diagonal(ring, rest, count, i, j, strict):
                    continue
                a, b = ring[rest[i]], ring[rest[j]]
                length = (b[0] - a[0]) ** 2 + (b[2] - a[2]) ** 2
                if length < best_length:
                    best, best_length = i, length
            if best != -1:
                break
        if best == -1:
            break
        middle, last = (best + 1) % count, (best + 2) % count
        triangles[used] = rest[best], rest[middle], rest[last]
        used += 1
        for k in range(middle, count - 1):
            rest[k] = rest[k + 1]
        count -= 1
    if count == 3:
        triangles[used] = rest[0], rest[1], rest[2]
        used += 1
    return triangles[:used]


def triangulate(corners: Array, starts: Array, regions: Array) -> tuple[Array, Array]:
    """Outlines -> integer vertices (V, 3) and triangles (T, 3), neighbours sharing their vertices."""
    rings: dict[int, list[Array]] = {}
    for k, r in enumerate(regions):
        rings.setdefault(int(r), []).append(corners[starts[k] : starts[k + 1]])
    soup = [ring[clip_ears(ring)] for group in rings.values() for ring in _without_holes(group)]
    points = np.concatenate([s.reshape(-1, 3) for s in soup]) if soup else np.zeros((0, 3), np.int64)
    vertices, index = _weld(points)
    triangles = index.reshape(-1, 3)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 2] - a[:, 2]) - (c[:, 0] - a[:, 0]) * (b[:, 2] - a[:, 2])
    flip = area < 0
    triangles[flip] = triangles[flip][:, ::-1]
    return vertices, triangles[area != 0]


def _without_holes(group: list[Array]) -> list[Array]:
    """One region's outlines with its holes cut into them."""
    outlines = [ring for ring in group if signed_area(ring) > 0]
    holes = sorted((ring for ring in group if signed_area(ring) < 0), key=lambda ring: ring[:, [0, 2]].min(axis=0)[0])
    if len(outlines) != 1:
        return outlines
    outline = outlines[0]
    for k, hole in enumerate(holes):
        others = numba.typed.List([*holes[k + 1 :], hole])
        joined = bridge_hole(outline, hole, others)
        outline = joined if len(joined) else outline
    return [outline]


def _weld(points: Array) -> tuple[Array, Array]:
    """Points with equal (x, z) whose heights differ by at most two cells become one vertex."""
    found: dict[tuple[int, int], list[int]] = {}
    vertices: list[Array] = []
    index = np.empty(len(points), np.int64)
    for i, point in enumerate(points):
        candidates = found.setdefault((int(point[0]), int(point[2])), [])
        match = next((v for v in candidates if abs(vertices[v][1] - point[1]) <= 2), None)
        if match is None:
            match = len(vertices)
            vertices.append(point)
            candidates.append(match)
        index[i] = match
    return np.array(vertices, np.int64).reshape(-1, 3), index

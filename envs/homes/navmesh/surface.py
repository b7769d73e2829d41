"""Questions about one place on a navmesh: where it is, where a step leads, how far the next wall is.

These are Detour's `findNearestPoly`, `moveAlongSurface` and `findDistanceToWall` and habitat-sim 0.3.3's use of them
(`PathFinder::tryStep`), in float32 and in their order, so that the answers are equal to the last bit. Places are (3,)
float32 [m]; distances in plan are in (x, z).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly
from embodia.envs.homes.navmesh.navmesh import BORDER, TWIN, Floor
from embodia.envs.homes.navmesh.open_list import CLOSED, MOST_NODES, UNSEEN, Search, begin, meet, pop, put
from embodia.envs.homes.navmesh.single import FAR, HALF, INFINITE, ONE, TWO, ZERO
from embodia.envs.homes.navmesh.tree import box_in_cells, next_polygon

Array = NDArray[Any]

ANY = np.int64(-1)  # island; a NumPy integer, since literals would be compiled for one by one
REACH = np.array([2, 4, 2], np.float32)  # [m], half extents of the box whose polygons a point is projected on
MOST_SEEN = 64  # polygons around one step
MOST_WAITING = 48  # of these at once
FLAT = np.float32(1e-6)  # [m2], area of a triangle seen from above that has no inside
PARALLEL = np.float32(1e-6)  # [m2]
NEAR = np.float32(0.001)  # [m], by which a step's circle is wider than the step
BESIDE = np.float32(0.001)  # [m] and as a share: more than rounding can move a point
NUDGE = np.float32(1e-4)  # [m]
IN_PLACE = np.float32(0.01)  # [m]


@compiled_exactly
def distance_between(a: Array, b: Array) -> float:
    dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    return np.sqrt(dx * dx + dy * dy + dz * dz)


@compiled_exactly
def part_way(a: Array, b: Array, share: float) -> tuple[float, float, float]:
    """x, y, z of the point at a share of the way from a to b."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share


@compiled_exactly
def on_segment(place: Array, a: Array, b: Array) -> tuple[float, float]:
    """Nearest point of a segment in plan: squared distance, and its share of the way from a to b."""
    ux, uz = b[0] - a[0], b[2] - a[2]
    length = ux * ux + uz * uz
    s = ux * (place[0] - a[0]) + uz * (place[2] - a[2])
    if length > ZERO:
        s /= length
    s = min(max(s, ZERO), ONE)
    dx, dz = a[0] + s * ux - place[0], a[2] + s * uz - place[2]
    return dx * dx + dz * dz, s


@compiled_exactly
def contains(ring: Array, sides: int, place: Array) -> bool:
    """Whether a place lies over a polygon; on a border, over some of the polygons that share it."""
    inside, x, z = False, place[0], place[2]
    bx, bz = ring[sides - 1, 0], ring[sides - 1, 2]
    for k in range(sides):
        ax, az = ring[k, 0], ring[k, 2]
        if (az > z) != (bz > z) and x < (bx - ax) * (z - az) / (bz - az) + ax:
            inside = not inside
        bx, bz = ax, az
    return inside


@compiled_exactly
def _on_detail_edges(floor: Floor, p: int, place: Array, only_border: bool) -> tuple[float, float, float]:
    """The nearest point in plan on the edges of polygon p's triangles, or on those of them along its border."""
    best, share, best_t, best_k = FAR, ZERO, floor.first_triangle[p], 0
    for t in range(floor.first_triangle[p], floor.first_triangle[p + 1]):
        for i in range(3):
            k = (i + 2) % 3  # Detour starts with the last edge
            if floor.edges[t, k] == TWIN or (only_border and floor.edges[t, k] != BORDER):
                continue
            distance, s = on_segment(place, floor.triangles[t, k], floor.triangles[t, i])
            if distance < best:
                best, share, best_t, best_k = distance, s, t, k
    return part_way(floor.triangles[best_t, best_k], floor.triangles[best_t, (best_k + 1) % 3], share)


@compiled_exactly
def _height(floor: Floor, p: int, place: Array) -> float:
    """y of polygon p's triangles at a place over it [m]."""
    for t in range(floor.first_triangle[p], floor.first_triangle[p + 1]):
        a, b, c = floor.triangles[t, 0], floor.triangles[t, 1], floor.triangles[t, 2]
        ux, uz, vx, vz = c[0] - a[0], c[2] - a[2], b[0] - a[0], b[2] - a[2]
        wx, wz = place[0] - a[0], place[2] - a[2]
        area = ux * vz - uz * vx
        if abs(area) < FLAT:
            continue
        u, v = vz * wx - vx * wz, ux * wz - uz * wx
        if area < ZERO:
            area, u, v = -area, -u, -v
        if u >= ZERO and v >= ZERO and u + v <= area:
            return a[1] + ((c[1] - a[1]) * u + (b[1] - a[1]) * v) / area
    return _on_detail_edges(floor, p, place, False)[1]


@compiled_exactly
def _nearest_on(floor: Floor, p: int, place: Array) -> tuple[float, float, float, float]:
    """Detour's measure of how far polygon p is, free within `climb` above or below, and the nearest point on it."""
    if contains(floor.rings[p], floor.sides[p], place):
        y = _height(floor, p, place)
        gap = abs(place[1] - y) - floor.climb
        return (gap * gap if gap > ZERO else ZERO), place[0], y, place[2]
    x, y, z = _on_detail_edges(floor, p, place, True)
    dx, dy, dz = place[0] - x, place[1] - y, place[2] - z
    return dx * dx + dy * dy + dz * dz, x, y, z


@compiled_exactly
def _to_box(floor: Floor, p: int, place: Array) -> float:
    """Squared distance in plan to the box around polygon p."""
    box = floor.boxes[p]
    dx = max(box[0] - place[0], place[0] - box[2], ZERO)
    dz = max(box[1] - place[2], place[2] - box[3], ZERO)
    return dx * dx + dz * dz


@compiled_exactly
def project(floor: Floor, place: Array, island: int) -> tuple[int, Array]:
    """The polygon nearest to a place and the point on it; polygon -1 and NaN if none is within REACH. -1 = any island.

    A polygon is within reach if its box is, so the point on it may lie further away. Of equally near ones the first
    in the tree's order counts, so the search ends at the first on which the place lies: most do on some.
    """
    best, best_p, point = FAR, -1, np.full(3, np.nan, np.float32)
    touches, box = box_in_cells(place, REACH, floor.tile, floor.cells_per_metre)
    if not touches:
        return best_p, point
    for margin in (BESIDE * BESIDE, FAR):
        p, node = next_polygon(floor.tree, 0, box)
        while p != -1 and best > ZERO:
            if floor.island[p] != -1 and island in (ANY, floor.island[p]):
                away = _to_box(floor, p, place)
                if away <= margin and away <= best * (ONE + BESIDE) + BESIDE * BESIDE:
                    distance, x, y, z = _nearest_on(floor, p, place)
                    if distance < best and (margin == FAR or distance == ZERO):
                        best, best_p = distance, p
                        point[0], point[1], point[2] = x, y, z
            p, node = next_polygon(floor.tree, node, box)
    return best_p, point


@compiled_exactly
def clamped(floor: Floor, p: int, place: Array) -> Array:
    """The place itself, its height included, if it lies over polygon p; else the nearest point on p's border."""
    end = place.copy()
    if contains(floor.rings[p], floor.sides[p], place):
        return end
    best, share, edge = FAR, ZERO, 0
    for k in range(floor.sides[p]):
        distance, s = on_segment(place, floor.rings[p, k], floor.rings[p, k + 1])
        if distance < best:
            best, share, edge = distance, s, k
    end[0], end[1], end[2] = part_way(floor.rings[p, edge], floor.rings[p, edge + 1], share)
    return end


@compiled_exactly
def _crossing(a: Array, b: Array, start: Array, end: Array) -> float:
    """Share of the way from a to b at which the way from start to end crosses it; -1 if it does not."""
    ux, uz, vx, vz = b[0] - a[0], b[2] - a[2], end[0] - start[0], end[2] - start[2]
    wx, wz = a[0] - start[0], a[2] - start[2]
    area = ux * vz - uz * vx
    if abs(area) < PARALLEL:
        return -ONE
    s, t = (vx * wz - vz * wx) / area, (ux * wz - uz * wx) / area
    return s if ZERO <= s <= ONE and ZERO <= t <= ONE else -ONE


@compiled_exactly
def _stop_at(a: Array, b: Array, start: Array, end: Array, sliding: bool) -> tuple[float, float]:
    """Where a wall from a to b lets a step get to: squared distance in plan from the step's end, and share of the wall.

    Sliding, that is the point of the wall nearest to the end; else where the step runs into it, FAR if it does not.
    """
    if sliding:
        return on_segment(end, a, b)
    s = _crossing(a, b, start, end)
    if s < ZERO:
        return FAR, s
    x, _, z = part_way(a, b, s)
    dx, dz = end[0] - x, end[2] - z
    return dx * dx + dz * dz, s


@compiled_exactly
def _reaches(a: Array, b: Array, start: Array, end: Array, centre: Array, radius2: float, sliding: bool) -> bool:
    """Whether a step may pass through an edge: within the circle around the step, and without sliding on its line."""
    if on_segment(centre, a, b)[0] > radius2:
        return False
    return sliding or _crossing(a, b, start, end) >= ZERO


@compiled_exactly
def _number_of(known: Array, count: int, p: int) -> int:
    n = 0
    while n < count and known[n] != p:
        n += 1
    return n


@compiled_exactly
def move_along(floor: Floor, p: int, start: Array, end: Array, sliding: bool, place: Array) -> int:
    """Walk from `start` on polygon p towards `end`: as near as walls let (sliding), or up to the first wall.

    Searches the polygons around the step, breadth first. Fills the place it leads to, and returns the polygon under
    it; -1 if there is none, as where a step along a wall touches no edge.
    """
    centre = np.empty(3, np.float32)
    centre[0], centre[1], centre[2] = part_way(start, end, HALF)
    radius = distance_between(start, end) / TWO + NEAR
    known, entered, queue = np.empty(MOST_SEEN, np.int64), np.zeros(MOST_SEEN, np.bool_), np.empty(MOST_SEEN, np.int64)
    known[0], entered[0], queue[0] = p, True, p
    count, at, size = 1, 0, 1
    best, best_p = FAR, -1
    while at < size:
        current = queue[at]
        at += 1
        if contains(floor.rings[current], floor.sides[current], end):
            place[:] = end
            return current
        for i in range(floor.sides[current]):
            k = i - 1 if i else floor.sides[current] - 1  # Detour starts with the last edge
            a, b, other = floor.rings[current, k], floor.rings[current, k + 1], floor.neighbours[current, k]
            if other == -1:
                distance, share = _stop_at(a, b, start, end, sliding)
                if distance < best:
                    best, best_p = distance, current
                    place[0], place[1], place[2] = part_way(a, b, share)
                continue
            n = _number_of(known, count, other)
            if n == MOST_SEEN:
                continue
            if n == count:
                known[n] = other
                count += 1
            reaches = not entered[n] and _reaches(a, b, start, end, centre, radius * radius, sliding)
            if reaches and size - at < MOST_WAITING:
                entered[n], queue[size] = True, other
                size += 1
    return best_p


@compiled_exactly
def try_step(floor: Floor, start: Array, end: Array, sliding: bool) -> Array:
    """Where a step from `start` towards `end` leads (3,); `start` itself if they are not connected."""
    p, origin = project(floor, start, ANY)
    goal = project(floor, end, ANY)[0]
    if p == -1 or goal == -1 or floor.island[p] != floor.island[goal]:
        return start.copy()
    place = origin.copy()
    last = move_along(floor, p, origin, end, sliding, place)
    if last == -1:
        return start.copy()
    if contains(floor.rings[last], floor.sides[last], place):
        place[1] = _height(floor, last, place)
    beside = project(floor, place, ANY)[0]
    if beside == -1 or floor.island[beside] != floor.island[p]:
        _nudge_into(floor, last, place)
    return place


@compiled_exactly
def _nudge_into(floor: Floor, p: int, place: Array) -> None:
    """Move a place on an edge that touches another island a hair into the polygon it belongs to."""
    inward = np.zeros(3, np.float32)
    for k in range(floor.sides[p]):
        inward += floor.rings[p, k]
    inward = inward / np.float32(floor.sides[p]) - place
    length = np.sqrt(inward[0] * inward[0] + inward[1] * inward[1] + inward[2] * inward[2])
    place += NUDGE * (inward / length)


@compiled_exactly
def _walls_of(floor: Floor, p: int, origin: Array, best: float, hit: Array) -> float:
    """The squared distance to the nearest wall of polygon p if that is within `best`; its point then is in `hit`."""
    for i in range(floor.sides[p]):
        k = i - 1 if i else floor.sides[p] - 1
        if floor.neighbours[p, k] == -1:
            a, b = floor.rings[p, k], floor.rings[p, k + 1]
            distance, share = on_segment(origin, a, b)
            if distance <= best:
                best = distance
                hit[0], hit[1], hit[2] = part_way(a, b, share)
    return best


@compiled_exactly
def wall_distance(floor: Floor, search: Search, place: Array, radius: float) -> tuple[float, Array]:
    """Distance to the nearest wall of the island in plan, at most `radius` [m], and the nearest point on it (3,).

    Infinite off the navmesh; the point is NaN where no wall is that near.
    """
    p, origin = project(floor, place, ANY)
    hit = np.full(3, np.nan, np.float32)
    if p == -1:
        return INFINITE, hit
    best = np.float32(radius) * np.float32(radius)
    begin(search, p, origin, ZERO)
    size, nodes = 1, 1
    while size:
        current = pop(search, size)
        size -= 1
        best = _walls_of(floor, current, origin, best, hit)
        for k in range(floor.sides[current]):
            other = floor.neighbours[current, k]
            if other == -1 or other == search.parent[current]:
                continue
            a, b, state = floor.rings[current, k], floor.rings[current, k + 1], search.state[other]
            if on_segment(origin, a, b)[0] > best or state == CLOSED or (state == UNSEEN and nodes == MOST_NODES):
                continue
            if state == UNSEEN:
                meet(search, other, a, b)
                nodes += 1
            total = search.total[current] + distance_between(search.place[current], search.place[other])
            if state == UNSEEN or total < search.total[other]:
                size = put(search, size, other, current, total)
    return np.sqrt(best), hit


@compiled_exactly
def probe_steps(
    floor: Floor, search: Search, start: Array, targets: Array, sliding: bool, radius: float
) -> tuple[Array, Array]:
    """Steps from `start` to each target (M, 3): where they end, and how far walls are there, at most `radius` [m]."""
    ends, clearance = np.empty_like(targets), np.empty(len(targets))
    for m in range(len(targets)):
        ends[m] = try_step(floor, start, targets[m], sliding)
        clearance[m] = wall_distance(floor, search, ends[m], radius)[0]
    return ends, clearance


@compiled_exactly
def navigable(floor: Floor, place: Array, max_y_delta: float) -> bool:
    """habitat-sim's test: on the mesh to 1 cm in plan and within `max_y_delta` [m] in height."""
    p, point = project(floor, place, ANY)
    if p == -1 or abs(point[1] - place[1]) > max_y_delta:
        return False
    dx, dz = place[0] - point[0], place[2] - point[2]
    return np.sqrt(dx * dx + dz * dz) <= IN_PLACE


@compiled_exactly
def navigable_grid(floor: Floor, xs: Array, y: float, zs: Array, max_y_delta: float) -> Array:
    """(len(zs), len(xs)) bool: where the mesh is, at height y."""
    free = np.zeros((len(zs), len(xs)), np.bool_)
    place = np.full(3, y, np.float32)
    for r in range(len(zs)):
        for c in range(len(xs)):
            place[0], place[2] = xs[c], zs[r]
            free[r, c] = navigable(floor, place, max_y_delta)
    return free

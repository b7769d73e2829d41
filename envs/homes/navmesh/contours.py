"""Outlines of the regions, simplified to few corners: Recast's `rcBuildContours`.

Corners are integer cell coordinates (x, y, z). Outlines turn so that `plane.area` of an edge and an inner point is
negative; holes turn the other way and are cut into the outline of their region.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly
from embodia.envs.homes.navmesh.heightfield import OpenCells
from embodia.envs.homes.navmesh.plane import crosses, inside_cone, same_place

Array = NDArray[Any]

BORDER_STEPS = 40_000  # of a walk around a region, after which Recast gives up
REGION = 0xFFFF  # bits of a border point's last number: the region beyond, 0 = a wall
NOT_WALKABLE = 0x20000  # and that there is floor beyond, but none to stand on


class Outline(NamedTuple):
    """One simplified outline."""

    corners: Array  # (n, 3) int64 cells
    region: int


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
def _beyond(cells: OpenCells, region: Array, i: int, j: int) -> int:
    """What the border between cell i and its neighbour j leads to, as REGION and NOT_WALKABLE say."""
    if j == -1:
        return 0
    return region[j] if cells.walkable[i] == cells.walkable[j] else region[j] | NOT_WALKABLE


@compiled_exactly
def _walk(i: int, d: int, cells: OpenCells, region: Array, border: Array, points: Array) -> int:
    """Border points (x, y, z, what lies beyond) around the region from border d of cell i on; returns their number."""
    neighbour, start, start_direction, count = cells.neighbour, i, d, 0
    for _ in range(BORDER_STEPS - 1):
        if border[i, d]:
            x, z = cells.column[i] % cells.columns, cells.column[i] // cells.columns
            points[count, 0] = x + (d == 1 or d == 2)
            points[count, 1] = _corner_height(cells, i, d)
            points[count, 2] = z + (d == 0 or d == 1)
            points[count, 3] = _beyond(cells, region, i, neighbour[i, d])
            count += 1
            border[i, d] = False
            d = (d + 1) % 4
        elif neighbour[i, d] == -1:
            break  # only behind a walk that was given up
        else:
            i, d = neighbour[i, d], (d + 3) % 4
        if i == start and d == start_direction:
            break
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
    if np.any(points[:, 3] & REGION != 0):
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
    best, worst = -1, 0.0
    if points[i, 3] & REGION == 0 or points[i, 3] & NOT_WALKABLE:
        while i != end:
            distance = _distance_squared(
                points[i, 0], points[i, 2], points[begin, 0], points[begin, 2], points[end, 0], points[end, 2]
            )
            if distance > worst:
                best, worst = i, distance
            i = (i + step) % n
    return best if worst > max_error * max_error else -1


@compiled_exactly
def _middle(points: Array, a: int, b: int, max_edge: int) -> int:
    """The corner halfway between kept corners a and b of a wall longer than `max_edge`, else -1."""
    n = len(points)
    dx, dz = points[b, 0] - points[a, 0], points[b, 2] - points[a, 2]
    between = (b - a) % n
    if points[(a + 1) % n, 3] & REGION or dx * dx + dz * dz <= max_edge * max_edge or between < 2:
        return -1
    forward = dx > 0 or (dx == 0 and dz > 0)
    return (a + (between if forward else between + 1) // 2) % n


@compiled_exactly
def simplify(points: Array, max_error: float, max_edge: int) -> Array:
    """Indices into border points (n, 4) of the corners of the simplified outline; `max_edge` 0 = no limit."""
    n = len(points)
    kept = np.empty(n + 2, np.int64)
    count = _first_corners(points, kept)
    for halving in range(2 if max_edge > 0 else 1):
        i = 0
        while i < count:
            a, b = kept[i], kept[(i + 1) % count]
            corner = _middle(points, a, b, max_edge) if halving else _furthest(points, a, b, max_error)
            if corner != -1:
                _insert(kept, count, i, corner)
                count += 1
            else:
                i += 1
    return kept[:count]


@compiled_exactly
def _without_repeats(corners: Array) -> Array:
    """Corners without those that the next one repeats in plan, in one pass."""
    kept, count, i = corners.copy(), len(corners), 0
    while i < count:
        if same_place(kept[i], kept[(i + 1) % count]):
            for k in range(i, count - 1):
                kept[k] = kept[k + 1]
            count -= 1
        i += 1
    return kept[:count]


@compiled_exactly
def _trace(cells: OpenCells, region: Array, max_error: float, max_edge: int) -> tuple[Array, Array, Array]:
    """Simplified borders of all regions: corners (n, 3), start of each border (m + 1,), region of each (m,)."""
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
        first = -1
        for d in range(3, -1, -1):
            if border[i, d]:
                first = d
        if first == -1 or border[i].all():
            continue
        count = _walk(i, first, cells, region, border, points)
        ring = _without_repeats(points[simplify(points[:count], max_error, max_edge), :3])
        if len(ring) >= 3:
            corners[used : used + len(ring)] = ring
            used += len(ring)
            starts.append(used)
            regions.append(region[i])
    return corners[:used], np.array(starts), np.array(regions)


def outlines(cells: OpenCells, region: Array, max_error: float, max_edge: int) -> list[Outline]:
    """Every region as an outline with its holes cut into it, in the order in which they are met.

    `max_error` is how far the outline may stray from the cells, `max_edge` the longest edge along a wall, in cells.
    """
    corners, starts, regions = _trace(cells, region, max_error, max_edge)
    traced = [Outline(corners[a:b], int(r)) for a, b, r in zip(starts, starts[1:], regions)]
    hole_of = [each.region if _is_hole(each.corners) else 0 for each in traced]
    for number in sorted(set(hole_of) - {0}):
        around = [k for k, each in enumerate(traced) if each.region == number and not hole_of[k]]
        if not around:
            continue
        holes = [k for k in range(len(traced)) if hole_of[k] == number]
        joined, cut = _cut_in(traced[around[-1]].corners, [traced[k].corners for k in holes])
        traced[around[-1]] = Outline(joined, number)
        for place in cut:
            traced[holes[place]] = Outline(corners[:0], number)
    return [each for each in traced if len(each.corners)]


def _is_hole(ring: Array) -> bool:
    x, z = ring[:, 0], ring[:, 2]
    doubled = int((x * np.roll(z, 1) - np.roll(x, 1) * z).sum())
    return doubled < -2  # Recast halves in integers, which lets slivers pass for outlines


def _cut_in(outline: Array, holes: list[Array]) -> tuple[Array, list[int]]:
    """The outline with holes joined to it, from left to right, and which of them could be."""
    leftmost = [min(range(len(ring)), key=lambda k: (ring[k, 0], ring[k, 2])) for ring in holes]
    order = sorted(range(len(holes)), key=lambda h: (holes[h][leftmost[h], 0], holes[h][leftmost[h], 2]))
    rings = np.concatenate([holes[h] for h in order])
    starts = np.cumsum([0, *(len(holes[h]) for h in order)])
    # What an earlier search left in this list is read again by Recast, so it outlives the searches.
    candidates = np.full(2 * (len(outline) + len(rings)) + 2 * len(holes), -1, np.int64)
    cut = []
    for place, h in enumerate(order):
        at, corner = _find_cut(outline, rings, starts, place, leftmost[h], candidates)
        if at == -1:
            continue
        hole = holes[h]
        closed = np.concatenate([hole[corner:], hole[: corner + 1]])
        outline = np.concatenate([outline[at:], outline[: at + 1], closed])
        cut.append(h)
    return outline, cut


@compiled_exactly
def _find_cut(
    outline: Array, rings: Array, starts: Array, place: int, corner: int, candidates: Array
) -> tuple[int, int]:
    """The shortest clear cut between the outline and a hole: a corner of each, (-1, -1) if there is none.

    Corners of the hole are tried in order from `corner` on; the cut must not meet this hole or those after it.
    """
    n, begin, size = len(outline), starts[place], starts[place + 1] - starts[place]
    for shift in range(size):
        k = (corner + shift) % size
        point = rings[begin + k]
        found = np.empty(n, np.int64)
        distance = np.empty(n, np.int64)
        count = 0
        for j in range(n):
            if inside_cone(outline[j - 1], outline[j], outline[(j + 1) % n], point, True):
                dx, dz = outline[j, 0] - point[0], outline[j, 2] - point[2]
                found[count], distance[count] = j, dx * dx + dz * dz
                count += 1
        candidates[:count] = found[:count][np.argsort(distance[:count], kind="mergesort")]
        for c in range(count):
            j = candidates[c]
            # Recast means to pass over the edges at corner j, but looks it up under the number of the hole.
            clear = _is_clear(outline, outline[j], point, candidates[place])
            for h in range(place, len(starts) - 1):
                clear = clear and _is_clear(rings[starts[h] : starts[h + 1]], outline[j], point, -1)
            if clear:
                return j, k
    return -1, -1


@compiled_exactly
def _is_clear(ring: Array, a: Array, b: Array, passed_over: int) -> bool:
    """No edge of the ring meets segment ab, but at shared corners and beside corner `passed_over`."""
    n = len(ring)
    for k in range(n):
        c, d = ring[k], ring[(k + 1) % n]
        if passed_over in (k, (k + 1) % n):
            continue
        if same_place(a, c) or same_place(b, c) or same_place(a, d) or same_place(b, d):
            continue
        if crosses(a, b, c, d):
            return False
    return True

"""Convex polygons of up to six corners from outlines: Recast's `rcBuildPolyMesh`.

Outlines are cut into triangles by clipping ears, the shortest cut first, and neighbouring triangles of one outline are
joined, the longest shared edge first, while the result stays convex.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.contours import Outline
from embodia.envs.homes.navmesh.plane import area, crosses, crosses_properly, inside_cone, same_place

Array = NDArray[Any]

MOST_CORNERS = 6  # of a polygon, as Detour stores it
WELDED = 2  # [cells] in height, up to which corners at one place are the same


class Polygons(NamedTuple):
    """Convex polygons that share their corners; edge k runs from corner k to the next one."""

    corners: Array  # (V, 3) int64 cells
    polygons: Array  # (P, 6) int64 corners, -1 beyond the last
    region: Array  # (P,) int64


def convex_polygons(outlines: list[Outline]) -> Polygons:
    """The polygons of all outlines, in their order."""
    place = _Corners()
    shared = [np.array([place.number(corner) for corner in outline.corners.tolist()]) for outline in outlines]
    corners = np.array(place.corners, np.int64).reshape(-1, 3)
    made = [join_triangles(_padded(ring[clip_ears(o.corners)]), corners) for ring, o in zip(shared, outlines)]
    regions = np.repeat(np.array([o.region for o in outlines], np.int64), [len(each) for each in made])
    return Polygons(corners, np.concatenate([np.zeros((0, MOST_CORNERS), np.int64), *made]), regions)


def _padded(triangles: Array) -> Array:
    """(m, 3) -> (m, 6), -1 beyond the third corner."""
    return np.append(triangles, np.full((len(triangles), MOST_CORNERS - 3), -1), axis=1)


class _Corners:
    """Corners by their place in plan; the newest of those that are high enough is found first."""

    def __init__(self) -> None:
        self.corners: list[list[int]] = []
        self._at: dict[tuple[int, int], list[int]] = {}

    def number(self, corner: list[int]) -> int:
        here = self._at.setdefault((corner[0], corner[2]), [])
        for number in reversed(here):
            if abs(self.corners[number][1] - corner[1]) <= WELDED:
                return number
        here.append(len(self.corners))
        self.corners.append(corner)
        return here[-1]


@compiled_exactly
def _is_diagonal(ring: Array, rest: Array, count: int, i: int, j: int, strict: bool) -> bool:
    """Whether the cut from the i-th to the j-th remaining corner runs inside the polygon."""
    a, b = ring[rest[i]], ring[rest[j]]
    if not inside_cone(ring[rest[i - 1 if i else count - 1]], a, ring[rest[(i + 1) % count]], b, strict):
        return False
    for k in range(count):
        k1 = (k + 1) % count
        if k in (i, j) or k1 in (i, j):
            continue
        c, d = ring[rest[k]], ring[rest[k1]]
        if same_place(a, c) or same_place(b, c) or same_place(a, d) or same_place(b, d):
            continue
        if crosses(a, b, c, d) if strict else crosses_properly(a, b, c, d):
            return False
    return True


@compiled_exactly
def _squared(ring: Array, rest: Array, i: int, j: int) -> int:
    dx, dz = ring[rest[i], 0] - ring[rest[j], 0], ring[rest[i], 2] - ring[rest[j], 2]
    return dx * dx + dz * dz


@compiled_exactly
def _best_ear(ring: Array, rest: Array, count: int, is_ear: Array) -> int:
    """The corner before the ear with the shortest cut, -1 if nothing can be cut.

    Without any ear the tests are loosened: outlines may touch themselves after simplification. Recast then measures
    one corner too far, which is kept.
    """
    best, shortest = -1, np.iinfo(np.int64).max
    for i in range(count):
        if is_ear[(i + 1) % count]:
            length = _squared(ring, rest, i, (i + 2) % count)
            if length < shortest:
                best, shortest = i, length
    if best != -1:
        return best
    for i in range(count):
        if _is_diagonal(ring, rest, count, i, (i + 2) % count, False):
            length = _squared(ring, rest, i, (i + 3) % count)
            if length < shortest:
                best, shortest = i, length
    return best


@compiled_exactly
def clip_ears(ring: Array) -> Array:
    """Triangles (m, 3) of a simple polygon (n, 3) as corner indices; parts that no cut can divide are skipped."""
    count, used = len(ring), 0
    rest = np.arange(count)
    triangles = np.empty((count - 2, 3), np.int64)
    is_ear = np.zeros(count, np.bool_)
    for i in range(count):
        is_ear[(i + 1) % count] = _is_diagonal(ring, rest, count, i, (i + 2) % count, True)
    while count > 3:
        i = _best_ear(ring, rest, count, is_ear)
        if i == -1:
            return triangles[:used]
        middle = (i + 1) % count
        triangles[used, 0], triangles[used, 1] = rest[i], rest[middle]
        triangles[used, 2] = rest[(i + 2) % count]
        used += 1
        count -= 1
        for k in range(middle, count):
            rest[k], is_ear[k] = rest[k + 1], is_ear[k + 1]
        # Only the two corners at the cut are looked at again.
        after = middle if middle < count else 0
        before = after - 1 if after else count - 1
        is_ear[before] = _is_diagonal(ring, rest, count, before - 1 if before else count - 1, after, True)
        is_ear[after] = _is_diagonal(ring, rest, count, before, (after + 1) % count, True)
    triangles[used, 0], triangles[used, 1], triangles[used, 2] = rest[0], rest[1], rest[2]
    return triangles[: used + 1]


@compiled_exactly
def sides(polygon: Array) -> int:
    """Corners of a polygon (6,)."""
    count = 0
    while count < MOST_CORNERS and polygon[count] != -1:
        count += 1
    return count


@compiled_exactly
def _shared_edge(a: Array, b: Array) -> tuple[int, int]:
    """The last edge of polygon a that b has too, as the number of the edge in each; (-1, -1) if there is none."""
    na, nb, ea, eb = sides(a), sides(b), -1, -1
    for i in range(na):
        for j in range(nb):
            a0, a1, b0, b1 = a[i], a[(i + 1) % na], b[j], b[(j + 1) % nb]
            if (a0 == b0 and a1 == b1) or (a0 == b1 and a1 == b0):
                ea, eb = i, j
                break
    return ea, eb


@compiled_exactly
def _gain(a: Array, b: Array, corners: Array) -> int:
    """Squared length of the edge by which two polygons can be joined into a convex one, -1 if they cannot."""
    na, nb = sides(a), sides(b)
    if na + nb - 2 > MOST_CORNERS:
        return -1
    ea, eb = _shared_edge(a, b)
    if ea == -1:
        return -1
    if area(corners[a[(ea + na - 1) % na]], corners[a[ea]], corners[b[(eb + 2) % nb]]) >= 0:
        return -1
    if area(corners[b[(eb + nb - 1) % nb]], corners[b[eb]], corners[a[(ea + 2) % na]]) >= 0:
        return -1
    p, q = corners[a[ea]], corners[a[(ea + 1) % na]]
    return (p[0] - q[0]) ** 2 + (p[2] - q[2]) ** 2


@compiled_exactly
def _join(a: Array, b: Array) -> None:
    """Polygon a grows by b across the edge they share."""
    na, nb = sides(a), sides(b)
    ea, eb = _shared_edge(a, b)
    both = np.full(MOST_CORNERS, -1, np.int64)
    for i in range(na - 1):
        both[i] = a[(ea + 1 + i) % na]
    for i in range(nb - 1):
        both[na - 1 + i] = b[(eb + 1 + i) % nb]
    a[:] = both


@compiled_exactly
def join_triangles(polygons: Array, corners: Array) -> Array:
    """Triangles (m, 6), -1 beyond their third corner, joined into convex polygons."""
    count = len(polygons)
    gain = np.full((count, count), -1, np.int64)
    for a in range(count):
        for b in range(a + 1, count):
            gain[a, b] = _gain(polygons[a], polygons[b], corners)
    while True:
        best, best_a, best_b = 0, 0, 0
        for a in range(count - 1):
            for b in range(a + 1, count):
                if gain[a, b] > best:
                    best, best_a, best_b = gain[a, b], a, b
        if best == 0:
            return polygons[:count]
        _join(polygons[best_a], polygons[best_b])
        count -= 1
        polygons[best_b] = polygons[count]
        for changed in (best_a, best_b):
            for other in range(count):
                if other != changed:
                    a, b = min(changed, other), max(changed, other)
                    gain[a, b] = _gain(polygons[a], polygons[b], corners)


def neighbours(polygons: Array) -> Array:
    """(P, 6) the polygon beyond each edge, -1 = a wall; where more than two share an edge it is a wall to the rest."""
    beyond = np.full(polygons.shape, -1, np.int64)
    waiting: dict[tuple[int, int], list[tuple[int, int]]] = {}
    edges = [(p, k, *edge) for p, ring in enumerate(polygons.tolist()) for k, edge in enumerate(_edges(ring))]
    for p, k, start, end in edges:
        if start < end:
            waiting.setdefault((start, end), []).append((p, k))
    for p, k, start, end in edges:
        if start > end and waiting.get((end, start)):
            other, its = waiting[end, start][-1]
            if other != p:
                waiting[end, start].pop()
                beyond[p, k], beyond[other, its] = other, p
    return beyond


def _edges(ring: list[int]) -> list[tuple[int, int]]:
    corners = [corner for corner in ring if corner != -1]
    return [(corner, corners[(k + 1) % len(corners)]) for k, corner in enumerate(corners)]

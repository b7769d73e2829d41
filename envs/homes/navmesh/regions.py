"""Simple regions of walkable cells by watershed: the middle of Recast's navigation mesh.

Regions grow downhill from the ridges of the distance field, so that each has one outline that a polygon can follow
(Recast's `rcBuildDistanceField` and `rcBuildRegions`; Haumont et al. 2003, "Volumetric cell-and-portal generation").
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh.heightfield import OpenCells, boundary_distance

Array = NDArray[Any]

GROW = np.int64(8)  # passes by which a region may grow at one water level
NONE = np.int64(0)  # NumPy integers: literals would be compiled for one by one


@compiled_exactly
def distance_field(cells: OpenCells) -> Array:
    """(n,) int32: chamfer distance to the boundary, smoothed over 3 x 3 cells."""
    distance, neighbour = boundary_distance(cells), cells.neighbour
    smooth = distance.copy()
    for i in range(len(distance)):
        own = distance[i]
        if own <= 2:
            continue
        total = own
        for d in range(4):
            j = neighbour[i, d]
            if j == -1:
                total += 2 * own
                continue
            total += distance[j]
            k = neighbour[j, (d + 1) % 4]
            total += distance[k] if k != -1 else own
        smooth[i] = (total + 5) // 9
    return smooth


@compiled_exactly
def _grow(
    passes: int, waiting: Array, count: int, region: Array, steps: Array, neighbour: Array, walkable: Array
) -> int:
    """Waiting cells join the nearest region beside them; `passes` = 0 goes on until nothing changes."""
    joined, joined_region = np.empty(count, np.int32), np.empty(count, np.int32)
    joined_steps = np.empty(count, np.int32)
    done = 0
    while count > 0:
        found = 0
        for w in range(count):
            i = waiting[w]
            best, best_steps = 0, 0xFFFF
            for d in range(4):
                j = neighbour[i, d]
                if j != -1 and walkable[j] and region[j] > 0 and steps[j] + 2 < best_steps:
                    best, best_steps = region[j], steps[j] + 2
            if best:
                joined[found], joined_region[found], joined_steps[found] = w, best, best_steps
                found += 1
        for m in range(found):
            i = waiting[joined[m]]
            region[i], steps[i] = joined_region[m], joined_steps[m]
        if found == 0:
            break
        kept = 0
        for w in range(count):
            if region[waiting[w]] == 0:
                waiting[kept] = waiting[w]
                kept += 1
        count = kept
        done += 1
        if passes and done >= passes:
            break
    return count


@compiled_exactly
def _flood(
    start: int,
    level: int,
    new: int,
    region: Array,
    steps: Array,
    distance: Array,
    neighbour: Array,
    walkable: Array,
    stack: Array,
) -> bool:
    """Start region `new` at a cell; cells that touch another region are left to `_grow`."""
    region[start], steps[start], stack[0] = new, 0, start
    size, count = 1, 0
    while size:
        size -= 1
        i = stack[size]
        touches = False
        for d in range(4):
            j = neighbour[i, d]
            if j == -1 or not walkable[j]:
                continue
            if region[j] != 0 and region[j] != new:
                touches = True
                break
            k = neighbour[j, (d + 1) % 4]
            if k != -1 and walkable[k] and region[k] != 0 and region[k] != new:
                touches = True
                break
        if touches:
            region[i] = 0
            continue
        count += 1
        for d in range(4):
            j = neighbour[i, d]
            if j != -1 and walkable[j] and distance[j] >= level and region[j] == 0:
                region[j], steps[j], stack[size] = new, 0, j
                size += 1
    return count > 0


@compiled_exactly
def watershed(cells: OpenCells) -> Array:
    """(n,) int32 region of every walkable cell, counted from 1; 0 = not walkable."""
    distance, neighbour, walkable = distance_field(cells), cells.neighbour, cells.walkable
    n = len(distance)
    region, steps = np.zeros(n, np.int32), np.zeros(n, np.int32)
    waiting, stack = np.empty(n, np.int32), np.empty(n, np.int32)
    new = np.int64(1)
    level = int(distance.max() + 1) // 2 * 2 if n else 0
    while level > 0:
        level = max(level - 2, 0)
        count = NONE
        for i in range(n):
            if walkable[i] and region[i] == 0 and distance[i] >= level:
                waiting[count] = i
                count += 1
        count = _grow(GROW, waiting, count, region, steps, neighbour, walkable)
        for w in range(count):
            i = waiting[w]
            if region[i] == 0 and _flood(
                i, max(level - 2, 0), new, region, steps, distance, neighbour, walkable, stack
            ):
                new += 1
    count = NONE
    for i in range(n):
        if walkable[i] and region[i] == 0:
            waiting[count] = i
            count += 1
    _grow(NONE, waiting, count, region, steps, neighbour, walkable)
    return region


def merge_regions(region: Array, cells: OpenCells, min_size: int, merge_size: int) -> Array:
    """Drop islands of fewer than `min_size` cells and join small or inner regions to their smallest neighbour.

    Two regions join only if they meet along one stretch of border and never lie above each other.
    """
    count = int(region.max()) + 1 if len(region) else 1
    size = np.bincount(region, minlength=count)
    borders = [_border_sequence(region, cells, r) for r in range(count)]
    stacked = _stacked(region, cells.first)
    group = np.arange(count)
    _drop_small_islands(group, borders, size, min_size)
    _join_small(group, borders, stacked, size, merge_size)
    kept, compact = np.unique(group[group > 0], return_inverse=True)
    label = np.zeros(count, np.int32)
    label[group > 0] = compact + 1
    return label[region] if len(kept) else np.zeros_like(region)


def _border_sequence(region: Array, cells: OpenCells, r: int) -> list[int]:
    """The regions met while walking around region r (0 = a wall); runs count once."""
    return list(_walk_border(region, cells.neighbour, r)) if r else []


@compiled_exactly
def _walk_border(region: Array, neighbour: Array, r: int) -> Any:
    start, start_dir = -1, -1
    for i in range(len(region)):
        if region[i] == r:
            for d in range(4):
                j = neighbour[i, d]
                if j == -1 or region[j] != r:
                    start, start_dir = i, d
                    break
            if start != -1:
                break
    met = [0][:0]
    if start == -1:
        return met
    i, d = start, start_dir
    for _ in range(40000):
        j = neighbour[i, d]
        other = region[j] if j != -1 else 0
        if other != r:
            if len(met) == 0 or met[-1] != other:
                met.append(other)
            d = (d + 1) % 4
        else:
            i, d = j, (d + 3) % 4
        if i == start and d == start_dir:
            break
    while len(met) > 1 and met[0] == met[-1]:
        met.pop()
    return met


@compiled_exactly
def _stacked_pairs(region: Array, first: Array) -> Any:
    pairs = [(0, 0)][:0]
    for k in range(len(first) - 1):
        for i in range(first[k], first[k + 1]):
            for j in range(first[k], i):
                if region[i] and region[j] and region[i] != region[j]:
                    pairs.append((region[i], region[j]))
    return pairs


def _stacked(region: Array, first: Array) -> set[tuple[int, int]]:
    """Pairs of regions that lie above each other somewhere."""
    pairs = set(_stacked_pairs(region, first))
    return pairs | {(b, a) for a, b in pairs}


def _drop_small_islands(group: Array, borders: list[list[int]], size: Array, min_size: int) -> None:
    seen: set[int] = {0}
    for r in range(1, len(borders)):
        if r in seen:
            continue
        island, stack = [], [r]
        seen.add(r)
        while stack:
            island.append(stack.pop())
            for other in borders[island[-1]]:
                if other not in seen:
                    seen.add(other)
                    stack.append(other)
        if size[island].sum() < min_size:
            group[island] = 0


def _join_small(
    group: Array, borders: list[list[int]], stacked: set[tuple[int, int]], size: Array, merge_size: int
) -> None:
    members = {r: {r} for r in range(len(borders))}
    merged = True
    while merged:
        merged = False
        for r in range(1, len(borders)):
            if group[r] != r or (size[r] > merge_size and 0 in borders[r]):
                continue
            options = [o for o in set(borders[r]) if o not in (0, r) and group[o] == o]
            options = [o for o in options if _can_join(r, o, borders, members, stacked)]
            if options:
                target = min(options, key=lambda o: (size[o], o))
                _join(r, target, group, borders, members, size)
                merged = True


def _can_join(
    a: int, b: int, borders: list[list[int]], members: dict[int, set[int]], stacked: set[tuple[int, int]]
) -> bool:
    if borders[a].count(b) != 1 or borders[b].count(a) != 1:
        return False
    return not any((x, y) in stacked for x in members[a] for y in members[b])


def _join(
    r: int, target: int, group: Array, borders: list[list[int]], members: dict[int, set[int]], size: Array
) -> None:
    """Region r becomes part of `target`: the two borders are cut where they meet and joined."""
    at, where = borders[target].index(r), borders[r].index(target)
    ring = borders[target][at + 1 :] + borders[target][:at] + borders[r][where + 1 :] + borders[r][:where]
    borders[target] = _without_runs(ring)
    borders[r] = []
    for other in range(len(borders)):
        if r in borders[other]:
            borders[other] = _without_runs([target if o == r else o for o in borders[other]])
    members[target] |= members[r]
    size[target] += size[r]
    group[group == r] = target


def _without_runs(ring: list[int]) -> list[int]:
    return [value for k, value in enumerate(ring) if value != ring[k - 1] or len(ring) == 1]

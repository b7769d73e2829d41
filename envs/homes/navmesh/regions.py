"""Simple regions of walkable cells by watershed: the middle of Recast's navigation mesh.

Regions grow downhill from the ridges of the distance field, so that each has one outline that a polygon can follow
(Recast's `rcBuildDistanceField` and `rcBuildRegions`; Haumont et al. 2003, "Volumetric cell-and-portal generation").
The order in which cells are looked at decides borders, so it is Recast's throughout.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly
from embodia.envs.homes.navmesh.heightfield import OpenCells, boundary_distance

Array = NDArray[Any]

GROW = np.int64(8)  # passes by which regions may grow at one water level
LEVELS = np.int64(8)  # water levels sorted at a time; NumPy integers: literals would be compiled for one by one
NONE = np.int64(0)
WALL = 0  # in a border sequence: no region beyond
BORDER_STEPS = 40_000  # of a walk around a region, after which Recast gives up


@compiled_exactly
def smoothed(distance: Array, cells: OpenCells) -> Array:
    """(n,) int32: distances to the boundary, averaged over 3 x 3 cells."""
    neighbour = cells.neighbour
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
def _sort_by_level(level: int, distance: Array, region: Array, walkable: Array, waiting: Array, size: Array) -> None:
    """Cells without a region, by the first of the next LEVELS water levels (two of distance each) that shows them."""
    size[:] = 0
    for i in range(len(region)):
        if walkable[i] and region[i] == 0:
            s = max(level // 2 - distance[i] // 2, 0)
            if s < LEVELS:
                waiting[s, size[s]] = i
                size[s] += 1


@compiled_exactly
def _left_over(waiting: Array, size: Array, s: int, region: Array) -> None:
    """What the last level left without a region waits behind the cells of this one."""
    for w in range(size[s - 1]):
        i = waiting[s - 1, w]
        if i != -1 and region[i] == 0:
            waiting[s, size[s]] = i
            size[s] += 1


@compiled_exactly
def _grow(waiting: Array, count: int, level: int, region: Array, steps: Array, cells: OpenCells) -> None:
    """Waiting cells join the nearest region beside them, at level 0 until nothing changes. Those that did become -1."""
    neighbour, walkable = cells.neighbour, cells.walkable
    joined, joined_region = np.empty(count, np.int32), np.empty(count, np.int32)
    joined_steps = np.empty(count, np.int32)
    for w in range(count):
        if waiting[w] != -1 and region[waiting[w]] != 0:
            waiting[w] = -1
    passes = 0
    while True:
        found = 0
        for w in range(count):
            i = waiting[w]
            if i == -1:
                continue
            best, best_steps = 0, 0xFFFF
            for d in range(4):
                j = neighbour[i, d]
                if j != -1 and walkable[j] and region[j] > 0 and steps[j] + 2 < best_steps:
                    best, best_steps = region[j], steps[j] + 2
            if best:
                waiting[w] = -1
                joined[found], joined_region[found], joined_steps[found] = i, best, best_steps
                found += 1
        for m in range(found):
            region[joined[m]], steps[joined[m]] = joined_region[m], joined_steps[m]
        passes += 1
        if found == 0 or (level > 0 and passes >= GROW):
            return


@compiled_exactly
def _flood(
    start: int, level: int, new: int, region: Array, steps: Array, distance: Array, cells: OpenCells, stack: Array
) -> bool:
    """Start region `new` at a cell; cells that touch another region are left to `_grow`."""
    neighbour, walkable = cells.neighbour, cells.walkable
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
    """(n,) int32 region of every walkable cell, counted from 1; 0 = none."""
    sharp = boundary_distance(cells)
    distance, walkable = smoothed(sharp, cells), cells.walkable
    n = len(distance)
    region, steps = np.zeros(n, np.int32), np.zeros(n, np.int32)
    waiting, size, stack = np.empty((LEVELS, n), np.int32), np.zeros(LEVELS, np.int64), np.empty(n + 1, np.int32)
    new = np.int64(1)
    level, s = int(sharp.max() + 1) // 2 * 2, LEVELS - 1
    while level > 0:
        level, s = max(level - 2, 0), (s + 1) % LEVELS
        if s == 0:
            _sort_by_level(level, distance, region, walkable, waiting, size)
        else:
            _left_over(waiting, size, s, region)
        _grow(waiting[s], size[s], level, region, steps, cells)
        for w in range(size[s]):
            i = waiting[s, w]
            fresh = i != -1 and region[i] == 0
            if fresh and _flood(i, max(level - 2, 0), new, region, steps, distance, cells, stack):
                new += 1
    _sort_by_level(NONE, distance, region, walkable, waiting, size)
    _grow(waiting[0], size[0], NONE, region, steps, cells)
    return region


@dataclass
class _Region:
    """What is known about a region while small ones join others."""

    number: int  # of the region it has become part of, itself at first; 0 = dropped
    size: int  # cells
    border: list[int] = field(default_factory=list)  # regions met on the way around it
    stacked: set[int] = field(default_factory=set)  # regions above or below it somewhere; itself if it overlaps


def merge_regions(region: Array, cells: OpenCells, min_size: int, merge_size: int) -> Array:
    """Drop islands of fewer than `min_size` cells and join small or inner regions to their smallest neighbour.

    Two regions join only if they meet along one stretch of border and never lie above each other.
    """
    count = int(region.max()) + 1
    size = np.bincount(region, minlength=count)
    regions = [_Region(r, int(size[r])) for r in range(count)]
    for r, (i, d) in enumerate(zip(*_border_starts(region, cells.neighbour, count))):
        if i != -1:
            regions[r].border = list(_walk_border(region, cells.neighbour, i, d))
    for a, b in set(_stacked_pairs(region, cells.first)):
        regions[a].stacked.add(b)
        regions[b].stacked.add(a)
    _drop_small_islands(regions, min_size)
    while _join_small(regions, merge_size):
        pass
    numbers = np.array([each.number for each in regions])
    kept, compact = np.unique(numbers[numbers > 0], return_inverse=True)
    label = np.zeros(count, np.int32)
    order = np.argsort(np.argsort(_first_met(numbers, kept)))  # new numbers in the order of their first region
    label[numbers > 0] = order[compact] + 1
    return label[region]


def _first_met(numbers: Array, kept: Array) -> Array:
    return np.array([np.flatnonzero(numbers == number)[0] for number in kept], np.int64)


@compiled_exactly
def _border_starts(region: Array, neighbour: Array, count: int) -> tuple[Array, Array]:
    """First cell of each region on its border and the direction that leads out, -1 = none."""
    cell, direction = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    for i in range(len(region)):
        r = region[i]
        if r == 0 or cell[r] != -1:
            continue
        for d in range(4):
            j = neighbour[i, d]
            if j == -1 or region[j] != r:
                cell[r], direction[r] = i, d
                break
    return cell, direction


@compiled_exactly
def _walk_border(region: Array, neighbour: Array, start: int, start_direction: int) -> Any:
    """The regions met while walking around the region of cell `start`; runs count once."""
    met = [0][:0]
    i, d, r = start, start_direction, region[start]
    for _ in range(BORDER_STEPS - 1):
        j = neighbour[i, d]
        other = region[j] if j != -1 else 0
        if other != r:
            if len(met) == 0 or met[-1] != other:
                met.append(other)
            d = (d + 1) % 4
        else:
            i, d = j, (d + 3) % 4
        if i == start and d == start_direction:
            break
    if len(met) > 1 and met[0] == met[-1]:
        met.pop()
    return met


@compiled_exactly
def _stacked_pairs(region: Array, first: Array) -> Any:
    pairs = [(0, 0)][:0]
    for k in range(len(first) - 1):
        for i in range(first[k], first[k + 1]):
            for j in range(first[k], i):
                if region[i] and region[j]:
                    pair = (region[i], region[j])
                    if len(pairs) == 0 or pairs[-1] != pair:
                        pairs.append(pair)
    return pairs


def _drop_small_islands(regions: list[_Region], min_size: int) -> None:
    seen = {WALL}
    for start in range(1, len(regions)):
        if start in seen or not regions[start].size:
            continue
        island, stack = [], [start]
        seen.add(start)
        while stack:
            island.append(regions[stack.pop()])
            for other in island[-1].border:
                if other not in seen:
                    seen.add(other)
                    stack.append(other)
        if sum(each.size for each in island) < min_size:
            for each in island:
                each.number = each.size = 0


def _join_small(regions: list[_Region], merge_size: int) -> bool:
    """One round over all regions; whether any joined another."""
    joined = False
    for r, each in enumerate(regions):
        if each.number == 0 or r in each.stacked or not each.size:
            continue
        if each.size > merge_size and WALL in each.border:
            continue
        target, smallest = each, 0xFFFFFFF
        for other in (regions[o] for o in each.border):
            if other.number == 0 or other.number in other.stacked or other.size >= smallest:
                continue
            if _may_join(each, other) and _may_join(other, each):
                target, smallest = other, other.size
        if target is not each and _join(each, target):
            _rename(regions, r, target.number)
            joined = True
    return joined


def _may_join(a: _Region, b: _Region) -> bool:
    return a.border.count(b.number) <= 1 and b.number not in a.stacked


def _join(part: _Region, target: _Region) -> bool:
    """`part` becomes part of `target`: the two borders are cut where they meet and joined."""
    if part.number not in target.border or target.number not in part.border:
        return False
    at, where = target.border.index(part.number), part.border.index(target.number)
    ring = target.border[at + 1 :] + target.border[:at] + part.border[where + 1 :] + part.border[:where]
    target.border, part.border = _without_runs(ring), []
    target.stacked |= part.stacked
    target.size += part.size
    part.size = 0
    return True


def _rename(regions: list[_Region], old: int, new: int) -> None:
    """Region `old` is called `new` from now on."""
    for each in regions:
        if each.number == 0:
            continue
        if each.number == old:
            each.number = new
        if old in each.border:
            each.border = _without_runs([new if o == old else o for o in each.border])
        if old in each.stacked:
            each.stacked = (each.stacked - {old}) | {new}


def _without_runs(ring: list[int]) -> list[int]:
    """Of equal neighbours the last one stays; the ring's end is a neighbour of its start."""
    kept = [value for k, value in enumerate(ring) if k + 1 == len(ring) or value != ring[k + 1]]
    return kept[:-1] if len(kept) > 1 and kept[0] == kept[-1] else kept

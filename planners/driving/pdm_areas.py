"""PDM-Closed, areas: the lanes, connectors and car parks that contain the ego's corners and centre."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from numba import njit

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import Bools, Floats, Ints

BIN = 2.0  # [m] height of the bands that a polygon's edges are sorted into


@dataclass(frozen=True)
class EgoAreas:
    """Where the ego is, (P, T) each."""

    multiple_lanes: Bools  # its corners are in several polygons and in none all of them
    nondrivable: Bools  # a corner is in no polygon
    oncoming: Bools  # its centre is in no lane or connector of the route


@dataclass(frozen=True)
class PolygonTable:
    """All edges' polygons of a map and then its car parks, ready for many points at once.

    Segments are sorted into bands across the longer side of their polygon's bounds, so that the even-odd rule looks at
    a few of them per point; where that is the x axis, `swapped` says that their x and y are.
    """

    num_edges: int
    bounds: Floats  # (n, 4) min x, min y, max x, max y
    swapped: Bools  # (n,)
    first_band: Ints  # (n + 1,) index of a polygon's first band
    first_segment: Ints  # (bands + 1,) index of a band's first segment
    segments: Floats  # (s, 4) x1, y1, x2, y2

    @classmethod
    def of(cls, road_map: Map) -> "PolygonTable":
        polygons = np.array([*(e.polygon for e in road_map.edges), *road_map.carparks.polygons], object)
        bounds = shapely.bounds(polygons)
        swapped = bounds[:, 2] - bounds[:, 0] > bounds[:, 3] - bounds[:, 1]
        start, end = (np.where(swapped, bounds[:, k], bounds[:, k + 1]) for k in (0, 2))
        num_bands = np.floor((end - start) / BIN).astype(np.int64) + 1
        first_band = np.concatenate([[0], np.cumsum(num_bands)])
        rings, owner = shapely.get_rings(polygons, return_index=True)
        coordinates, ring = shapely.get_coordinates(rings, return_index=True)
        same = ring[1:] == ring[:-1]
        segments = np.concatenate([coordinates[:-1], coordinates[1:]], axis=1)[same]
        polygon = owner[ring[1:][same]]
        segments = np.where(swapped[polygon, None], segments[:, [1, 0, 3, 2]], segments)
        low = np.floor((np.minimum(segments[:, 1], segments[:, 3]) - start[polygon]) / BIN).astype(np.int64)
        high = np.floor((np.maximum(segments[:, 1], segments[:, 3]) - start[polygon]) / BIN).astype(np.int64)
        times = high - low + 1
        index = np.repeat(np.arange(len(segments)), times)
        within = np.arange(len(index)) - np.repeat(np.cumsum(times) - times, times)
        band = first_band[polygon[index]] + low[index] + within
        order = np.argsort(band, kind="stable")
        first_segment = np.searchsorted(band[order], np.arange(first_band[-1] + 1))
        return cls(len(road_map.edges), bounds, swapped, first_band, first_segment, segments[index[order]])

    def inside(self, points: Floats, polygons: Ints) -> Bools:
        """(n, m) whether points (n, 2) are inside the polygons of some numbers (m,)."""
        table = (self.bounds, self.swapped, self.first_band, self.first_segment, self.segments)
        return np.asarray(_inside(points, polygons, *table))


def ego_areas(
    boxes: Floats, table: PolygonTable, drivable: Iterable[int], carparks: Iterable[int], route: set[int]
) -> EgoAreas:
    """Areas under boxes (P, T, 5), by the edges and car parks that are near the ego and the edges of its route."""
    edges = sorted(drivable)
    polygons = np.array([*edges, *(table.num_edges + k for k in carparks)], np.int64)
    on_route = np.array([*(edge in route for edge in edges), *(False for _ in carparks)], bool)
    segments = (table.bounds, table.swapped, table.first_band, table.first_segment, table.segments)
    return EgoAreas(*_areas(boxes.reshape(-1, 5), polygons, on_route, *segments).reshape(3, *boxes.shape[:2]))


@njit(cache=True)
def _areas(
    boxes: Floats, polygons: Ints, on_route: Bools, bounds: Floats, swapped: Bools, first_band: Ints,
    first_segment: Ints, segments: Floats,
) -> Bools:  # fmt: skip
    """The three fields of `EgoAreas` for boxes (n, 5): (3, n)."""
    out = np.zeros((3, len(boxes)), np.bool_)
    x, y = np.empty(5), np.empty(5)  # four corners and the centre
    reach = np.hypot(boxes[0, 3], boxes[0, 4]) / 2
    low_x, high_x = boxes[:, 0].min() - reach, boxes[:, 0].max() + reach
    low_y, high_y = boxes[:, 1].min() - reach, boxes[:, 1].max() + reach
    near = np.empty(len(polygons), np.int64)
    count = 0
    for k in range(len(polygons)):
        b = bounds[polygons[k]]
        if b[0] <= high_x and b[2] >= low_x and b[1] <= high_y and b[3] >= low_y:
            near[count] = k
            count += 1
    for i in range(len(boxes)):
        c, d = np.cos(boxes[i, 2]), np.sin(boxes[i, 2])
        for k in range(4):
            forward = boxes[i, 3] / 2 if k == 0 or k == 3 else -boxes[i, 3] / 2
            left = boxes[i, 4] / 2 if k < 2 else -boxes[i, 4] / 2
            x[k], y[k] = boxes[i, 0] + forward * c - left * d, boxes[i, 1] + forward * d + left * c
        x[4], y[4] = boxes[i, 0], boxes[i, 1]
        touched, whole, home, covered = 0, False, False, 0
        for n in range(count):
            polygon = polygons[near[n]]
            b = bounds[polygon]
            if b[0] > x[4] + reach or b[2] < x[4] - reach or b[1] > y[4] + reach or b[3] < y[4] - reach:
                continue
            held = 0
            for k in range(4):
                if in_polygon(x[k], y[k], polygon, bounds, swapped, first_band, first_segment, segments):
                    held += 1
                    covered |= 1 << k
            touched += held > 0
            whole |= held == 4
            if on_route[near[n]] and not home:
                home = in_polygon(x[4], y[4], polygon, bounds, swapped, first_band, first_segment, segments)
        out[0, i] = touched > 1 and not whole
        out[1, i] = covered != 15
        out[2, i] = not home
    return out


@njit(cache=True)
def in_polygon(
    x: float, y: float, polygon: int, bounds: Floats, swapped: Bools, first_band: Ints, first_segment: Ints,
    segments: Floats,
) -> bool:  # fmt: skip
    low_x, low_y, high_x, high_y = bounds[polygon]
    if x < low_x or x > high_x or y < low_y or y > high_y:
        return False
    if swapped[polygon]:
        x, y, low_y = y, x, low_x
    band = first_band[polygon] + int((y - low_y) // BIN)
    odd = False
    for s in range(first_segment[band], first_segment[band + 1]):
        x1, y1, x2, y2 = segments[s]
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            odd = not odd
    return odd


@njit(cache=True)
def _inside(
    points: Floats, polygons: Ints, bounds: Floats, swapped: Bools, first_band: Ints, first_segment: Ints,
    segments: Floats,
) -> Bools:  # fmt: skip
    out = np.zeros((len(points), len(polygons)), np.bool_)
    for i in range(len(points)):
        for k in range(len(polygons)):
            x, y = points[i]
            out[i, k] = in_polygon(x, y, polygons[k], bounds, swapped, first_band, first_segment, segments)
    return out

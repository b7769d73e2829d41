"""PDM-Closed, the ground under the ego: which lanes, connectors and car parks hold its corners and its centre."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from numba import njit

from envs.driving.geometry import box_corners
from envs.driving.map import Map
from envs.driving.types import Bools, Floats, Ints

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

    Segments are sorted into horizontal bands, so that the even-odd rule looks at a few of them per point.
    """

    num_edges: int
    bounds: Floats  # (n, 4) min x, min y, max x, max y
    first_band: Ints  # (n + 1,) index of a polygon's first band
    first_segment: Ints  # (bands + 1,) index of a band's first segment
    segments: Floats  # (s, 4) x1, y1, x2, y2

    @classmethod
    def of(cls, road_map: Map) -> "PolygonTable":
        polygons = np.array([*(e.polygon for e in road_map.edges), *road_map.carparks.polygons], object)
        bounds = shapely.bounds(polygons)
        num_bands = np.floor((bounds[:, 3] - bounds[:, 1]) / BIN).astype(np.int64) + 1
        first_band = np.concatenate([[0], np.cumsum(num_bands)])
        rings, owner = shapely.get_rings(polygons, return_index=True)
        coordinates, ring = shapely.get_coordinates(rings, return_index=True)
        same = ring[1:] == ring[:-1]
        segments = np.concatenate([coordinates[:-1], coordinates[1:]], axis=1)[same]
        polygon = owner[ring[1:][same]]
        low = np.floor((np.minimum(segments[:, 1], segments[:, 3]) - bounds[polygon, 1]) / BIN).astype(np.int64)
        high = np.floor((np.maximum(segments[:, 1], segments[:, 3]) - bounds[polygon, 1]) / BIN).astype(np.int64)
        times = high - low + 1
        index = np.repeat(np.arange(len(segments)), times)
        within = np.arange(len(index)) - np.repeat(np.cumsum(times) - times, times)
        band = first_band[polygon[index]] + low[index] + within
        order = np.argsort(band, kind="stable")
        first_segment = np.searchsorted(band[order], np.arange(first_band[-1] + 1))
        return cls(len(road_map.edges), bounds, first_band, first_segment, segments[index[order]])

    def inside(self, points: Floats, polygons: Ints) -> Bools:
        """(n, m) whether points (n, 2) are inside the polygons of some numbers (m,)."""
        table = (self.bounds, self.first_band, self.first_segment, self.segments)
        return np.asarray(_inside(points, polygons, *table))


def ego_areas(
    boxes: Floats, table: PolygonTable, drivable: Iterable[int], carparks: Iterable[int], route: set[int]
) -> EgoAreas:
    """Areas under boxes (P, T, 5), by the edges and car parks that are near the ego and the edges of its route."""
    edges = sorted(drivable)
    polygons = np.array([*edges, *(table.num_edges + k for k in carparks)], np.int64)
    corners = table.inside(box_corners(boxes).reshape(-1, 2), polygons)
    count = corners.reshape(*boxes.shape[:2], 4, len(polygons)).sum(axis=2)  # (P, T, m)
    on_route = np.array([edge for edge in edges if edge in route], np.int64)
    centers = table.inside(boxes[..., :2].reshape(-1, 2), on_route)
    several = ((count > 0).sum(axis=2) > 1) & ~(count == 4).any(axis=2)
    covered = corners.any(axis=1).reshape(*boxes.shape[:2], 4).all(axis=2)
    at_home = centers.any(axis=1).reshape(boxes.shape[:2])
    return EgoAreas(several, np.logical_not(covered), np.logical_not(at_home))


@njit(cache=True)
def _inside(
    points: Floats, polygons: Ints, bounds: Floats, first_band: Ints, first_segment: Ints, segments: Floats
) -> Bools:
    out = np.zeros((len(points), len(polygons)), np.bool_)
    for i in range(len(points)):
        x, y = points[i]
        for k in range(len(polygons)):
            polygon = polygons[k]
            low_x, low_y, high_x, high_y = bounds[polygon]
            if x < low_x or x > high_x or y < low_y or y > high_y:
                continue
            band = first_band[polygon] + int((y - low_y) // BIN)
            odd = False
            for s in range(first_segment[band], first_segment[band + 1]):
                x1, y1, x2, y2 = segments[s]
                if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                    odd = not odd
            out[i, k] = odd
    return out

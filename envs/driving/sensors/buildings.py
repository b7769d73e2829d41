"""Buildings beside the roads, which maps do not have: boxes that depend on the map and the drive alone."""

import zlib
from collections.abc import Iterator

import numpy as np
import shapely

from embodia.envs.driving.map.geometry import box_polygons
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import Floats

REACH = 110.0  # [m] around the drive within which buildings stand
SETBACK = (7.0, 12.0)  # [m] between the lane's edge and a front
LENGTH, DEPTH = (9.0, 24.0), (8.0, 14.0)  # [m] along and across the road
STOREYS, STOREY = (1, 6), 3.2  # number, and height of one [m]
GAP = (1.5, 12.0)  # [m] between neighbours
CLEARANCE = 2.0  # [m] to roads and walkways


def buildings(road_map: Map, way: Floats) -> Floats:
    """Return the buildings as solids (B, 7) in map coordinates.

    They stand along the right-hand edges of the lanes near the places `way` (n, >= 2), keep clear of roads and
    walkways, and do not overlap.
    """
    around = shapely.LineString(way[:, :2]).buffer(REACH)
    taken = [road_map.drivable_area, road_map.walkways, road_map.lane_layer, road_map.connector_layer]
    found: list[Floats] = []
    standing: list[shapely.Polygon] = []
    for candidate in _candidates(road_map, around):
        plot = box_polygons(candidate[:5]).item()
        wide = shapely.buffer(plot, CLEARANCE)
        if not around.contains(plot) or any(layer.intersecting(wide) for layer in taken):
            continue
        if standing and shapely.intersects(wide, standing).any():
            continue
        found.append(candidate)
        standing.append(plot)
    return np.array(found).reshape(-1, 7)


def _candidates(road_map: Map, around: shapely.Polygon) -> Iterator[Floats]:
    """Solids along the lanes; each lane has a random generator of its own, seeded by its id."""
    for edge in road_map.lane_layer.intersecting(around):
        if road_map.right[edge] is not None:
            continue
        side = road_map.edges[edge].right_boundary
        rng = np.random.default_rng(zlib.crc32(f"{road_map.name}/{road_map.edges[edge].id}".encode()))
        s = float(rng.uniform(*GAP))
        while s < side.length:
            length, depth, setback = rng.uniform(*LENGTH), rng.uniform(*DEPTH), rng.uniform(*SETBACK)
            x, y, heading = side.pose_at(min(s + length / 2, side.length))
            away = setback + depth / 2
            height = STOREY * rng.integers(STOREYS[0], STOREYS[1] + 1)
            centre = x + away * np.sin(heading), y - away * np.cos(heading)
            yield np.array([*centre, heading, length, depth, 0.0, height])
            s += length + float(rng.uniform(*GAP))

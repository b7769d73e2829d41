"""A road network while it is drawn: ids, lanes, connectors and polygons, collected into a map."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import shapely
from shapely.geometry import Polygon

from embodia.envs.driving.generator.road_curves import (
    curvatures,
    end_pose,
    joint,
    largest,
    normals,
    start_pose,
    strip,
    unit,
)
from embodia.envs.driving.generator.road_layout import LANE_WIDTH, MPH, Arm, Layout, Profile
from embodia.envs.driving.generator.road_network import Carriageway, Crossing, Movement, Roadside, Turn
from embodia.envs.driving.map.road_map import Lane, Map, PolygonLayer, Polyline, Roadblock
from embodia.envs.driving.types import Floats

CONNECTOR_STEP = 0.5  # [m] between points of a connector
TURN_WIDENING = 9.0  # [m^2] a connector's half width grows by this times its curvature, at most by half a metre
TURN_COMFORT = 3.0  # [m/s^2] lateral acceleration behind the advised speed of a turn
RING_WIDTH = 5.0  # [m] of a roundabout's lane: vehicles swing out in it
KERB_RADIUS = 6.0  # [m]


class Draft:
    """A network being drawn: what there is so far, under running ids."""

    def __init__(self, layout: Layout, name: str, rng: np.random.Generator):
        self.layout, self.name, self.rng = layout, name, rng
        self.ids: Iterator[int] = itertools.count(1)
        self.lanes: list[Lane] = []
        self.connectors: list[Lane] = []
        self.blocks: list[Roadblock] = []
        self.block_connectors: list[Roadblock] = []
        self.layers: dict[str, list[tuple[str, Polygon]]] = {}
        self.stop_types: list[int] = []
        self.movements: list[Movement] = []
        self.crossings: list[Crossing] = []
        self.roadside = Roadside()
        self.ways: dict[tuple[int, bool], Carriageway] = {}  # by road and direction (along its reference or not)

    def map(self) -> Map:
        def layer(key: str) -> PolygonLayer:
            pairs = self.layers.get(key, [])
            return PolygonLayer([i for i, _ in pairs], [p for _, p in pairs])

        return Map(
            self.name,
            self.lanes,
            self.connectors,
            self.blocks,
            self.block_connectors,
            intersections=layer("intersections"),
            crosswalks=layer("crosswalks"),
            stop_polygons=layer("stop_polygons"),
            stop_polygon_types=self.stop_types,
            walkways=layer("walkways"),
            carparks=layer("carparks"),
            road_segments=layer("road_segments"),
            generic_drivable_areas=layer("generic_drivable_areas"),
        )

    def new_id(self) -> str:
        return str(next(self.ids))

    def add(self, layer: str, polygon: Polygon) -> str:
        new = self.new_id()
        self.layers.setdefault(layer, []).append((new, polygon))
        return new

    def lane(
        self, lane_id: str, line: Floats, left: Floats, right: Floats, block_id: str, limit: float, index: int
    ) -> None:
        self.lanes.append(
            Lane(lane_id, strip(left, right), Polyline(line), Polyline(left), Polyline(right), block_id, limit, index)
        )

    def incoming(self, arm: Arm) -> Carriageway:
        return self.ways[arm.road, not arm.at_start]

    def outgoing(self, arm: Arm) -> Carriageway:
        return self.ways[arm.road, arm.at_start]

    def connect(
        self,
        way: Carriageway,
        out: Carriageway,
        pairs: list[tuple[int, int]],
        turn: Turn,
        junction: int,
        line: int,
        rank: int,
        lights: tuple[str, ...],
        intersection_id: str,
    ) -> None:
        """Connectors from lanes of one carriageway into lanes of another, and their roadblock connector."""
        block_id = self.new_id()
        polygons = []
        for i, j in pairs:
            points = joint(end_pose(way.baselines[i]), start_pose(out.baselines[j]), CONNECTOR_STEP)
            limit = min(way.speed_limit, out.speed_limit, advised_speed(points, turn))
            width = RING_WIDTH if -1 in (way.road, out.road) else LANE_WIDTH
            polygons.append(self.connector(points, block_id, way.lane_ids[i], out.lane_ids[j], limit, lights, width))
            self.movements.append(Movement(self.connectors[-1].id, junction, turn, line, rank))
        polygon = largest(shapely.union_all([shapely.buffer(p, 0.01) for p in polygons]))
        self.block_connectors.append(Roadblock(block_id, polygon, True, way.block_id, out.block_id, intersection_id))

    def connector(
        self,
        points: Floats,
        block_id: str,
        from_lane: str,
        to_lane: str,
        limit: float,
        lights: tuple[str, ...],
        width: float,
    ) -> Polygon:
        half = width / 2 + np.minimum(TURN_WIDENING * np.abs(curvatures(points)), 0.5)[:, None]
        half[[0, -1]] = width / 2
        left = normals(points)
        edges = points + left * half, points - left * half
        polygon = strip(*edges)
        self.connectors.append(
            Lane(
                self.new_id(),
                polygon,
                Polyline(points),
                Polyline(edges[0]),
                Polyline(edges[1]),
                block_id,
                limit,
                is_connector=True,
                from_lane=from_lane,
                to_lane=to_lane,
                stop_polygon_ids=lights,
            )
        )
        return polygon

    def across(self, arm: Arm, near: float, far: float, inner: float, outer: float) -> Polygon:
        """A rectangle at a road's end, `near` to `far` [m] inwards, sideways on the side of traffic coming in."""
        origin, inwards, side = self.end_frame(arm)
        corners = [(near, inner), (far, inner), (far, outer), (near, outer)]
        return Polygon([origin + a * inwards + b * side for a, b in corners])

    def end_frame(self, arm: Arm) -> tuple[Floats, Floats, Floats]:
        """A road's end, the direction into the junction, and the side (right of it) where traffic comes in."""
        reference = self.layout.roads[arm.road].reference
        pose = end_pose(reference[::-1] if arm.at_start else reference)
        return pose[:2], unit(pose[2]), unit(pose[2] - math.pi / 2)


def reach(profile: Profile, forward: bool) -> float:
    """[m] from the reference line to the outer edge of the lanes of one direction."""
    return profile.median / 2 + (profile.forward if forward else profile.backward) * LANE_WIDTH


def advised_speed(points: Floats, turn: Turn) -> float:
    """[m/s] a multiple of 5 mph at which a turn is comfortable."""
    if turn is Turn.STRAIGHT:
        return math.inf
    tightest = float(np.abs(curvatures(points)).max())
    return max(math.floor(math.sqrt(TURN_COMFORT / tightest) / (5 * MPH)), 2) * 5 * MPH


def rounded_union(shapes: list[Polygon], radius: float = KERB_RADIUS) -> Polygon:
    """One polygon around shapes, its concave corners rounded off."""
    union = shapely.union_all([shapely.buffer(shape, 0.02) for shape in shapes])
    closed = shapely.buffer(shapely.buffer(union, radius, quad_segs=6), -radius, quad_segs=6)
    return largest(shapely.union_all([closed, union]))

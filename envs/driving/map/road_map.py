"""The road map: lanes, roadblocks and areas as plain typed objects, the lane graph, and fast queries on all of them.

A map is built from the records a nuPlan map holds. Lanes and lane connectors are the *edges* of the lane graph and
share one index space (`Map.edges`, lanes first); roadblocks and roadblock connectors are its *blocks* (`Map.blocks`,
roadblocks first). An index is unique where an id of nuPlan need not be. Everything else is a polygon layer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LineString, Point, Polygon
from shapely.geometry.base import BaseGeometry

from embodia.envs.driving.types import Bools, Floats, Ints

CURVATURE_STEP = 2.0  # [m] between the three points that give a curvature
HEADING_STEP = 0.5  # [m] ahead of a projected point, to give its heading


class StopPolygonType(IntEnum):
    PEDESTRIAN_CROSSING = 0
    STOP_SIGN = 1
    TRAFFIC_LIGHT = 2
    TURN_STOP = 3
    YIELD = 4


class Polyline:
    """A directed line: points (n, 2) with arc lengths `s` (n,) and headings (n,), the last heading repeated."""

    def __init__(self, points: Any):
        self.points = np.asarray(points, np.float64)[:, :2]  # (n, 2)
        if len(self.points) < 2 or not np.isfinite(self.points).all():
            raise ValueError(f"a polyline needs at least two finite points; got {self.points.tolist()}")
        steps = np.diff(self.points, axis=0)
        self.s = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])  # [m]
        headings = np.arctan2(steps[:, 1], steps[:, 0])
        self.headings = np.append(headings, headings[-1])  # [rad]

    @property
    def length(self) -> float:
        """[m]"""
        return float(self.s[-1])

    @cached_property
    def line(self) -> LineString:
        return LineString(self.points)

    @property
    def poses(self) -> Floats:
        """(n, 3) x, y, heading of every node."""
        return np.column_stack([self.points, self.headings])

    def project(self, points: Floats) -> Floats:
        """Arc length (...) [m] of the nearest point on the line to points (..., 2)."""
        return np.asarray(shapely.line_locate_point(self.line, shapely.points(points)))

    def point_at(self, s: Any) -> Floats:
        """Points (..., 2) at arc lengths s (...); clamped to the ends."""
        x, y = (np.interp(s, self.s, self.points[:, k]) for k in range(2))
        return np.stack([x, y], axis=-1)

    def heading_at(self, s: Any) -> Floats:
        """Heading (...) [rad] of the chord from s to s + 0.5 m, backwards from the end of the line."""
        start = np.minimum(np.maximum(np.asarray(s, np.float64), 0.0), self.length)
        ahead, here, behind = (self.point_at(start + step) for step in (HEADING_STEP, 0.0, -HEADING_STEP))
        at_end = np.all(ahead == here, axis=-1)[..., None]
        chord = np.where(at_end, here - behind, ahead - here)
        return np.arctan2(chord[..., 1], chord[..., 0])

    def pose_at(self, s: Any) -> Floats:
        """Poses (..., 3) at arc lengths s (...)."""
        return np.concatenate([self.point_at(s), self.heading_at(s)[..., None]], axis=-1)

    def nearest_pose(self, points: Floats) -> Floats:
        """Poses (..., 3) on the line nearest to points (..., 2)."""
        return self.pose_at(self.project(points))

    def curvature_at(self, s: float) -> float:
        """Signed curvature [1/m] of the circle through three points 2 m apart around s (nearer on short lines)."""
        step = min(CURVATURE_STEP, self.length / 2)
        middle = min(max(s, step), self.length - step)
        return three_point_curvature(self.point_at(np.array([middle - step, middle, middle + step])))


def three_point_curvature(points: Floats) -> float:
    """Signed curvature [1/m] of the circle through points (3, 2): four triangle areas over the product of its sides."""
    first, second, third = points
    a, b, c = np.linalg.norm(second - first), np.linalg.norm(third - second), np.linalg.norm(first - third)
    sixteen_areas_squared = (a + (b + c)) * (c - (a - b)) * (c + (a - b)) * (a + (b - c))
    if sixteen_areas_squared < 1e-6 or a * b * c < 1e-8:
        return 0.0
    side = np.sign((second - first)[0] * (third - first)[1] - (second - first)[1] * (third - first)[0])
    return float(side * np.sqrt(sixteen_areas_squared) / (a * b * c))


@dataclass(frozen=True, eq=False)
class Lane:
    """An edge of the lane graph: a lane, or a lane connector that joins `from_lane` to `to_lane` in an intersection."""

    id: str
    polygon: Polygon
    baseline: Polyline
    left_boundary: Polyline
    right_boundary: Polyline
    roadblock_id: str
    speed_limit: float | None = None  # [m/s]
    index: int = 0  # of lanes: counted from the left within its roadblock; of connectors: an order
    is_connector: bool = False
    from_lane: str | None = None  # of connectors: id of the lane it leaves
    to_lane: str | None = None  # of connectors: id of the lane it enters
    stop_polygon_ids: tuple[str, ...] = ()  # of connectors: stop lines of its traffic light; () without a light

    @property
    def has_traffic_light(self) -> bool:
        return bool(self.stop_polygon_ids)


@dataclass(frozen=True, eq=False)
class Roadblock:
    """Lanes side by side (roadblock), or the connectors between two roadblocks (roadblock connector)."""

    id: str
    polygon: Polygon
    is_connector: bool = False
    from_block: str | None = None
    to_block: str | None = None
    intersection_id: str | None = None


class PolygonLayer:
    """Polygons with ids and a search tree. Results keep the layer's own order, as the devkit's tables do."""

    def __init__(self, ids: Sequence[str], polygons: Sequence[BaseGeometry]):
        self.ids = tuple(str(i) for i in ids)
        self.polygons: NDArray[np.object_] = np.empty(len(polygons), object)
        self.polygons[:] = list(polygons)
        shapely.prepare(self.polygons)
        self.tree = shapely.STRtree(self.polygons)

    @classmethod
    def of(cls, records: Iterable[Any]) -> "PolygonLayer":
        """The layer of anything with `id` and `polygon`."""
        records = list(records)
        return cls([r.id for r in records], [r.polygon for r in records])

    def __len__(self) -> int:
        return len(self.ids)

    def containing(self, points: Floats) -> tuple[Ints, Ints]:
        """Pairs (point index, polygon index), sorted, of points (n, 2) strictly inside polygons."""
        if not len(self) or not len(points):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        point, polygon = self.tree.query(shapely.points(points))
        inside = shapely.contains_xy(self.polygons[polygon], points[point, 0], points[point, 1])
        point, polygon = point[inside], polygon[inside]
        order = np.lexsort((polygon, point))
        return point[order], polygon[order]

    def inside(self, points: Floats) -> Bools:
        """(n, len(self)) whether point i is strictly inside polygon j."""
        table = np.zeros((len(points), len(self)), bool)
        table[self.containing(points)] = True
        return table

    def contains(self, points: Floats) -> Bools:
        """(n,) whether points (n, 2) are inside any polygon."""
        mask = np.zeros(len(points), bool)
        mask[self.containing(points)[0]] = True
        return mask

    def at(self, x: float, y: float) -> list[int]:
        """Indices of the polygons that contain one point."""
        return self.containing(np.array([[x, y]]))[1].tolist()

    def distance(self, points: Floats) -> Floats:
        """(n,) distance [m] from points (n, 2) to the nearest polygon, 0 inside; inf for an empty layer."""
        if not len(self):
            return np.full(len(points), np.inf)
        geometries = shapely.points(points)
        found, distance = self.tree.query_nearest(geometries, return_distance=True, all_matches=False)
        out = np.full(len(points), np.inf)
        out[found[0]] = distance
        return out

    def intersecting(self, geometry: BaseGeometry) -> list[int]:
        """Indices of the polygons that intersect a geometry."""
        return sorted(self.tree.query(geometry, predicate="intersects").tolist())

    def near(self, x: float, y: float, radius: float) -> list[int]:
        """Indices of the polygons that intersect the square of half side `radius` [m] around a point."""
        return self.intersecting(shapely.box(x - radius, y - radius, x + radius, y + radius))


def empty_layer() -> PolygonLayer:
    return PolygonLayer((), ())


@dataclass(eq=False)
class Map:
    """A road map: records in, lane graph and queries out.

    Graph: `outgoing[e]` and `incoming[e]` are edge indices, `left[e]` and `right[e]` the neighbour's index or None,
    `block_of[e]` its block's index, `block_edges[b]` the edges of a block, `block_outgoing[b]`, `block_incoming[b]`.
    Raises ValueError for a connector or lane that names an unknown lane or roadblock.
    """

    name: str
    lanes: Sequence[Lane]
    connectors: Sequence[Lane] = ()
    roadblocks: Sequence[Roadblock] = ()
    roadblock_connectors: Sequence[Roadblock] = ()
    intersections: PolygonLayer = field(default_factory=empty_layer)
    crosswalks: PolygonLayer = field(default_factory=empty_layer)
    stop_polygons: PolygonLayer = field(default_factory=empty_layer)
    stop_polygon_types: Sequence[int] = ()  # StopPolygonType, one per stop polygon
    walkways: PolygonLayer = field(default_factory=empty_layer)
    carparks: PolygonLayer = field(default_factory=empty_layer)
    road_segments: PolygonLayer = field(default_factory=empty_layer)
    generic_drivable_areas: PolygonLayer = field(default_factory=empty_layer)

    def __post_init__(self) -> None:
        self.edges: list[Lane] = [*self.lanes, *self.connectors]
        self.blocks: list[Roadblock] = [*self.roadblocks, *self.roadblock_connectors]
        self.num_lanes = len(self.lanes)
        self.lane_index = {lane.id: i for i, lane in enumerate(self.lanes)}
        self.connector_index = {lane.id: i + self.num_lanes for i, lane in enumerate(self.connectors)}
        self._roadblock_index = {b.id: i for i, b in enumerate(self.roadblocks)}
        self._roadblock_connector_index = {
            b.id: i + len(self.roadblocks) for i, b in enumerate(self.roadblock_connectors)
        }
        self._start_curvatures: dict[int, float] = {}
        self._stop_lines: dict[int, list[Polygon]] = {}
        self._build_lane_graph()
        self._build_block_graph()

    def _build_lane_graph(self) -> None:
        self.outgoing: list[list[int]] = [[] for _ in self.edges]
        self.incoming: list[list[int]] = [[] for _ in self.edges]
        for edge in self._connectors_in_order():
            connector = self.edges[edge]
            for lane_id, forward in ((connector.from_lane, False), (connector.to_lane, True)):
                if lane_id not in self.lane_index:
                    raise ValueError(f"map {self.name}: lane connector {connector.id} names unknown lane {lane_id}")
                lane = self.lane_index[str(lane_id)]
                (self.outgoing if forward else self.incoming)[edge].append(lane)
                (self.incoming if forward else self.outgoing)[lane].append(edge)

    def _connectors_in_order(self) -> list[int]:
        """Connectors in the order of nuPlan's connector table; ties of "the first one" are broken by it."""
        return sorted(range(self.num_lanes, len(self.edges)), key=lambda e: self.edges[e].index)

    def _build_block_graph(self) -> None:
        self.block_of: list[int] = [self._block_of(edge) for edge in self.edges]
        self.block_edges: list[list[int]] = [[] for _ in self.blocks]
        for edge in (*range(self.num_lanes), *self._connectors_in_order()):
            self.block_edges[self.block_of[edge]].append(edge)
        self.left = [self._neighbour(edge, -1) for edge in range(len(self.edges))]
        self.right = [self._neighbour(edge, +1) for edge in range(len(self.edges))]
        self.block_outgoing: list[list[int]] = [[] for _ in self.blocks]
        self.block_incoming: list[list[int]] = [[] for _ in self.blocks]
        for block in range(len(self.roadblocks), len(self.blocks)):
            record = self.blocks[block]
            for other_id, forward in ((record.from_block, False), (record.to_block, True)):
                if other_id not in self._roadblock_index:
                    raise ValueError(f"map {self.name}: roadblock connector {record.id} names roadblock {other_id}")
                other = self._roadblock_index[str(other_id)]
                (self.block_outgoing if forward else self.block_incoming)[block].append(other)
                (self.block_incoming if forward else self.block_outgoing)[other].append(block)

    def _block_of(self, edge: Lane) -> int:
        index = self._roadblock_connector_index if edge.is_connector else self._roadblock_index
        if edge.roadblock_id not in index:
            kind = "lane connector" if edge.is_connector else "lane"
            raise ValueError(f"map {self.name}: {kind} {edge.id} names unknown roadblock {edge.roadblock_id}")
        return index[edge.roadblock_id]

    def _neighbour(self, edge: int, side: int) -> int | None:
        """Only lanes have neighbours: the lane of the same roadblock whose index is one less (left) or more."""
        if edge >= self.num_lanes:
            return None
        siblings = self.block_edges[self.block_of[edge]]
        wanted = self.edges[edge].index + side
        return next((e for e in siblings if self.edges[e].index == wanted), None)

    @cached_property
    def lane_layer(self) -> PolygonLayer:
        return PolygonLayer.of(self.lanes)

    @cached_property
    def connector_layer(self) -> PolygonLayer:
        return PolygonLayer.of(self.connectors)

    @cached_property
    def block_layer(self) -> PolygonLayer:
        return PolygonLayer.of(self.blocks)

    @cached_property
    def drivable_area(self) -> PolygonLayer:
        """Road segments, intersections, generic drivable areas and car parks in one layer."""
        parts = (self.road_segments, self.intersections, self.generic_drivable_areas, self.carparks)
        return PolygonLayer([i for p in parts for i in p.ids], [g for p in parts for g in p.polygons])

    def lanes_at(self, x: float, y: float) -> list[int]:
        """Edges (lanes only) that contain a point."""
        return self.lane_layer.at(x, y)

    def connectors_at(self, x: float, y: float) -> list[int]:
        """Edges (connectors only) that contain a point."""
        return [i + self.num_lanes for i in self.connector_layer.at(x, y)]

    def edges_near(self, x: float, y: float, radius: float) -> list[int]:
        """Lanes and connectors that touch the square of half side `radius` [m] around a point."""
        connectors = [i + self.num_lanes for i in self.connector_layer.near(x, y, radius)]
        return self.lane_layer.near(x, y, radius) + connectors

    def block(self, block_id: str) -> int | None:
        """Index of a roadblock by id, else of a roadblock connector, else None (a route may be stale)."""
        return self._roadblock_index.get(block_id, self._roadblock_connector_index.get(block_id))

    def start_curvature(self, edge: int) -> float:
        """|curvature| [1/m] where an edge begins: the straightest continuation has the smallest."""
        if edge not in self._start_curvatures:
            self._start_curvatures[edge] = abs(self.edges[edge].baseline.curvature_at(0.0))
        return self._start_curvatures[edge]

    @cached_property
    def _stop_polygon_index(self) -> dict[str, int]:
        return {stop_id: i for i, stop_id in enumerate(self.stop_polygons.ids)}

    def stop_lines(self, edge: int) -> list[Polygon]:
        """Stop polygons of a connector's traffic light: those its baseline crosses, else the one nearest its start."""
        if edge not in self._stop_lines:
            self._stop_lines[edge] = self._find_stop_lines(edge)
        return self._stop_lines[edge]

    def _find_stop_lines(self, edge: int) -> list[Polygon]:
        connector = self.edges[edge]
        known = [self._stop_polygon_index[i] for i in connector.stop_polygon_ids if i in self._stop_polygon_index]
        polygons = [self.stop_polygons.polygons[i] for i in known]
        crossed = [p for p in polygons if p.intersects(connector.baseline.line)]
        if crossed or not polygons:
            return crossed
        start = Point(connector.baseline.points[0])
        return [min(polygons, key=start.distance)]

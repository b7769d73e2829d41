"""From a town plan to a road map: lanes side by side, connectors through junctions, stop lines, crosswalks, roadsides.

Traffic keeps to the right. Lanes of a roadblock share their boundaries exactly, so a point is in one lane at most.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import shapely
from shapely.geometry import Polygon

from embodia.envs.driving.generator.road_curves import (
    arc,
    curvatures,
    end_pose,
    joint,
    largest,
    normals,
    start_pose,
    strip,
    unit,
)
from embodia.envs.driving.generator.road_layout import (
    CROSSWALK_DEPTH,
    CROSSWALK_GAP,
    LANE_WIDTH,
    MPH,
    ROUNDABOUT_RADIUS,
    Arm,
    JunctionKind,
    JunctionPlan,
    Layout,
    Profile,
)
from embodia.envs.driving.map.road_map import Lane, Map, PolygonLayer, Polyline, Roadblock, StopPolygonType
from embodia.envs.driving.types import Floats

CONNECTOR_STEP = 0.5  # [m] between points of a connector
TURN_WIDENING = 9.0  # [m^2] a connector's half width grows by this times its curvature, at most by half a metre
TURN_COMFORT = 3.0  # [m/s^2] lateral acceleration behind the advised speed of a turn
ROUNDABOUT_LIMIT = 15 * MPH
RING_WIDTH = 5.0  # [m] of a roundabout's lane: vehicles swing out in it
ROUNDABOUT_ZONE = 0.60  # [rad] half of the ring that an arm's junction takes
KERB_RADIUS = 6.0  # [m]
PARKING_WIDTH, PARKING_SPACING, PARKING_CLEARANCE = 2.5, 6.6, 20.0  # [m]
WALKWAY_WIDTH = 2.4  # [m]
STOP_KINDS = {
    JunctionKind.SIGNAL: StopPolygonType.TRAFFIC_LIGHT,
    JunctionKind.STOP: StopPolygonType.STOP_SIGN,
    JunctionKind.YIELD: StopPolygonType.YIELD,
    JunctionKind.ROUNDABOUT: StopPolygonType.YIELD,
}


class Turn(Enum):
    STRAIGHT = "straight"
    LEFT = "left"
    RIGHT = "right"
    CIRCLE = "circle"  # on along a roundabout's ring


@dataclass(frozen=True)
class Carriageway:
    """One direction of a road."""

    block_id: str
    lane_ids: tuple[str, ...]  # leftmost first
    baselines: tuple[Floats, ...]
    road: int
    speed_limit: float


@dataclass(frozen=True)
class Movement:
    """A connector with its place in a junction. `rank` 0 has the right of way over 1, and so on."""

    connector_id: str
    junction: int
    turn: Turn
    line: int  # the street it comes from
    rank: int


@dataclass(frozen=True)
class Crossing:
    """A crosswalk to walk on, from kerb to kerb."""

    id: str
    start: Floats
    end: Floats
    junction: int | None
    line: int  # the street it crosses


@dataclass
class Roadside:
    """What lies beside the lanes."""

    parking: list[Floats] = field(default_factory=list)  # poses (3,) of parking spots
    pickup_areas: list[Polygon] = field(default_factory=list)
    sidewalks: list[Floats] = field(default_factory=list)  # (n, 2) lines to walk on
    shoulders: dict[str, float] = field(default_factory=dict)  # [m] by id of the rightmost lane


@dataclass
class RoadNetwork:
    map: Map
    junctions: list[JunctionPlan]
    movements: list[Movement]
    crossings: list[Crossing]
    roadside: Roadside


def build(layout: Layout, name: str, rng: np.random.Generator) -> RoadNetwork | None:
    """The network of a plan; None where roads would overlap, so that the caller draws another plan."""
    return _Builder(layout, name, rng).build()


def turn_of(arm_in: Arm, arm_out: Arm) -> Turn | None:
    """Which way one turns from an arm into another; None for a U turn."""
    angle = math.remainder(arm_out.heading - arm_in.heading - math.pi, math.tau)
    if abs(angle) > 2.6:
        return None
    if abs(angle) < 0.65:
        return Turn.STRAIGHT
    return Turn.LEFT if angle > 0 else Turn.RIGHT


def lane_pairs(lanes_in: int, lanes_out: dict[Turn, int]) -> list[tuple[int, Turn, int]]:
    """(lane in, turn, lane out), lanes counted from the left; every lane in leads somewhere."""
    left, right, straight = lanes_out.get(Turn.LEFT), lanes_out.get(Turn.RIGHT), lanes_out.get(Turn.STRAIGHT)
    last = lanes_in - 1
    pairs: list[tuple[int, Turn, int]] = []
    if straight:
        only_left = bool(left) and lanes_in >= 2 and (lanes_in >= 3 or lanes_in > straight)
        pairs += [(i, Turn.STRAIGHT, min(i, straight - 1)) for i in range(int(only_left), lanes_in)]
        pairs += [(0, Turn.LEFT, 0)] if left else []
        pairs += [(last, Turn.RIGHT, right - 1)] if right else []
        return pairs
    split = (lanes_in + 1) // 2 if right else lanes_in
    if left:
        pairs += [(i, Turn.LEFT, min(i, left - 1)) for i in range(split)]
    if right:
        first = 0 if not left else min(split, last)
        pairs += [(i, Turn.RIGHT, max(right - 1 - (last - i), 0)) for i in range(first, lanes_in)]
    return pairs


class _Builder:
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

    def build(self) -> RoadNetwork | None:
        for road in range(len(self.layout.roads)):
            for forward in (True, False):
                self._carriageway(road, forward)
        if self._overlaps():
            return None
        for index, junction in enumerate(self.layout.junctions):
            if junction.kind is JunctionKind.ROUNDABOUT:
                self._roundabout(index, junction)
            else:
                self._junction(index, junction)
        for road in range(len(self.layout.roads)):
            self._mid_crosswalk(road)
            self._beside(road)
        return RoadNetwork(self._map(), self.layout.junctions, self.movements, self.crossings, self.roadside)

    def _map(self) -> Map:
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

    def _id(self) -> str:
        return str(next(self.ids))

    def _add(self, layer: str, polygon: Polygon) -> str:
        new = self._id()
        self.layers.setdefault(layer, []).append((new, polygon))
        return new

    # Roads

    def _carriageway(self, road: int, forward: bool) -> None:
        plan = self.layout.roads[road]
        profile = plan.profile
        reference = plan.reference if forward else plan.reference[::-1]
        count = profile.forward if forward else profile.backward
        left = normals(reference)
        edges = [reference - left * (profile.median / 2 + i * LANE_WIDTH) for i in range(count + 1)]
        lines = [reference - left * (profile.median / 2 + (i + 0.5) * LANE_WIDTH) for i in range(count)]
        block_id = self._id()
        ids = tuple(self._id() for _ in range(count))
        for i in range(count):
            self._lane(ids[i], lines[i], edges[i], edges[i + 1], block_id, profile.speed_limit, i)
        polygon = strip(edges[0], edges[-1])
        self.blocks.append(Roadblock(block_id, polygon))
        self._add("road_segments", polygon)
        if profile.shoulder:
            self._add("generic_drivable_areas", strip(edges[-1], edges[-1] - left * profile.shoulder))
        self.roadside.shoulders[ids[-1]] = profile.shoulder
        self.ways[road, forward] = Carriageway(block_id, ids, tuple(lines), road, profile.speed_limit)

    def _lane(
        self, lane_id: str, line: Floats, left: Floats, right: Floats, block_id: str, limit: float, index: int
    ) -> None:
        self.lanes.append(
            Lane(lane_id, strip(left, right), Polyline(line), Polyline(left), Polyline(right), block_id, limit, index)
        )

    def _overlaps(self) -> bool:
        """Whether roads run into one another, or into junctions that are not theirs."""
        roads = [self._kerb_to_kerb(road, 6.0) for road in range(len(self.layout.roads))]
        tree = shapely.STRtree(roads)
        first, second = tree.query(roads, predicate="intersects")
        return bool(np.any(first != second)) or not all(road.is_valid for road in roads)

    def _kerb_to_kerb(self, road: int, margin: float) -> Polygon:
        plan = self.layout.roads[road]
        profile, left = plan.profile, normals(plan.reference)
        reach_right, reach_left = self._reach(profile, True) + margin, self._reach(profile, False) + margin
        trim = slice(12, -12)  # ends lie close together at a junction
        return Polygon(
            np.concatenate(
                [
                    (plan.reference - left * reach_right)[trim],
                    (plan.reference + left * reach_left)[trim][::-1],
                ]
            )
        )

    @staticmethod
    def _reach(profile: Profile, forward: bool) -> float:
        """[m] from the reference line to the outer edge of the lanes of one direction."""
        return profile.median / 2 + (profile.forward if forward else profile.backward) * LANE_WIDTH

    # Junctions

    def _incoming(self, arm: Arm) -> Carriageway:
        return self.ways[arm.road, not arm.at_start]

    def _outgoing(self, arm: Arm) -> Carriageway:
        return self.ways[arm.road, arm.at_start]

    def _junction(self, index: int, junction: JunctionPlan) -> None:
        first = len(self.connectors)
        intersection_id = self._id()
        for arm in junction.arms:
            stops = (self._stop_polygon(arm, STOP_KINDS[junction.kind]),) if self._stops(junction, arm) else ()
            lights = stops if junction.kind is JunctionKind.SIGNAL else ()
            self._leave(index, junction, arm, lights, intersection_id)
            if junction.crosswalks:
                self._crosswalk(index, arm)
        shapes = [c.polygon for c in self.connectors[first:]] + [self._mouth(a, junction) for a in junction.arms]
        self.layers.setdefault("intersections", []).append((intersection_id, rounded_union(shapes)))

    @staticmethod
    def _stops(junction: JunctionPlan, arm: Arm) -> bool:
        if junction.kind is JunctionKind.YIELD:
            return arm.line == 1
        return junction.kind in STOP_KINDS

    def _leave(
        self, index: int, junction: JunctionPlan, arm: Arm, lights: tuple[str, ...], intersection_id: str
    ) -> None:
        """All connectors out of one arm."""
        way = self._incoming(arm)
        others = {turn: other for other in junction.arms if other is not arm and (turn := turn_of(arm, other))}
        if junction.kind is JunctionKind.JOIN:
            self._join(index, way, self._outgoing(others[Turn.STRAIGHT]), intersection_id)
            return
        lanes_out = {turn: len(self._outgoing(other).lane_ids) for turn, other in others.items()}
        for turn, other in others.items():
            out = self._outgoing(other)
            rank = _rank(junction.kind, arm, turn)
            pairs = [(i, j) for i, t, j in lane_pairs(len(way.lane_ids), lanes_out) if t is turn]
            if pairs:
                self._connect(way, out, pairs, turn, index, arm.line, rank, lights, intersection_id)

    def _join(self, index: int, way: Carriageway, out: Carriageway, intersection_id: str) -> None:
        n, m = len(way.lane_ids), len(out.lane_ids)
        pairs = [(i, min(i, m - 1)) for i in range(n)] + [(n - 1, j) for j in range(n, m)]
        self._connect(way, out, pairs, Turn.STRAIGHT, index, 0, 0, (), intersection_id)

    def _connect(
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
        block_id = self._id()
        polygons = []
        for i, j in pairs:
            points = joint(end_pose(way.baselines[i]), start_pose(out.baselines[j]), CONNECTOR_STEP)
            limit = min(way.speed_limit, out.speed_limit, _advised_speed(points, turn))
            width = RING_WIDTH if -1 in (way.road, out.road) else LANE_WIDTH
            polygons.append(self._connector(points, block_id, way.lane_ids[i], out.lane_ids[j], limit, lights, width))
            self.movements.append(Movement(self.connectors[-1].id, junction, turn, line, rank))
        polygon = largest(shapely.union_all([shapely.buffer(p, 0.01) for p in polygons]))
        self.block_connectors.append(Roadblock(block_id, polygon, True, way.block_id, out.block_id, intersection_id))

    def _connector(
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
                self._id(),
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

    def _stop_polygon(self, arm: Arm, kind: StopPolygonType) -> str:
        """A band across the end of the lanes that come in, 0.8 m to both sides of it."""
        plan = self.layout.roads[arm.road]
        profile = plan.profile
        inner, outer = profile.median / 2, self._reach(profile, not arm.at_start)
        self.stop_types.append(int(kind))
        return self._add("stop_polygons", self._across(arm, -0.8, 0.8, inner, outer))

    def _across(self, arm: Arm, near: float, far: float, inner: float, outer: float) -> Polygon:
        """A rectangle at a road's end, `near` to `far` [m] inwards, sideways on the side of traffic coming in."""
        origin, inwards, side = self._end_frame(arm)
        corners = [(near, inner), (far, inner), (far, outer), (near, outer)]
        return Polygon([origin + a * inwards + b * side for a, b in corners])

    def _end_frame(self, arm: Arm) -> tuple[Floats, Floats, Floats]:
        """A road's end, the direction into the junction, and the side (right of it) where traffic comes in."""
        reference = self.layout.roads[arm.road].reference
        pose = end_pose(reference[::-1] if arm.at_start else reference)
        return pose[:2], unit(pose[2]), unit(pose[2] - math.pi / 2)

    def _mouth(self, arm: Arm, junction: JunctionPlan) -> Polygon:
        profile = self.layout.roads[arm.road].profile
        side_in, side_out = self._reach(profile, not arm.at_start), self._reach(profile, arm.at_start)
        return self._across(arm, 0.0, arm.setback, -side_out, side_in)

    # Roundabouts: one ring lane, counter-clockwise; each arm's junction takes a part of the ring

    def _roundabout(self, index: int, junction: JunctionPlan) -> None:
        arms = sorted(junction.arms, key=lambda arm: arm.heading % math.tau)
        ring: list[Carriageway] = []
        for arm, following in zip(arms, [*arms[1:], arms[0]]):
            start = arm.heading + ROUNDABOUT_ZONE
            span = (following.heading - arm.heading) % math.tau - 2 * ROUNDABOUT_ZONE
            ring.append(self._ring_lane(junction, start, start + span))
        for k, arm in enumerate(arms):
            self._ring_junction(index, junction, arm, ring[k - 1], ring[k])

    def _ring_lane(self, junction: JunctionPlan, start: float, end: float) -> Carriageway:
        radii = [ROUNDABOUT_RADIUS, ROUNDABOUT_RADIUS - RING_WIDTH / 2, ROUNDABOUT_RADIUS + RING_WIDTH / 2]
        line, left, right = (arc(junction.center, r, start, end, CONNECTOR_STEP) for r in radii)
        block_id, lane_id = self._id(), self._id()
        self._lane(lane_id, line, left, right, block_id, ROUNDABOUT_LIMIT, 0)
        polygon = strip(left, right)
        self.blocks.append(Roadblock(block_id, polygon))
        self._add("road_segments", polygon)
        return Carriageway(block_id, (lane_id,), (line,), -1, ROUNDABOUT_LIMIT)

    def _ring_junction(
        self, index: int, junction: JunctionPlan, arm: Arm, before: Carriageway, after: Carriageway
    ) -> None:
        first = len(self.connectors)
        intersection_id = self._id()
        enter, leave = self._incoming(arm), self._outgoing(arm)
        last = len(enter.lane_ids) - 1
        self._stop_polygon(arm, StopPolygonType.YIELD)
        self._ring_arc(index, junction, arm, before, after, intersection_id)
        self._connect(
            before, leave, [(0, len(leave.lane_ids) - 1)], Turn.RIGHT, index, arm.line, 0, (), intersection_id
        )
        pairs = [(i, 0) for i in range(last + 1)]
        self._connect(enter, after, pairs, Turn.RIGHT, index, arm.line, 1, (), intersection_id)
        shapes = [c.polygon for c in self.connectors[first:]]
        self.layers.setdefault("intersections", []).append((intersection_id, rounded_union(shapes, 1.5)))

    def _ring_arc(
        self, index: int, junction: JunctionPlan, arm: Arm, before: Carriageway, after: Carriageway, where: str
    ) -> None:
        """The connector that stays on the ring past an arm."""
        zone = (arm.heading - ROUNDABOUT_ZONE, arm.heading + ROUNDABOUT_ZONE)
        points = arc(junction.center, ROUNDABOUT_RADIUS, *zone, CONNECTOR_STEP)
        block_id = self._id()
        lanes = before.lane_ids[0], after.lane_ids[0]
        polygon = self._connector(points, block_id, *lanes, ROUNDABOUT_LIMIT, (), RING_WIDTH)
        self.movements.append(Movement(self.connectors[-1].id, index, Turn.CIRCLE, arm.line, 0))
        self.block_connectors.append(Roadblock(block_id, polygon, True, before.block_id, after.block_id, where))

    # Crosswalks and roadsides

    def _crosswalk(self, index: int, arm: Arm) -> None:
        profile = self.layout.roads[arm.road].profile
        side_in, side_out = self._reach(profile, not arm.at_start), self._reach(profile, arm.at_start)
        near, far = CROSSWALK_GAP, CROSSWALK_GAP + CROSSWALK_DEPTH
        crosswalk = self._add("crosswalks", self._across(arm, near, far, -side_out, side_in))
        origin, inwards, side = self._end_frame(arm)
        middle = origin + inwards * (near + far) / 2
        shoulder = profile.shoulder + 0.4
        ends = middle - side * (side_out + shoulder), middle + side * (side_in + shoulder)
        self.crossings.append(Crossing(crosswalk, *ends, index, arm.line))

    def _mid_crosswalk(self, road: int) -> None:
        plan = self.layout.roads[road]
        if plan.crosswalk_at is None or len(plan.reference) < 70:
            return
        k = int(plan.crosswalk_at * len(plan.reference))
        right, left = self._reach(plan.profile, True), self._reach(plan.profile, False)
        normal = normals(plan.reference)[k]
        along = np.array([normal[1], -normal[0]]) * CROSSWALK_DEPTH / 2
        middle = plan.reference[k]
        corners = [middle + a * along + b for a, b in ((-1, normal * left), (1, normal * left))]
        corners += [middle + a * along - b for a, b in ((1, normal * right), (-1, normal * right))]
        crosswalk = self._add("crosswalks", Polygon(corners))
        shoulder = plan.profile.shoulder + 0.4
        ends = middle + normal * (left + shoulder), middle - normal * (right + shoulder)
        self.crossings.append(Crossing(crosswalk, *ends, None, 0))

    def _beside(self, road: int) -> None:
        """Parking, pickup areas and walkways along both sides of a road."""
        plan = self.layout.roads[road]
        for forward in (True, False):
            reference = plan.reference if forward else plan.reference[::-1]
            kerb = self._reach(plan.profile, forward) + plan.profile.shoulder
            left = normals(reference)
            parking = plan.profile.parking[0 if forward else 1]
            if parking:
                self._parking(reference, left, kerb, plan.crosswalk_at)
            inner = kerb + (PARKING_WIDTH if parking else 0.0) + 0.8
            outer = inner + WALKWAY_WIDTH
            self._add("walkways", strip(reference - left * inner, reference - left * outer))
            self.roadside.sidewalks.append(reference - left * (inner + outer) / 2)

    def _parking(self, reference: Floats, left: Floats, kerb: float, crosswalk_at: float | None) -> None:
        """Stretches of kerbside parking that keep clear of junctions and crosswalks, some of them pickup areas."""
        keep = int(PARKING_CLEARANCE)
        stretches = [(keep, len(reference) - keep)]
        if crosswalk_at is not None:
            middle = len(reference) // 2
            stretches = [(keep, middle - 8), (middle + 8, len(reference) - keep)]
        for first, last in stretches:
            if last - first < 14:
                continue
            part = slice(first, last)
            inner, outer = reference[part] - left[part] * kerb, reference[part] - left[part] * (kerb + PARKING_WIDTH)
            polygon = strip(inner, outer)
            self._add("carparks", polygon)
            pickup = self.rng.random() < self.layout.pickup
            if pickup:
                self.roadside.pickup_areas.append(polygon)
            self._spots((inner + outer) / 2, 0.25 if pickup else 0.7)

    def _spots(self, line: Floats, share: float) -> None:
        for k in range(4, len(line) - 4, math.ceil(PARKING_SPACING)):
            if self.rng.random() < share:
                heading = math.atan2(*(line[k + 1] - line[k - 1])[::-1])
                self.roadside.parking.append(np.append(line[k], heading))


def _rank(kind: JunctionKind, arm: Arm, turn: Turn) -> int:
    """Right of way: at yield signs the first street before the second; left turns after everything else."""
    street = arm.line if kind is JunctionKind.YIELD else 0
    return 2 * street + (turn is Turn.LEFT)


def _advised_speed(points: Floats, turn: Turn) -> float:
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

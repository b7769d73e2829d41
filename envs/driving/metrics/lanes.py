"""Which lanes a driven path is associated with: nuPlan's route of a point sequence and of the ego's corners.

An association is a list of edge indices of the map (empty where there is none). Every containment is asked for once,
on arrays; the rules that follow only look answers up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import shapely

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import Bools, Floats

Association = list[int]
NEAR_CONNECTOR = 5.0  # [m] within which a path that strayed keeps its connector


@dataclass(frozen=True)
class Membership:
    """For each of n points: the lanes and the connectors that contain it, and whether an intersection does."""

    points: Floats  # (n, 2)
    lanes: list[Association]
    connectors: list[Association]
    in_intersection: Bools  # (n,)

    @classmethod
    def of(cls, road_map: Map, points: Floats) -> "Membership":
        lanes: list[Association] = [[] for _ in points]
        connectors: list[Association] = [[] for _ in points]
        for point, lane in zip(*(a.tolist() for a in road_map.lane_layer.containing(points))):
            lanes[point].append(lane)
        for point, connector in zip(*(a.tolist() for a in road_map.connector_layer.containing(points))):
            connectors[point].append(connector + road_map.num_lanes)
        return cls(points, lanes, connectors, road_map.intersections.contains(points))

    def contains(self, point: int, edge: int) -> bool:
        return edge in self.lanes[point] or edge in self.connectors[point]

    def anywhere(self, point: int) -> Association:
        """The lane, else all connectors, that contain a point; of overlapping lanes (a faulty map) the first."""
        return self.lanes[point][:1] or self.connectors[point]

    def among(self, road_map: Map, point: int, candidates: Association) -> Association:
        """The candidates that contain a point; a single candidate hands over to its outgoing edges."""
        found = [e for e in candidates if self.contains(point, e)]
        if not found and len(candidates) == 1:
            found = [e for e in road_map.outgoing[candidates[0]] if self.contains(point, e)]
        return found


def is_connector(road_map: Map, association: Association) -> bool:
    return bool(association) and association[0] >= road_map.num_lanes


def associate_path(road_map: Map, points: Floats) -> list[Association]:
    """Associations of a sequence of points (n, 2), such as the ego's centres over time."""
    members = Membership.of(road_map, points)
    route: list[Association] = []
    current: Association = []
    for point in range(len(points)):
        current = members.among(road_map, point, current) if current else []
        if not current:
            current = members.anywhere(point)
            if point > 1 and is_connector(road_map, route[-1]):
                current = keep_near_connectors(road_map, members, point, route[-1], current)
        route.append(current)
    return reduce_connectors(road_map, route)


def keep_near_connectors(
    road_map: Map, members: Membership, point: int, previous: Association, found: Association
) -> Association:
    """Stay with the previous connectors within 5 m rather than change to others, or to nothing in an intersection."""
    strayed = is_connector(road_map, found) or (not found and bool(members.in_intersection[point]))
    if not strayed:
        return found
    here = shapely.Point(members.points[point])
    near = [e for e in previous if road_map.edges[e].polygon.distance(here) < NEAR_CONNECTOR]
    return near or found


def reduce_connectors(road_map: Map, route: list[Association]) -> list[Association]:
    """Going backwards, reduce entries of several connectors to those used next, or to those that lead there."""
    reduced = list(route)
    for index in range(len(route) - 2, -1, -1):
        entry, following = route[index], reduced[index + 1]
        if len(entry) <= 1:
            continue
        if len(entry) > len(following) and all(e in entry for e in following):
            reduced[index] = following
        if following and not is_connector(road_map, following):
            leading = [e for e in entry if e in road_map.incoming[following[0]]]
            reduced[index] = leading or reduced[index]
    return reduced


def distinct(route: Sequence[Association]) -> list[Association]:
    """The route without empty entries and without those that share an edge with the last one kept."""
    kept: list[Association] = []
    for entry in route:
        if entry and not (kept and set(kept[-1]) & set(entry)):
            kept.append(entry)
    return kept


def associate_corners(road_map: Map, corners: Floats) -> list[list[Association]]:
    """Associations [n][4] of box corners (n, 4, 2), which share one set of candidates from step to step."""
    members = Membership.of(road_map, corners.reshape(-1, 2))
    candidates: Association = []
    result = []
    for step in range(len(corners)):
        following: Association = []
        entry = []
        for corner in range(4):
            point = 4 * step + corner
            found = members.among(road_map, point, candidates) if candidates else []
            if not found:
                found = members.anywhere(point)
                if step == 1:  # the devkit lets the corners of the second sample, and only those, help each other
                    candidates = candidates + [e for e in found if e not in candidates]
            following = following + [e for e in found if e not in following]
            entry.append(found)
        result.append(entry)
        candidates = following
    return result


def in_connected_lanes(road_map: Map, corners: list[Association]) -> bool:
    """Whether all four corners (FL, RL, RR, FR) share a lane, or stand in lanes that follow one another."""
    if not all(corners):
        return False
    front_left, rear_left, rear_right, front_right = (set(c) for c in corners)
    if front_left & rear_left & rear_right & front_right:
        return True
    beyond_left = rear_left | {o for e in rear_left for o in road_map.outgoing[e]}
    beyond_right = rear_right | {o for e in rear_right for o in road_map.outgoing[e]}
    if not (rear_left & beyond_right | rear_right & beyond_left):
        return False
    before_left = front_left | {i for e in front_left for i in road_map.incoming[e]}
    before_right = front_right | {i for e in front_right for i in road_map.incoming[e]}
    return bool(before_left & beyond_right & before_right & beyond_left)

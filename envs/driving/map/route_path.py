"""The line a route runs along: lane centre lines from where the ego stands, lane changes included."""

import heapq
from dataclasses import dataclass

import numpy as np

from embodia.envs.driving.map.geometry import wrap_angle
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import Bools, Floats, Ints

LANE_CHANGE_COST = 30.0  # [m] what changing lanes costs against driving on
LANE_CHANGE_SPAN = (0.35, 0.65)  # where on what is left of the two lanes the change begins and ends
BEHIND = 10.0  # [m] of path behind the pose it begins at
DEFAULT_LIMIT = 15.0  # [m/s] where the map says nothing


@dataclass(frozen=True)
class RoutePath:
    """A centre line sampled every `step` metres."""

    points: Floats  # (P, 2) [m]
    headings: Floats  # (P,) [rad]
    limits: Floats  # (P,) [m/s]
    edges: Ints  # (P,) edge of the lane graph that each point lies on
    on_route: Bools  # (P,) False where the path has run on beyond the route's end
    step: float  # [m]


def route_path(road_map: Map, route: tuple[str, ...], pose: Floats, length: float, step: float = 1.0) -> RoutePath:
    """The path from just behind a rear-axle pose (3,) to the end of the route, run on to `length` [m] or a dead end.

    Raises ValueError for a route of which the map knows no roadblock.
    """
    blocks = [block for block in (road_map.block(name) for name in route) if block is not None]
    if not blocks:
        raise ValueError(f"none of the route's {len(route)} roadblocks is on map {road_map.name!r}")
    start = start_edge(road_map, blocks, pose)
    here = float(road_map.edges[start].baseline.project(pose[:2]))
    edges = run_on(road_map, cheapest_edges(road_map, blocks, start), here + length)
    line, owner = joined(road_map, edges, here)
    return sampled(road_map, line, owner, set(blocks), length, step)


def start_edge(road_map: Map, blocks: list[int], pose: Floats) -> int:
    """The edge of the route under the pose with the least heading error; else the nearest edge of the route."""
    here = road_map.lanes_at(pose[0], pose[1]) + road_map.connectors_at(pose[0], pose[1])
    on_route = [edge for edge in here if road_map.block_of[edge] in blocks]
    if on_route:
        return min(on_route, key=lambda edge: heading_error(road_map, edge, pose))
    candidates = [edge for block in blocks for edge in road_map.block_edges[block]]
    return min(candidates, key=lambda e: float(np.hypot(*(nearest(road_map, e, pose) - pose)[:2])))


def nearest(road_map: Map, edge: int, pose: Floats) -> Floats:
    """(3,) the pose on an edge's centre line nearest to a point."""
    return road_map.edges[edge].baseline.nearest_pose(pose[:2])


def heading_error(road_map: Map, edge: int, pose: Floats) -> float:
    """[rad]"""
    return float(abs(wrap_angle(nearest(road_map, edge, pose)[2] - pose[2])))


def cheapest_edges(road_map: Map, blocks: list[int], start: int) -> list[int]:
    """Dijkstra over the route's edges to the farthest of its blocks that can be reached."""
    rank = {block: i for i, block in enumerate(blocks)}
    best, came = {start: 0.0}, {start: start}
    queue = [(0.0, start)]
    while queue:
        cost, edge = heapq.heappop(queue)
        if cost > best[edge]:
            continue
        onward = [(after, road_map.edges[edge].baseline.length) for after in road_map.outgoing[edge]]
        beside = [(side, LANE_CHANGE_COST) for side in (road_map.left[edge], road_map.right[edge]) if side is not None]
        for after, price in onward + beside:
            if road_map.block_of[after] in rank and cost + price < best.get(after, np.inf):
                best[after], came[after] = cost + price, edge
                heapq.heappush(queue, (cost + price, after))
    end = max(best, key=lambda edge: (rank.get(road_map.block_of[edge], -1), -best[edge]))
    edges = [end]
    while edges[-1] != start:
        edges.append(came[edges[-1]])
    return edges[::-1]


def run_on(road_map: Map, edges: list[int], length: float) -> list[int]:
    """The same edges, continued straight on beyond their end while the line is shorter than `length` [m]."""
    edges = list(edges)
    total = sum(road_map.edges[edge].baseline.length for edge in edges)
    while total < length and road_map.outgoing[edges[-1]]:
        edges.append(min(road_map.outgoing[edges[-1]], key=lambda e: abs(turn_of(road_map, e))))
        total += road_map.edges[edges[-1]].baseline.length
    return edges


def turn_of(road_map: Map, edge: int) -> float:
    """[rad] between the two ends of an edge."""
    headings = road_map.edges[edge].baseline.headings
    return float(wrap_angle(headings[-1] - headings[0]))


def joined(road_map: Map, edges: list[int], here: float) -> tuple[Floats, Ints]:
    """Points (n, 2) of the edges' centre lines one behind the other from `here` [m] on, and the edge of each point.

    Where two edges lie side by side the line leaves the first at a third of what is left of it and enters the second
    at two thirds.
    """
    pieces, owners = [], []
    share = here / road_map.edges[edges[0]].baseline.length  # of its edge at which the line comes upon it
    begin = max(0.0, here - BEHIND) / road_map.edges[edges[0]].baseline.length
    for edge, after in zip(edges, [*edges[1:], None]):
        line = road_map.edges[edge].baseline
        is_change = after is not None and after not in road_map.outgoing[edge]
        end, entry = (share + span * (1 - share) for span in LANE_CHANGE_SPAN) if is_change else (1.0, 0.0)
        s = np.linspace(begin, end, max(2, int((end - begin) * line.length))) * line.length
        pieces.append(line.point_at(s))
        owners.append(np.full(len(s), edge))
        begin = share = entry
    points, owner = np.concatenate(pieces), np.concatenate(owners)
    distinct = np.concatenate([[True], np.hypot(*np.diff(points, axis=0).T) > 1e-3])
    return points[distinct], owner[distinct]


def sampled(road_map: Map, line: Floats, owner: Ints, blocks: set[int], length: float, step: float) -> RoutePath:
    """The line at equal steps of arc length."""
    arc = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    s = np.arange(0.0, min(length, arc[-1]) + 1e-9, step)
    points = np.stack([np.interp(s, arc, line[:, k]) for k in range(2)], -1)
    edges = owner[np.minimum(np.searchsorted(arc, s, side="right"), len(owner)) - 1]
    chords = np.diff(points, axis=0)
    headings = np.arctan2(chords[:, 1], chords[:, 0])
    limits = [road_map.edges[edge].speed_limit or DEFAULT_LIMIT for edge in edges]
    on_route = np.array([road_map.block_of[edge] in blocks for edge in edges])
    return RoutePath(points, np.append(headings, headings[-1:]), np.array(limits), edges, on_route, step)

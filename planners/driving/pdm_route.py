"""PDM-Closed, the route: correct the roadblocks at the first call, choose the present lane, find the centreline.

Dauner et al. 2023, "Parting with Misconceptions about Learning-based Vehicle Motion Planning", and its public code.
Roadblocks and lanes are indices of the map (`Map.blocks`, `Map.edges`).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import shapely

from embodia.envs.driving.map.geometry import box_polygons, wrap_angle
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import EgoState, Floats
from embodia.envs.driving.vehicle.bicycle import ego_boxes

NEAR = 1.0  # [m] around the rear axle in which roadblocks are candidates
MAX_HEADING_ERROR, MAX_DISPLACEMENT = np.pi / 4, 3.0  # [rad], [m]
BACKWARD_DEPTH, FORWARD_DEPTH = 15, 30  # blocks
CENTERLINE_DEPTH = 30  # blocks ahead
LOOP_AREA = 1.0  # [m^2] by which a connector may overlap an earlier one


def corrected_route(road_map: Map, route: Sequence[int], ego: EgoState) -> list[int]:
    """Start the route where the ego is, fill its gaps, cut it where it crosses itself."""
    blocks = list(dict.fromkeys(route))
    current, candidates = present_blocks(road_map, blocks, ego)
    if current not in blocks:
        blocks = _reconnect(road_map, blocks, current, candidates)
    return without_loops(road_map, _without_gaps(road_map, blocks))


def present_blocks(road_map: Map, route: Sequence[int], ego: EgoState) -> tuple[int, list[int]]:
    """The roadblock under the rear axle, on the route if there is one, and all that qualify."""
    blocks = road_map.block_layer.near(ego.x, ego.y, NEAR) or _nearest_blocks(road_map, ego)
    errors = {block: _lane_errors(road_map, block, ego) for block in blocks}
    fitting = [
        (displacement, block)
        for block in blocks
        for displacement, turn in errors[block]
        if turn < MAX_HEADING_ERROR and displacement < MAX_DISPLACEMENT
    ]
    chosen = [pair for pair in fitting if pair[1] in route] or fitting
    if not chosen:
        chosen = [(min(d for d, _ in errors[block]), block) for block in blocks]
    best = min(range(len(chosen)), key=lambda k: chosen[k][0])
    return chosen[best][1], [block for _, block in chosen]


def _nearest_blocks(road_map: Map, ego: EgoState) -> list[int]:
    """The nearest roadblock and the nearest roadblock connector."""
    distance = shapely.distance(road_map.block_layer.polygons, shapely.Point(ego.x, ego.y))
    count = len(road_map.roadblocks)
    nearest = [int(np.argmin(distance[:count]))]
    return nearest + ([count + int(np.argmin(distance[count:]))] if len(distance) > count else [])


def _lane_errors(road_map: Map, block: int, ego: EgoState) -> list[tuple[float, float]]:
    """(displacement [m], heading error [rad]) to the nearest baseline node of every lane of a block."""
    return [node_errors(road_map.edges[edge].baseline.poses, ego) for edge in road_map.block_edges[block]]


def node_errors(nodes: Floats, ego: EgoState) -> tuple[float, float]:
    """Distance [m] from the rear axle to the nearest of nodes (n, 3), and its heading error [rad]."""
    distance = np.hypot(nodes[:, 0] - ego.x, nodes[:, 1] - ego.y)
    nearest = int(np.argmin(distance))
    return float(distance[nearest]), float(abs(wrap_angle(nodes[nearest, 2] - ego.heading)))


def _reconnect(road_map: Map, blocks: list[int], current: int, candidates: list[int]) -> list[int]:
    """The ego starts off the route: look back from the route's start, else ahead to one of its first blocks."""
    behind, found = search_blocks(road_map.block_incoming, blocks[0], candidates, BACKWARD_DEPTH)
    if found:
        return behind[::-1][:-1] + blocks
    ahead, found = search_blocks(road_map.block_outgoing, current, blocks[:3], FORWARD_DEPTH)
    return ahead + blocks[blocks.index(ahead[-1]) + 1 :] if found else blocks


def _without_gaps(road_map: Map, blocks: list[int]) -> list[int]:
    filled = blocks[:1]
    for before, after in pairwise(blocks):
        if before not in road_map.block_incoming[after]:
            link, found = search_blocks(road_map.block_outgoing, before, [after], FORWARD_DEPTH)
            filled += link[1:-1] if found else []
        filled.append(after)
    return filled


def search_blocks(
    neighbours: Sequence[Sequence[int]], start: int, targets: Sequence[int], max_depth: int
) -> tuple[list[int], bool]:
    """Breadth-first path of blocks from `start` to the first target met, at most max_depth blocks long."""
    parent: dict[int, int | None] = {start: None}
    layer = [start]
    for _ in range(max_depth):
        for block in layer:
            if block in targets:
                return _trace(parent, block), True
        following: dict[int, None] = {}
        for block in layer:
            for after in neighbours[block]:
                if after not in parent or after in following:  # of parents at the same depth the last one counts
                    parent[after] = block
                    following[after] = None
        layer = list(following)
    return [start], False


def _trace(parent: dict[int, int | None], end: int) -> list[int]:
    path: list[int] = []
    node: int | None = end
    while node is not None:
        path.append(node)
        node = parent[node]
    return path[::-1]


def without_loops(road_map: Map, blocks: list[int]) -> list[int]:
    """Cut the route before a connector that overlaps an earlier one by more than 1 m^2."""
    seen: list[int] = []
    for k, block in enumerate(blocks):
        if not road_map.blocks[block].is_connector:
            continue
        polygon = road_map.blocks[block].polygon
        if any(polygon.intersection(road_map.blocks[other].polygon).area > LOOP_AREA for other in seen):
            return blocks[:k]
        seen.append(block)
    return blocks


def present_lane(road_map: Map, route_edges: Sequence[int], drivable: Sequence[int], ego: EgoState) -> int:
    """The on-route lane under the rear axle with the least heading error; else under the centre; else the nearest."""
    on_route = set(route_edges)
    near = [e for e in drivable if e in on_route]
    under = shapely.intersects_xy([road_map.edges[e].polygon for e in near], ego.x, ego.y)
    here = [e for e, hit in zip(near, under) if hit]
    if here:
        return min(here, key=lambda e: node_errors(road_map.edges[e].baseline.poses, ego)[1])
    box = ego_boxes(ego.pose)
    polygons = [road_map.edges[e].polygon for e in route_edges]
    inside = np.flatnonzero(shapely.contains_xy(polygons, box[0], box[1]))
    if len(inside):
        return route_edges[int(inside[0])]
    return route_edges[int(np.argmin(shapely.distance(polygons, box_polygons(box))))]


def centerline(road_map: Map, blocks: list[int], lane: int) -> Floats:
    """Baseline poses (n, 3) along the cheapest lanes from `lane` to the route's block at most 30 ahead."""
    first = blocks.index(road_map.block_of[lane]) if road_map.block_of[lane] in blocks else 0
    target = blocks[first : first + CENTERLINE_DEPTH][-1]
    allowed = {edge for block in blocks for edge in road_map.block_edges[block]}
    lanes = dijkstra(
        lambda edge: [after for after in road_map.outgoing[edge] if after in allowed],
        lambda edge: road_map.edges[edge].baseline.length,
        lane,
        lambda edge: road_map.block_of[edge] == target,
    )
    return np.concatenate([road_map.edges[edge].baseline.poses for edge in lanes])


def dijkstra(
    outgoing: Callable[[int], list[int]], cost: Callable[[int], float], start: int, is_goal: Callable[[int], bool]
) -> list[int]:
    """Cheapest path of edges to a goal; without one, to the deepest edge reached, the cheapest of the deepest."""
    parent: dict[int, int | None] = {start: None}
    frontier: dict[int, tuple[float, int]] = {start: (1.0, 1)}  # edge -> cost so far, depth; in order of discovery
    expanded: dict[int, tuple[float, int]] = {}
    while frontier:
        edge = min(frontier, key=lambda e: frontier[e][0])
        so_far, depth = frontier.pop(edge)
        if is_goal(edge):
            return _trace(parent, edge)
        expanded[edge] = (so_far, depth)
        for after in outgoing(edge):
            alternative = so_far + cost(after)
            if after not in expanded and (after not in frontier or alternative < frontier[after][0]):
                parent[after] = edge
                frontier[after] = (alternative, depth + 1)
    deepest = max(depth for _, depth in expanded.values())
    end = min((e for e in expanded if expanded[e][1] == deepest), key=lambda e: expanded[e][0])
    return _trace(parent, end)

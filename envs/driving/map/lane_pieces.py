"""Centre lines of the lanes near a path, cut into pieces of equal length."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.map.route_path import RoutePath
from embodia.envs.driving.types import Bools, Floats, Ints

PIECE_POINTS, PIECE_STEP = 10, 2.0  # points of a piece, [m] between them
REACH_STEP = 5.0  # [m] between the points of the path to which distances are measured


@dataclass(frozen=True)
class LanePieces:
    """L pieces, those nearest to the path first."""

    points: Floats  # (L, 10, 2) [m]
    limits: Floats  # (L,) [m/s], 0 where the map has none
    on_route: Bools  # (L,)
    edges: Ints  # (L,) edge of the lane graph that each piece belongs to


def lane_pieces(road_map: Map, route: Iterable[str], path: RoutePath, most: int) -> LanePieces:
    """Return the pieces of lanes and connectors nearest to a path, at most `most` of them."""
    span = (PIECE_POINTS - 1) * PIECE_STEP
    on_route = {road_map.block(name) for name in route}
    points, edges = [], []
    for index, edge in enumerate(road_map.edges):
        for begin in np.arange(0.0, edge.baseline.length, span):
            s = np.minimum(begin + np.arange(PIECE_POINTS) * PIECE_STEP, edge.baseline.length)
            points.append(edge.baseline.point_at(s))
            edges.append(index)
    middle = np.stack([piece[PIECE_POINTS // 2] for piece in points])
    reach = path.points[:: int(REACH_STEP / path.step)]
    distance = np.linalg.norm(middle[:, None] - reach[None], axis=-1).min(1)
    chosen = np.argsort(distance, kind="stable")[:most].tolist()
    owners = [edges[i] for i in chosen]
    return LanePieces(
        np.stack([points[i] for i in chosen]),
        np.array([road_map.edges[edge].speed_limit or 0.0 for edge in owners]),
        np.array([road_map.block_of[edge] in on_route for edge in owners]),
        np.array(owners, np.int64),
    )

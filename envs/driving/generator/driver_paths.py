"""Paths that generated drivers follow: edges of the lane graph joined into one smooth line, sampled every metre."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from scipy.signal import savgol_filter

from embodia.envs.driving.generator.road_curves import curvatures, headings, resampled
from embodia.envs.driving.generator.road_network import RoadNetwork, Turn
from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import Floats

PATH_LENGTH = 900  # [m] and samples of every path; short ones go straight on beyond their end
SMOOTHING = 11  # samples of the Savitzky-Golay window that rounds off the joints of lanes


@dataclass(frozen=True)
class DriverPath:
    edges: tuple[int, ...]
    starts: list[float]  # arc length where each edge starts
    length: float  # [m] where the last edge ends
    poses: Floats  # (PATH_LENGTH, 3) x, y, unwrapped heading
    curvature: Floats  # (PATH_LENGTH,)
    limits: Floats  # (PATH_LENGTH,) [m/s]
    crossings: list[tuple[float, int, float]]  # (arc length, crossing, where along the crossing), in order
    connectors: list[tuple[float, int]]  # (arc length, edge) of the connectors, in order

    def place(self, s: float) -> int:
        """Position in `edges` at an arc length."""
        return max(bisect.bisect_right(self.starts, s) - 1, 0)


class PathMaker:
    """Makes paths through a network, and remembers what every edge looks like."""

    def __init__(self, network: RoadNetwork):
        self.map: Map = network.map
        self.lines = [resampled(edge.baseline.points, 1.0) for edge in self.map.edges]
        self.crossed = _crossed(network)
        self.straight = {self.map.connector_index[m.connector_id] for m in network.movements if m.turn is Turn.STRAIGHT}
        self.cache: dict[tuple[int, ...], DriverPath] = {}

    def random_edges(
        self, first: int, rng: np.random.Generator, prefer: Sequence[int] = (), straight: float = 0.3
    ) -> list[int]:
        """Edges from a lane on, along the roadblocks of `prefer` where possible, else with a chance to go straight."""
        edges, length = [first], self.map.edges[first].baseline.length
        wanted = {self.map.block_of[edge] for edge in prefer}
        while length < PATH_LENGTH and self.map.outgoing[edges[-1]]:
            choices = self.map.outgoing[edges[-1]]
            preferred = [edge for edge in choices if self.map.block_of[edge] in wanted]
            if not preferred and rng.random() < straight:
                preferred = [edge for edge in choices if edge in self.straight]
            edges.append(int(rng.choice(preferred or choices)))
            length += self.map.edges[edges[-1]].baseline.length
        return edges

    def path(self, edges: list[int]) -> DriverPath:
        key = tuple(edges)
        if key not in self.cache:
            self.cache[key] = self._make(key)
        return self.cache[key]

    def _make(self, edges: tuple[int, ...]) -> DriverPath:
        lengths = np.array([self.map.edges[edge].baseline.length for edge in edges])
        starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
        points = np.concatenate(
            [self.lines[edge][: None if k == len(edges) - 1 else -1] for k, edge in enumerate(edges)]
        )
        line = _every_metre(points)
        limit = np.array([self.map.edges[edge].speed_limit for edge in edges], np.float64)
        which = np.clip(np.searchsorted(starts, np.arange(PATH_LENGTH), side="right") - 1, 0, None)
        crossings = [(starts[k] + s, c, u) for k, edge in enumerate(edges) for s, c, u in self.crossed[edge]]
        connectors = [(float(starts[k]), edge) for k, edge in enumerate(edges) if edge >= self.map.num_lanes]
        heading = headings(line)
        return DriverPath(
            edges,
            starts.tolist(),
            float(lengths.sum()),
            np.column_stack([line, heading]),
            curvatures(line),
            limit[which],
            sorted(crossings),
            connectors,
        )


def _every_metre(points: Floats) -> Floats:
    """(PATH_LENGTH, 2) smoothed points one metre apart; straight on beyond the end."""
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    inside = np.arange(min(int(s[-1]) + 1, PATH_LENGTH))
    line = np.column_stack([np.interp(inside, s, points[:, k]) for k in range(2)])
    if len(line) > SMOOTHING:
        line = savgol_filter(line, SMOOTHING, 3, axis=0)
    beyond = PATH_LENGTH - len(line)
    direction = line[-1] - line[-2]
    return np.concatenate([line, line[-1] + direction * np.arange(1, beyond + 1)[:, None]])


def _crossed(network: RoadNetwork) -> list[list[tuple[float, int, float]]]:
    """Per edge: (arc length, crossing index, distance from the crossing's start) of the crosswalks it meets."""
    road_map = network.map
    crossed: list[list[tuple[float, int, float]]] = [[] for _ in road_map.edges]
    if not network.crossings:
        return crossed
    polygons = np.array([road_map.crosswalks.polygons[road_map.crosswalks.ids.index(c.id)] for c in network.crossings])
    lines = np.array([edge.baseline.line for edge in road_map.edges])
    edges, which = shapely.STRtree(polygons).query(lines, predicate="intersects")
    for edge, index in zip(edges.tolist(), which.tolist()):
        inside = shapely.get_coordinates(shapely.intersection(lines[edge], polygons[index]))
        entry = float(np.min(shapely.line_locate_point(lines[edge], shapely.points(inside))))
        crossing = network.crossings[index]
        axis = (crossing.end - crossing.start) / np.hypot(*(crossing.end - crossing.start))
        crossed[edge].append((entry, index, float((inside.mean(axis=0) - crossing.start) @ axis)))
    return crossed

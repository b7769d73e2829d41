"""How far the ego came: along the expert's route, and against the direction of traffic."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from embodia.envs.driving.map.road_map import Map, PolygonLayer, Polyline
from embodia.envs.driving.metrics.lanes import Association, associate_path, distinct
from embodia.envs.driving.types import Bools, Floats, Ints

MIN_PROGRESS = 2.0  # [m] lower bound of both progresses
MIN_RATIO = 0.2  # of the expert's progress, to be making any
WRONG_WAY, FORBIDDEN_WAY = 2.0, 6.0  # [m] against the traffic within a second


@dataclass(frozen=True)
class RouteBlock:
    """A block of the expert's route with the baseline that measures progress in it."""

    block: int
    baseline: Polyline


def expert_route(road_map: Map, expert_centers: Floats) -> list[RouteBlock]:
    """Blocks the expert drove through, each with the baseline of the first edge it was associated with."""
    route: list[RouteBlock] = []
    for association in distinct(associate_path(road_map, expert_centers)):
        block = road_map.block_of[association[0]]
        if not route or route[-1].block != block:
            route.append(RouteBlock(block, road_map.edges[association[0]].baseline))
    return route


class RouteProgress:
    """Progress per step along a route, walking forward through its blocks; blocks may be skipped."""

    def __init__(self, road_map: Map, route: list[RouteBlock], centers: Floats):
        self.route, self.centers = route, centers
        blocks = [road_map.blocks[b.block].polygon for b in route]
        self.inside: Bools = PolygonLayer([str(i) for i in range(len(blocks))], blocks).inside(centers)  # (n, R)
        self.projections: dict[int, Floats] = {}
        self.current = 0
        self.last = self._projection(0, 0)

    def _projection(self, block: int, step: int) -> float:
        if block not in self.projections:
            self.projections[block] = self.route[block].baseline.project(self.centers)
        return float(self.projections[block][step])

    def per_step(self) -> Floats:
        """(n,) [m], the first 0."""
        return np.array([0.0, *(self._step(k) for k in range(1, len(self.centers)))])

    def _step(self, step: int) -> float:
        if self.inside[step, self.current]:
            here = self._projection(self.current, step)
            gained, self.last = here - self.last, here
            return gained
        entered = np.flatnonzero(self.inside[step, self.current + 1 :])
        return self._enter(self.current + 1 + int(entered[0]), step) if len(entered) else 0.0

    def _enter(self, block: int, step: int) -> float:
        """From the end of the current block, over the skipped ones, into a new block."""
        old, new = self.route[self.current].baseline, self.route[block].baseline
        rest = old.length - self.last
        skipped = sum(self._skip(k) for k in range(self.current + 1, block))
        here = self._projection(block, step)
        self.current, self.last = block, here
        return rest + here - float(new.project(old.points[-1])) + skipped

    def _skip(self, block: int) -> float:
        before, over, after = (self.route[block + k].baseline for k in (-1, 0, 1))
        return float(over.project(after.points[0]) - over.project(before.points[-1]))


def progress_ratio(ego: float, expert: float) -> float:
    """Score of ego progress [m] against the expert's; both at least 2 m, driving backwards scores 0."""
    if ego < -MIN_PROGRESS:
        return 0.0
    return min(1.0, max(ego, MIN_PROGRESS) / max(expert, MIN_PROGRESS))


def direction_score(metres: float) -> float:
    """Score of the metres driven against the traffic within the worst second."""
    return 1.0 if metres < WRONG_WAY else 0.5 if metres < FORBIDDEN_WAY else 0.0


def progress_with_traffic(road_map: Map, route: list[Association], centers: Floats, time_us: Ints) -> Floats:
    """(K,) [m] gained along the baselines of the associated edges over the last second, both ends included."""
    here = np.zeros(len(centers))  # [m] along the baseline of the associated edge
    edges = np.array([association[0] if association else -1 for association in route])
    for associated in np.unique(edges[edges >= 0]).tolist():
        steps = np.flatnonzero(edges == associated)
        here[steps] = road_map.edges[associated].baseline.project(centers[steps])
    gained = np.zeros(len(centers))
    edge, last = edges[0], -1  # the last step whose gain counts
    for step in np.flatnonzero(edges >= 0).tolist():
        if edges[step] != edge:
            edge, last = edges[step], -1
            continue
        # a projection of exactly 0 counts as none in the devkit
        gained[step] = here[step] - here[last] if last >= 0 and here[step] else 0.0
        last = step
    horizon = int(1e6 / np.mean(np.diff(time_us)))
    windows = sliding_window_view(np.concatenate([np.zeros(horizon), gained]), horizon + 1)
    return np.asarray(windows.sum(axis=1))

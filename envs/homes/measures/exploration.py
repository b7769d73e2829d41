"""Measure, reward and goals of the exploration task: how much of a home's floor has been seen."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs import Scores, State
from embodia.envs.homes.engines.engine import Home
from embodia.envs.homes.measures.fog_of_war import reveal
from embodia.envs.homes.measures.navigation import SLACK_REWARD
from embodia.envs.homes.measures.top_down_map import MapGrid, map_angle

Array = NDArray[Any]

CELL = 0.1  # [m]
VISIBILITY = 5.0  # [m]
REWARD = 0.1  # per m2 newly seen
DONE = 0.9  # share of the floor that must be seen for success
EXPLORATION_SCORES: Scores = {
    "coverage": {"better": "higher", "label": "share of the floor seen"},
    "success": "higher",
    "area_seen": {"better": "higher", "unit": "m²"},
    "num_steps": {"better": "lower", "label": "steps"},
    "collisions/count": {"better": "lower", "label": "collisions"},
    "collisions/is_collision": {"better": "lower", "label": "collision in the last step"},
}
"""Scores of an exploration; the first is the main one."""


class AreaSeen:
    """The floor of one episode and the part of it that has been in view, in cells of `CELL`."""

    def __init__(self, home: Home, position: ArrayLike, field_of_view: float) -> None:
        """`position` (3,) selects the floor of the home; `field_of_view` is in degrees."""
        self.height = float(np.asarray(position)[1])
        low, high = home.pathfinder.bounds.astype(np.float64)
        self.grid = MapGrid.of((low, high), max(int(min(high[0] - low[0], high[2] - low[2]) / CELL), 1))
        level = round(self.height, 2)  # the map of a floor must not depend on which episode builds it
        key = ("floor", level)
        if key not in home.memory:
            home.memory[key] = _parts(home.pathfinder.free_cells(self.grid.bounds, self.grid.shape, level))
        self.free = _reachable(home.memory[key], self.grid.to_grid(*np.asarray(position)[[0, 2]]))
        self.mask = np.zeros(self.free.shape, np.uint8)
        self.field_of_view = field_of_view
        rows, columns = self.grid.shape
        self.cell_area = float((high[0] - low[0]) * (high[2] - low[2]) / (rows * columns))

    def look(self, position: Array, rotation: Array) -> float:
        """Mark the floor seen from a pose; return the newly seen area [m2]."""
        before = int(self.mask.sum())
        cell = self.grid.to_grid(float(position[0]), float(position[2]))
        reveal(self.free, self.mask, cell, map_angle(rotation), self.field_of_view, VISIBILITY / CELL)
        return (int(self.mask.sum()) - before) * self.cell_area

    @property
    def area(self) -> float:
        """Area seen so far [m2]."""
        return float(self.mask.sum()) * self.cell_area

    @property
    def coverage(self) -> float:
        """Share of the floor seen so far; 1 where the map shows no floor, since nothing is left to see."""
        floor = int(self.free.sum())
        return float(self.mask.sum()) / floor if floor else 1.0

    def unseen(self, limit: int = 64) -> Array:
        """Places (n, 3) [m] not yet seen, at most about `limit` of them, spread evenly."""
        rows, columns = np.nonzero((self.free == 1) & (self.mask == 0))
        step = max(len(rows) // limit, 1)
        middle = [self.grid.from_grid(r + 0.5, c + 0.5) for r, c in zip(rows[::step], columns[::step])]
        return np.array([(x, self.height, z) for z, x in middle]).reshape(-1, 3)


class Explorations:
    """The floors of N worlds, and the area that came into view in this step. Worlds of other tasks have none."""

    def __init__(self, num_envs: int, field_of_view: float) -> None:
        self.field_of_view = field_of_view
        self.areas: list[AreaSeen | None] = [None] * num_envs
        self.gained = np.zeros(num_envs)  # [m2]

    def begin(self, i: int, home: Home, position: Array, rotation: Array) -> None:
        """Start the exploration of a home in world i, and mark the floor seen from the start pose."""
        area = AreaSeen(home, position, self.field_of_view)
        area.look(position, rotation)
        self.areas[i], self.gained[i] = area, 0.0

    def look(self, worlds: Array, positions: Array, rotations: Array) -> None:
        """Mark the floor seen by worlds (n,) from their poses; positions (N, 3), rotations (N, 4)."""
        for i in worlds:
            area = self.areas[i]
            self.gained[i] = 0.0 if area is None else area.look(positions[i], rotations[i])

    def reward(self) -> Array:
        """(N,)"""
        return REWARD * self.gained + SLACK_REWARD

    def metrics(self, navigation: dict[str, Array]) -> dict[str, Array]:
        """Each (N,): `EXPLORATION_SCORES`, steps and collisions out of the navigation measures."""
        seen = [(area.area, area.coverage) if area is not None else (0.0, 0.0) for area in self.areas]
        area, coverage = np.array(seen).T
        kept = {name: navigation[name] for name in ("num_steps", "collisions/count", "collisions/is_collision")}
        return {"success": (coverage >= DONE).astype(np.float64), "coverage": coverage, "area_seen": area, **kept}

    def get_state(self) -> State:
        masks = [None if area is None else area.mask.copy() for area in self.areas]
        return {"areas": masks, "gained": self.gained.copy()}

    def set_state(self, state: State) -> None:
        """Restore a state; the worlds must play the same episodes."""
        self.gained = state["gained"].copy()
        for area, mask in zip(self.areas, state["areas"], strict=True):
            if area is not None:
                area.mask = mask.copy()


def _parts(free: Array) -> Array:
    """Label the connected free cells from 1 on; 0 elsewhere."""
    from scipy import ndimage

    parts, _ = ndimage.label(free, structure=np.ones((3, 3)))
    return parts


def _reachable(parts: Array, start: tuple[int, int]) -> Array:
    """Return the part that contains the start, uint8; all parts if none contains it."""
    row, column = (min(max(c, 0), n - 1) for c, n in zip(start, parts.shape))
    mine = parts[row, column]
    return (parts == mine if mine else parts > 0).astype(np.uint8)

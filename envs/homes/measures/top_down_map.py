"""The top_down_map measure: a home from above with the goal, the shortest path, the walk and the fog of war.

Source: habitat-lab 0.3, `TopDownMap` in `habitat/tasks/nav/nav.py` and `habitat/utils/visualizations/maps.py`.
Rows run along +z, columns along +x.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.drawing.rotations import FORWARD, inverse, rotate
from embodia.envs.homes.measures.fog_of_war import reveal

Array = NDArray[Any]

INVALID, VALID, BORDER, SOURCE, GOAL, SHORTEST_PATH, VIEW_POINT, GOAL_BOX = 0, 1, 2, 4, 6, 7, 8, 9
FIRST_STEP = 10  # 10..255: the walk, coloured by time

COLOURS = np.zeros((256, 3), np.uint8)
COLOURS[[INVALID, VALID, BORDER]] = np.array([255, 150, 50])[:, None]
COLOURS[[SOURCE, GOAL, SHORTEST_PATH]] = [(0, 0, 200), (200, 0, 0), (0, 200, 0)]
COLOURS[[VIEW_POINT, GOAL_BOX]] = [(245, 150, 150), (0, 175, 0)]
COLOURS[FIRST_STEP:] = cv2.applyColorMap(np.arange(246, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0, ::-1]


@dataclass(frozen=True)
class MapGoal:
    """What the map shows of one goal: its place, its view points (n, 3) and its box (2, 3) where it is an object."""

    position: Array
    view_points: Array = field(default_factory=lambda: np.zeros((0, 3)))
    box: Array | None = None


@dataclass(frozen=True)
class MapGrid:
    """Which cell lies where: world bounds (2, 3) [m] and the number of rows (z) and columns (x)."""

    bounds: Array
    shape: tuple[int, int]

    @classmethod
    def of(cls, bounds: ArrayLike, resolution: int) -> "MapGrid":
        """The shorter side of the bounds gets `resolution` cells."""
        low, high = np.asarray(bounds, np.float64)
        size = meters_per_pixel(bounds, resolution)
        return cls(np.array([low, high]), (int((high[2] - low[2]) / size), int((high[0] - low[0]) / size)))

    def to_grid(self, x: float, z: float) -> tuple[int, int]:
        """(row, column) by truncation; a point on the upper bound is one out of range."""
        low, high = self.bounds
        rows, columns = self.shape
        return int((z - low[2]) / ((high[2] - low[2]) / rows)), int((x - low[0]) / ((high[0] - low[0]) / columns))

    def from_grid(self, row: float, column: float) -> tuple[float, float]:
        """World (z, x) of a cell's lower corner."""
        low, high = self.bounds
        rows, columns = self.shape
        return low[2] + row * (high[2] - low[2]) / rows, low[0] + column * (high[0] - low[0]) / columns


def meters_per_pixel(bounds: ArrayLike, resolution: int) -> float:
    low, high = np.asarray(bounds, np.float64)
    return float(min(high[0] - low[0], high[2] - low[2]) / resolution)


def draw_border(grid: Array) -> Array:
    """Free cells beside a cell of another kind become BORDER; both directions are looked at before writing."""
    edge = np.zeros(grid.shape, bool)
    across, down = grid[:, 1:] != grid[:, :-1], grid[1:] != grid[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    bordered = grid.copy()
    bordered[edge & (grid == VALID)] = BORDER
    return bordered


def map_angle(rotation: ArrayLike) -> float:
    """Where a body looks in the map: direction = (row += cos, column += sin)."""
    forward = rotate(inverse(rotation), FORWARD)
    return float(np.arctan2(-forward[0], forward[2]))


class TopDownMap:
    """One episode seen from above; `reset` opens it and `update` follows the agent.

    `free_cells(bounds, shape, y)` gives the (rows, columns) bool of walkable cells at height y [m].
    """

    def __init__(
        self,
        resolution: int = 1024,
        max_episode_steps: int = 1000,
        visibility_dist: float = 5.0,  # [m]
        field_of_view: float = 90.0,  # [deg]
        fog_of_war: bool = True,
    ) -> None:
        self.resolution, self.max_episode_steps = resolution, max_episode_steps
        self.visibility_dist, self.field_of_view = visibility_dist, field_of_view
        self.line_thickness = round(resolution * 2 / 128)
        self.point_padding = 2 * int(np.ceil(resolution / 128))
        self.has_fog = fog_of_war
        self.grid = MapGrid(np.zeros((2, 3)), (0, 0))
        self.map = np.zeros((0, 0), np.uint8)
        self.fog: Array | None = None
        self.cell, self.angle, self.step_count = (0, 0), 0.0, 0

    def reset(
        self,
        bounds: ArrayLike,
        free_cells: Callable[[Array, tuple[int, int], float], Array],
        position: Array,
        rotation: Array,
        goals: Sequence[MapGoal],
        shortest_path: ArrayLike,
    ) -> None:
        """`shortest_path` (P, 3) leads to the first goal; `position` (3,) and `rotation` (4,) are the start pose."""
        self.grid = MapGrid.of(bounds, self.resolution)
        free = free_cells(self.grid.bounds, self.grid.shape, float(position[1]))
        self.map = draw_border(free.astype(np.uint8))
        self.fog = np.zeros_like(self.map) if self.has_fog else None
        self.step_count = 0
        self._draw_goals(goals, float(position[1]))
        self._draw_line([self._cell_of(point) for point in np.asarray(shortest_path)], SHORTEST_PATH)
        self.cell, self.angle = self._cell_of(position), map_angle(rotation)
        self._draw_point(self.cell, SOURCE)
        self._uncover()

    def update(self, position: Array, rotation: Array) -> None:
        """Draw one step of the walk and lift the fog from the new pose."""
        self.step_count += 1
        cell = self._cell_of(position)
        row, column = (min(max(c, 0), n - 1) for c, n in zip(cell, self.map.shape))
        if self.map[row, column] != SOURCE:
            colour = FIRST_STEP + min(self.step_count * 245 // self.max_episode_steps, 245)
            self._draw_line([self.cell, cell], colour)
        self.cell, self.angle = cell, map_angle(rotation)
        self._uncover()

    def metric(self) -> dict[str, Any]:
        """Habitat's dictionary: map (rows, columns) uint8, fog_of_war_mask, agent_map_coord, agent_angle."""
        return {
            "map": self.map,
            "fog_of_war_mask": self.fog,
            "agent_map_coord": [self.cell],
            "agent_angle": [self.angle],
        }

    def draw(self, agent_size: float = 0.35) -> Array:
        """The map in colour with the agent as an arrow `agent_size` [m] long, (rows, columns, 3) uint8."""
        image = colourise(self.map, self.fog)
        reach = agent_size / meters_per_pixel(self.grid.bounds, self.resolution)
        turn = self.angle + np.array([0.0, 2.5, np.pi, -2.5])
        length = reach * np.array([1.0, 0.8, 0.3, 0.8])
        corners = np.array(self.cell) + length[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
        arrow = np.round(corners[:, ::-1] * 16).astype(np.int32)
        cv2.fillPoly(image, [arrow], (235, 120, 0), lineType=cv2.LINE_AA, shift=4)
        return image

    def get_state(self) -> dict[str, Any]:
        return {
            "bounds": self.grid.bounds.copy(),
            "map": self.map.copy(),
            "fog": None if self.fog is None else self.fog.copy(),
            "cell": self.cell,
            "angle": self.angle,
            "step_count": self.step_count,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.map = state["map"].copy()
        self.grid = MapGrid(state["bounds"].copy(), (self.map.shape[0], self.map.shape[1]))
        self.fog = None if state["fog"] is None else state["fog"].copy()
        self.cell, self.angle, self.step_count = tuple(state["cell"]), state["angle"], state["step_count"]

    def _cell_of(self, point: Array) -> tuple[int, int]:
        return self.grid.to_grid(float(point[0]), float(point[2]))

    def _draw_goals(self, goals: Sequence[MapGoal], floor: float) -> None:
        for goal in goals:
            for point in goal.view_points:
                self._draw_on_floor(point, floor, VIEW_POINT)
        for goal in goals:
            if goal.box is not None:
                (x0, _, z0), (x1, _, z1) = goal.box
                ring = [(x0, z0), (x0, z1), (x1, z1), (x1, z0), (x0, z0)]
                self._draw_line([self.grid.to_grid(x, z) for x, z in ring], GOAL_BOX)
        for goal in goals:
            self._draw_on_floor(goal.position, floor, GOAL)

    def _draw_on_floor(self, point: Array, floor: float, value: int) -> None:
        """Whether a height is on this floor: y_agent <= y < y_agent + 2 m."""
        if floor <= point[1] < floor + 2:
            self._draw_point(self._cell_of(point), value)

    def _draw_point(self, cell: tuple[int, int], value: int) -> None:
        row, column, padding = *cell, self.point_padding
        self.map[
            max(row - padding, 0) : max(row + padding + 1, 0), max(column - padding, 0) : max(column + padding + 1, 0)
        ] = value

    def _draw_line(self, cells: Sequence[tuple[int, int]], value: int) -> None:
        for (r0, c0), (r1, c1) in pairwise(cells):
            cv2.line(self.map, (c0, r0), (c1, r1), value, thickness=self.line_thickness)

    def _uncover(self) -> None:
        if self.fog is not None:
            reach = self.visibility_dist / meters_per_pixel(self.grid.bounds, self.resolution)
            reveal(self.map, self.fog, self.cell, self.angle, self.field_of_view, reach)


def colourise(grid: Array, fog: Array | None = None) -> Array:
    """Map values -> RGB (rows, columns, 3) uint8; cells in the fog at half brightness."""
    image = COLOURS[grid]
    if fog is not None:
        hidden = (fog == 0) & (grid != INVALID)
        image[hidden] = image[hidden] * 0.5
    return image

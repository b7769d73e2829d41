"""The grid worlds of value iteration networks (Tamar et al. 2016): random maps, shortest paths, and their moves.

The recipe is that of the official data: maps with random obstacles and a border, a random goal, and shortest paths from
random starts under the eight moves, diagonals at sqrt(2). Where several moves are optimal, the label is the first in
`PRIORITY`: with arbitrary labels the best possible accuracy is far lower.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly

Array = NDArray[Any]

MOVES = np.array([[0, 1], [1, 0], [0, -1], [-1, 0], [1, 1], [1, -1], [-1, -1], [-1, 1]])
"""(row, column) of the moves: right, down, left, up, then the diagonals, as in `planners.models.grid_map`."""
LENGTHS = np.linalg.norm(MOVES, axis=1)
PRIORITY = np.array([4, 5, 6, 7, 0, 1, 2, 3])
"""Order in which equally good moves are preferred: diagonals first."""
NEAR = 1e-6  # costs closer than this are equal; different ones differ by more, as paths are short
STARTS = 7  # paths per map
GOAL_REWARD = 10.0  # of the goal's cell in the second input channel


@dataclass(frozen=True)
class Recipe:
    """How maps are made."""

    side: int
    """Number of rows and columns, with the border."""
    obstacles: int
    """Maximum number of obstacles."""
    size: int
    """Maximum size of an obstacle in cells; 0 gives single cells."""


RECIPES = {8: Recipe(8, 30, 0), 16: Recipe(16, 40, 1), 28: Recipe(28, 50, 2)}
"""The official recipes by side."""


class NoWay(ValueError):
    """No path leads to the goal."""


class GridWorlds(NamedTuple):
    """n maps with their goals, expert moves and paths."""

    free: Array
    """Free cells (n, H, W) bool."""
    goal: Array
    """Goal cells (n,), row * W + column."""
    cost: Array
    """Length of the shortest path from each cell to the goal (n, H * W) in cells; infinite without a path."""
    move: Array
    """The expert's move in each cell (n, H * W) int8; -1 at the goal and where there is no path."""
    start: Array
    """Start cells of the paths (n, STARTS)."""
    walk: "Walk"
    """The expert's paths."""

    def inputs(self) -> Array:
        """Return the input channels (n, 2, H, W) float32: obstacles, and the reward of the goal."""
        goals = np.zeros((len(self.free), self.cost.shape[1]), np.float32)
        goals[np.arange(len(goals)), self.goal] = GOAL_REWARD
        return np.stack([~self.free, goals.reshape(self.free.shape)], 1).astype(np.float32)

    def part(self, first: int, end: int) -> "GridWorlds":
        """Return maps `first` to `end - 1`."""
        number, cell, moves = self.walk
        inside = (number >= first) & (number < end)
        walk = Walk(number[inside] - first, cell[inside], moves[first:end])
        free, goal, cost, move, start = (each[first:end] for each in self[:5])
        return GridWorlds(free, goal, cost, move, start, walk)


def grid_worlds(recipe: Recipe, n: int, seed: int = 0) -> GridWorlds:
    """Return n random maps with 7 paths each, always the same for a seed. A map on which nothing leads to its goal is
    replaced by the next one.
    """
    rng = np.random.default_rng((seed, recipe.side))
    kept: list[tuple[Array, int, Array, Array, Array]] = []
    while len(kept) < n:
        free, goal = draw_map(recipe, rng)
        try:
            cost, move = solve(free, goal)
        except NoWay:
            continue
        kept.append((free, goal, cost, move, rng.choice(np.flatnonzero(move >= 0), STARTS)))
    free, goals, costs, moves, starts = (np.stack(column) for column in zip(*kept))
    return GridWorlds(free, goals, costs, moves, starts, walked(moves, starts, recipe.side))


def draw_map(recipe: Recipe, rng: np.random.Generator) -> tuple[Array, int]:
    """Sample the free cells (H, W) of a map and its goal cell. An obstacle that would cover the goal is skipped."""
    side = recipe.side
    row, column = rng.integers(1, side - 1, 2)
    down, right = np.indices((side, side))
    blocked = np.zeros((side, side), bool)
    for _ in range(rng.integers(1, recipe.obstacles + 1)):
        top, left = rng.integers(side, size=2)
        height, width = np.ceil(rng.random(2) * recipe.size)
        if rng.random() < 0.5:
            shape = np.hypot(down - top, right - left) <= height
        else:
            shape = (down >= top) & (down < top + max(1, height)) & (right >= left) & (right < left + max(1, width))
        blocked |= shape & ~shape[row, column]
    blocked[[0, -1]] = blocked[:, [0, -1]] = True
    return ~blocked, int(row * side + column)


def solve(free: Array, goal: int) -> tuple[Array, Array]:
    """Return the cost to go and the expert's move in every cell, both (H * W,), as in `GridWorlds`.

    Args:
        free: Free cells (H, W).
        goal: Goal cell.

    Raises:
        NoWay: If no cell has a path to the goal, or the goal is not free.
    """
    free = np.asarray(free, bool)
    height, width = free.shape
    if not 0 <= goal < free.size or not free.flat[goal]:
        raise NoWay(f"the goal, cell {goal}, is not a free cell of the {height} x {width} map; choose a free cell")
    open_ = np.pad(free, 1)
    cost = np.full(open_.shape, np.inf)
    cost[1 + goal // width, 1 + goal % width] = 0.0
    relax(open_, cost, MOVES, LENGTHS)
    move = first_moves(open_, cost, MOVES, LENGTHS, PRIORITY)
    if not (move >= 0).any():
        raise NoWay(f"no cell of the {height} x {width} map has a path to the goal, cell {goal}; free a cell beside it")
    return cost[1:-1, 1:-1].ravel(), move[1:-1, 1:-1].ravel()


@compiled_exactly
def relax(free: Any, cost: Any, moves: Any, lengths: Any) -> None:
    """Lower `cost` to the lengths of shortest paths, by sweeps over the map in both directions until none changes."""
    rows, columns = free.shape
    changed = True
    while changed:
        changed = False
        for turn in range(2):
            for i in range(rows * columns):
                at = i if turn == 0 else rows * columns - 1 - i
                y, x = at // columns, at % columns
                if not free[y, x]:
                    continue
                for m in range(8):
                    found = cost[y + moves[m, 0], x + moves[m, 1]] + lengths[m]
                    if found < cost[y, x] - NEAR:
                        cost[y, x] = found
                        changed = True


@compiled_exactly
def first_moves(free: Any, cost: Any, moves: Any, lengths: Any, priority: Any) -> Any:
    """Return the first optimal move of each cell in the order of `priority`; -1 if there is none."""
    found = np.full(free.shape, -1, np.int8)
    for y in range(free.shape[0]):
        for x in range(free.shape[1]):
            if not free[y, x] or cost[y, x] == 0.0 or np.isinf(cost[y, x]):
                continue
            for m in priority:
                if abs(cost[y + moves[m, 0], x + moves[m, 1]] + lengths[m] - cost[y, x]) < NEAR:
                    found[y, x] = m
                    break
    return found


class Walk(NamedTuple):
    """The states on paths from all starts, as a list, and the number of moves of each path."""

    number: Array
    """Number of the map of each state (N,), sorted."""
    cell: Array
    """Cell of each state (N,)."""
    moves: Array
    """Number of moves from each start (n, STARTS)."""


def walked(move: Array, start: Array, width: int) -> Walk:
    """Return the expert's paths from starts (n, STARTS), without the goals."""
    shift = MOVES @ [width, 1]
    cell, count = start.copy(), np.zeros(start.shape, int)
    number = np.indices(start.shape)[0]
    numbers, cells = [], []
    while (going := move[number, cell] >= 0).any():
        numbers.append(number[going])
        cells.append(cell[going])
        count += going
        cell[going] += shift[move[numbers[-1], cells[-1]]]
    order = np.argsort(np.concatenate(numbers), kind="stable")
    return Walk(np.concatenate(numbers)[order], np.concatenate(cells)[order], count)


class Followed(NamedTuple):
    """The paths of a policy from every start, each (n, STARTS)."""

    success: Array
    """Whether the goal was reached within twice the expert's number of moves. A move into an obstacle has no effect, so
    a deterministic policy that makes one is stuck and fails."""
    extra: Array
    """Length beyond that of the shortest path, in cells."""


def follow(worlds: GridWorlds, best: Callable[[Array, Array], Array]) -> Followed:
    """Follow a policy from all starts.

    Args:
        worlds: The maps.
        best: Gives the moves (N,) in states: numbers of maps (N,) and cells (N,).
    """
    shift = MOVES @ [worlds.free.shape[2], 1]
    free, number = worlds.free.reshape(len(worlds.free), -1), np.indices(worlds.start.shape)[0]
    cell, goal, length = worlds.start.copy(), worlds.goal[number], np.zeros(worlds.start.shape)
    for step in range(2 * int(worlds.walk.moves.max())):
        going = (cell != goal) & (step < 2 * worlds.walk.moves)
        move = np.asarray(best(number[going], cell[going]))
        ahead = cell[going] + shift[move]
        cell[going] = np.where(free[number[going], ahead], ahead, cell[going])
        length[going] += LENGTHS[move]
    return Followed(cell == goal, length - np.take_along_axis(worlds.cost, worlds.start, 1))

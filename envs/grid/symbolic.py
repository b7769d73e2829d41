"""Symbolic views of a minigrid environment: the agent's egocentric view and the whole grid, as arrays.

The numbers are those of minigrid's encoding (channels: object type, colour, state), rows first: (row, column, 3).
minigrid encodes every cell in every step. Here the encoded grid is kept and only changed cells are encoded again, and
the line of sight is a table lookup per row.
"""

from functools import cache
from typing import Any

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from numpy.typing import NDArray

Symbols = NDArray[np.uint8]

HIGHEST_CODE = (max(OBJECT_TO_IDX.values()), max(COLOR_TO_IDX.values()), 3)
"""Largest object type, colour, and state (a door's 0 open, 1 closed, 2 locked; the agent's direction 0..3)."""

UNSEEN = (OBJECT_TO_IDX["unseen"], 0, 0)
EMPTY = (OBJECT_TO_IDX["empty"], 0, 0)
WALL = (OBJECT_TO_IDX["wall"], COLOR_TO_IDX["grey"], 0)


@cache
def sight_along_row(lit: int, clear: int, size: int) -> tuple[int, int]:
    """Return the visible bits of a row, after light has spread along it, and the bits that it lights in the next row.

    minigrid's rule: a lit transparent cell lights its neighbour in the row, the cell ahead, and the cell ahead of the
    neighbour; first from left to right, then from right to left.
    """
    ahead = 0
    for column in range(size - 1):
        if lit >> column & clear >> column & 1:
            lit |= 2 << column
            ahead |= 3 << column
    for column in range(size - 1, 0, -1):
        if lit >> column & clear >> column & 1:
            lit |= 1 << column - 1
            ahead |= 3 << column - 1
    return lit, ahead


def line_of_sight(clear: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells (V, V) that an agent in the middle of the last row sees, given the transparent cells."""
    size = len(clear)
    weights = 1 << np.arange(size)
    lit = 1 << size // 2
    seen = [0] * size
    for row, bits in zip(range(size - 1, -1, -1), (clear @ weights)[::-1].tolist()):
        seen[row], lit = sight_along_row(lit, bits, size)
    return (np.array(seen)[:, None] & weights) != 0


class SymbolicViews:
    """Keeps the encoded grid of one minigrid environment and extracts views from it."""

    def __init__(self, world: Any):
        self.world = world
        self.margin = world.agent_view_size
        self._cells: list[Any] = []
        self._doors: list[tuple[int, int, Any]] = []
        self._door_states: list[tuple[bool, bool]] = []
        self._codes: Symbols = np.zeros(0, np.uint8)  # (H + 2 margin, W + 2 margin, 3)
        self._clear: NDArray[np.bool_] = np.zeros(0, bool)

    def full(self) -> Symbols:
        """Return the whole grid (H, W, 3), with the agent as (agent, 0, direction) in its cell."""
        codes = self.codes().copy()
        x, y = self.world.agent_pos
        codes[y, x] = (OBJECT_TO_IDX["agent"], 0, self.world.agent_dir)
        return codes

    def codes(self) -> Symbols:
        """Return the whole grid (H, W, 3) without the agent, as a view that is valid until the next call."""
        self._refresh()
        return self._codes[self.margin : -self.margin, self.margin : -self.margin]

    def egocentric(self) -> Symbols:
        """Return the agent's view (V, V, 3): the agent in the middle of the last row facing up, unseen cells 0."""
        view, seen = self.egocentric_codes()
        return view * seen[:, :, None]

    def egocentric_codes(self) -> tuple[Symbols, NDArray[np.bool_]]:
        """Return all cells in front of the agent (V, V, 3), with what it carries, and whether it sees them (V, V)."""
        self._refresh()
        world, size, window = self.world, self.margin, self._window()
        view = _ahead_is_up(self._codes[window], world.agent_dir).copy()
        if world.see_through_walls:
            seen = np.ones((size, size), bool)
        else:
            seen = line_of_sight(_ahead_is_up(self._clear[window], world.agent_dir))
        view[-1, size // 2] = carried_code(world)
        return view, seen

    def seen(self) -> NDArray[np.bool_]:
        """Return the cells of the map (H, W) that the agent sees."""
        marks = np.zeros(self._clear.shape, bool)
        _ahead_is_up(marks[self._window()], self.world.agent_dir)[:] = self.egocentric_codes()[1]
        return marks[self.margin : -self.margin, self.margin : -self.margin]

    def _window(self) -> tuple[slice, slice]:
        """Return rows and columns of the cells in front of the agent, in the padded arrays."""
        size = self.margin
        x, y = self.world.agent_pos
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.world.agent_dir]
        left = size + x - size // 2 + dx * (size // 2)
        top = size + y - size // 2 + dy * (size // 2)
        return slice(top, top + size), slice(left, left + size)

    def _refresh(self) -> None:
        cells = self.world.grid.grid
        if len(cells) != len(self._cells):
            self._start(cells)
        if cells != self._cells:  # objects compare by identity, so this is one fast pass
            changed = [i for i, (now, before) in enumerate(zip(cells, self._cells)) if now is not before]
            self._encode(changed, cells)
        doors = [(door.is_open, door.is_locked) for _, _, door in self._doors]
        if doors != self._door_states:
            for row, column, door in self._doors:
                self._codes[row, column] = door.encode()
                self._clear[row, column] = door.is_open
            self._door_states = doors

    def _start(self, cells: list[Any]) -> None:
        shape = (self.world.height + 2 * self.margin, self.world.width + 2 * self.margin)
        self._codes = np.empty((*shape, 3), np.uint8)
        self._codes[:] = WALL
        self._clear = np.zeros(shape, bool)
        self._cells = [self] * len(cells)  # no cell is this object, so every cell counts as changed

    def _encode(self, changed: list[int], cells: list[Any]) -> None:
        for i in changed:
            row, column = i // self.world.width + self.margin, i % self.world.width + self.margin
            self._codes[row, column] = EMPTY if cells[i] is None else cells[i].encode()
            self._clear[row, column] = cells[i] is None or cells[i].see_behind()
        self._cells = list(cells)
        self._doors = [
            (i // self.world.width + self.margin, i % self.world.width + self.margin, cell)
            for i, cell in enumerate(cells)
            if cell is not None and cell.type == "door"
        ]
        self._door_states = [(door.is_open, door.is_locked) for _, _, door in self._doors]


def carried_code(world: Any) -> tuple[int, int, int]:
    """Return (type, colour, state) of the carried object, EMPTY for none."""
    return EMPTY if world.carrying is None else world.carrying.encode()


def _ahead_is_up(window: NDArray[Any], direction: int) -> NDArray[Any]:
    """Rotate a (V, V, ...) window of the map so that the direction the agent faces is up."""
    if direction == 0:
        return window.swapaxes(0, 1)[::-1]
    if direction == 1:
        return window[::-1, ::-1]
    if direction == 2:
        return window.swapaxes(0, 1)[:, ::-1]
    return window

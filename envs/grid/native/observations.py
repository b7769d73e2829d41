"""What agents of a batch see, as kernels: the view with its line of sight, the whole map, and images of tiles."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly, inlined
from embodia.envs.grid.draw import tile
from embodia.envs.grid.native.arrays import Array, Levels
from embodia.envs.grid.native.cells import AGENT, EMPTY, LOOK, OPAQUE
from embodia.envs.grid.symbolic import sight_along_row

LIT, AGENTS = 1 << 9, 10
"""Bits of a tile's number above the nine of its code: whether it is lit; the agent on it, 0 or 1 + direction."""


@cache
def sight_table(size: int, through_walls: bool) -> NDArray[np.uint16]:
    """Return the table (2^V, 2^V) of a row's visible bits and, above them, those that it lights in the next row.

    Args:
        size: Cells V in a row of the view.
        through_walls: Everything is visible.
    """
    count = 1 << size
    if through_walls:
        return np.full((count, count), count * count - 1, np.uint16)
    table = np.empty((count, count), np.uint16)
    for lit, clear in np.ndindex(count, count):
        seen, ahead = sight_along_row(lit, clear, size)
        table[lit, clear] = seen | ahead << size
    return table


@inlined
def steps_of(direction: int, row: int) -> tuple[int, int]:
    """Return the differences between cell numbers: one cell forward, and one cell to the right."""
    if direction == 0:
        return 1, row
    if direction == 1:
        return row, -1
    if direction == 2:
        return -1, -row
    return -row, 1


@inlined
def look(worlds: Levels, i: int, row: int, sight: Array, view: Array) -> None:
    """Write the codes (V, V) that world i's agent sees: itself in the middle of the last row, 0 for unseen cells."""
    size = view.shape[0]
    forward, right = steps_of(worlds.direction[i], row)
    first = worlds.at[i] - right * (size // 2)
    lit = 1 << size // 2
    for r in range(size - 1, -1, -1):
        clear = 0
        for c in range(size):
            code = worlds.codes[i, first + c * right]
            view[r, c] = code & LOOK
            if code & OPAQUE == 0:
                clear |= 1 << c
        both = np.int64(sight[lit, clear])
        seen, lit = both & (1 << size) - 1, both >> size
        for c in range(size):
            if not seen >> c & 1:
                view[r, c] = 0
        first += forward
    view[size - 1, size // 2] = EMPTY if worlds.carried[i] < 0 else worlds.kinds[i, worlds.carried[i]] & LOOK


@inlined
def write_symbols(codes: Array, symbols: Array) -> None:
    """Write the type, colour and state (H, W, 3) of codes (H, W)."""
    for r in range(codes.shape[0]):
        for c in range(codes.shape[1]):
            code = codes[r, c]
            symbols[r, c, 0] = code & 15
            symbols[r, c, 1] = code >> 4 & 7
            symbols[r, c, 2] = code >> 7 & 3


@compiled_exactly
def symbolic(worlds: Levels, row: int, sight: Array, symbols: Array) -> None:
    """Write what each agent sees, symbols (N, V, V, 3)."""
    view = np.empty(symbols.shape[1:3], np.uint16)
    for i in range(len(symbols)):
        look(worlds, i, row, sight, view)
        write_symbols(view, symbols[i])


@compiled_exactly
def symbolic_full(worlds: Levels, row: int, margin: int, symbols: Array, carrying: Array) -> None:
    """Write each map (N, H, W, 3) with its agent, and type and colour (N, 2) of what is carried."""
    for i in range(len(symbols)):
        cells = worlds.codes[i].reshape((-1, row))[margin:-margin, margin:-margin]
        write_symbols(cells, symbols[i])
        y, x = worlds.at[i] // row - margin, worlds.at[i] % row - margin
        symbols[i, y, x, 0], symbols[i, y, x, 1], symbols[i, y, x, 2] = AGENT, 0, worlds.direction[i]
        code = EMPTY if worlds.carried[i] < 0 else worlds.kinds[i, worlds.carried[i]]
        carrying[i, 0], carrying[i, 1] = code & 15, code >> 4 & 7


@compiled_exactly
def tiles(worlds: Levels, row: int, sight: Array, numbers: Array) -> None:
    """Write the tile numbers (N, V, V) of each agent's view."""
    size = numbers.shape[1]
    for i in range(len(numbers)):
        view = numbers[i]
        look(worlds, i, row, sight, view)
        for r in range(size):
            for c in range(size):
                if view[r, c]:
                    view[r, c] |= LIT
        view[size - 1, size // 2] |= 4 << AGENTS


@compiled_exactly
def tiles_full(worlds: Levels, row: int, margin: int, sight: Array, numbers: Array) -> None:
    """Write the tile numbers (N, H, W) of each map, with the cells that its agent sees lit."""
    view = np.empty((margin + 1, margin + 1), np.uint16)
    for i in range(len(numbers)):
        cells = worlds.codes[i] & LOOK
        look(worlds, i, row, sight, view)
        forward, right = steps_of(worlds.direction[i], row)
        for r in range(margin + 1):
            for c in range(margin + 1):
                if view[r, c]:
                    cells[worlds.at[i] + (margin - r) * forward + (c - margin // 2) * right] |= LIT
        cells[worlds.at[i]] |= worlds.direction[i] + 1 << AGENTS
        numbers[i] = cells.reshape((-1, row))[margin:-margin, margin:-margin]


@compiled_exactly
def paint(numbers: Array, atlas: Array, image: Array) -> None:
    """Write the images (N, H S, W S, 3) of tile numbers (N, H, W), with the tiles (T, S, S, 3)."""
    size = atlas.shape[1]
    for i in range(len(numbers)):
        for r in range(numbers.shape[1]):
            for c in range(numbers.shape[2]):
                picture = atlas[numbers[i, r, c]]
                image[i, r * size : (r + 1) * size, c * size : (c + 1) * size] = picture


class Atlas:
    """minigrid's tiles by their numbers, drawn when they are first seen.

    Args:
        size: Size of a tile [pixels].
    """

    def __init__(self, size: int):
        count = 5 << AGENTS
        self.pictures = np.zeros((count, size, size, 3), np.uint8)
        self.known = np.zeros(count, bool)

    def paint(self, numbers: NDArray[Any], image: NDArray[np.uint8]) -> None:
        """Write the images of tile numbers."""
        if not self.known[numbers].all():
            for number in np.unique(numbers[~self.known[numbers]]).tolist():
                code, lit, agent = number & LOOK, bool(number & LIT), number >> AGENTS
                self.pictures[number] = tile(code & 15, code >> 4 & 7, code >> 7, lit, agent, len(self.pictures[0]))
                self.known[number] = True
        paint(numbers, self.pictures, image)

"""Levels, or worlds that play one, as arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs.grid.native import cells

Array = NDArray[Any]


class Levels(NamedTuple):
    """n levels, or n worlds that play one; the first axis of every array counts them.

    C cells, K things, D descriptions of at most P things (numbers below 0 fill up), L tokens.
    """

    codes: Array
    """uint16 (n, C): code of each cell."""
    things: Array
    """int16 (n, C): number of the thing in each cell, or -1."""
    kinds: Array
    """uint16 (n, K): code of each thing."""
    places: Array
    """int16 (n, K): minigrid's `cur_pos` of each thing, a cell, HELD or UNPLACED."""
    inside: Array
    """int16 (n, K): the thing inside each box, or -1."""
    at: Array
    """int64 (n,): the agent's cell."""
    direction: Array
    """int64 (n,): 0 right, 1 down, 2 left, 3 up."""
    carried: Array
    """int64 (n,): the carried thing, or -1."""
    steps: Array
    """int64 (n,): steps since the episode began."""
    max_steps: Array
    """int64 (n,): time limit."""
    target: Array
    """int64 (n, 2): parameters of the task's rule, see TARGETS."""
    generator: Array
    """uint64 (n, 6): the level's random generator, for moving obstacles."""
    clauses: Array
    """int16 (n, 4, 4): clauses of BabyAI's instruction, see `instructions`; (n, 0, 4) for other tasks."""
    order: Array
    """int16 (n, 2): order of the instruction's parts."""
    described: Array
    """int16 (n, D, P): things that each description matches."""
    seen: Array
    """int16 (n, D, P): cells in which they were last seen, column by column."""
    mission: Array
    """int64 (n, L): tokens."""


FILL = {"codes": cells.EDGE, "things": -1, "places": cells.UNPLACED, "inside": -1, "described": -1, "seen": -1}
"""What fills new entries of an array; 0 where nothing is given."""


VARYING = ("kinds", "described")
"""Arrays whose last lengths, K and P, differ between levels of a task."""


def stack(rows: Sequence[dict[str, Array]], at_least: Levels | None = None) -> Levels:
    """Stack rows of different lengths, each array at least as long as that of `at_least`."""
    arrays = []
    for name in Levels._fields:
        parts = [row[name] for row in rows]
        shapes = [part.shape for part in parts] + ([getattr(at_least, name).shape[1:]] if at_least else [])
        shape = tuple(np.max(shapes, axis=0)) if shapes[0] else ()
        out = np.full((len(parts), *shape), FILL.get(name, 0), parts[0].dtype)
        for k, part in enumerate(parts):
            inside: tuple[int | slice, ...] = (k, *(slice(length) for length in part.shape))
            out[inside] = part
        arrays.append(out)
    return Levels(*arrays)


def widen(worlds: Levels, other: Levels) -> Levels:
    """Return `worlds` with arrays at least as long as those of `other`."""
    if all(getattr(worlds, name).shape[-1] == getattr(other, name).shape[-1] for name in VARYING):
        return worlds
    return stack([dict(zip(Levels._fields, row)) for row in zip(*worlds)], other)


def write(worlds: Levels, numbers: Array, source: Levels, rows: Array) -> None:
    """Copy rows of `source` into the worlds `numbers`; their arrays have the same lengths."""
    for mine, theirs in zip(worlds, source):
        mine[numbers] = theirs[rows]

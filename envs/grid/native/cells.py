"""Cells of a grid as 16-bit codes: minigrid's type, colour and state, and two flags that its encoding hides."""

from typing import Any, NamedTuple

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from minigrid.core.world_object import Door, WorldObj
from numpy.typing import NDArray

TYPE = 15
"""Mask of the type, bits 0 to 3. Bits 4 to 6 are the colour, bits 7 and 8 the state."""
OPAQUE = 1 << 9
"""Flag of a cell that the agent cannot see through."""
LOCKED = 1 << 10
"""Flag of a locked door. A door can be open and locked at once: BabyAI opens all doors of some levels by force."""
LOOK = 0b111111111
"""Mask of what is shown: type, colour and state."""

EMPTY, WALL, FLOOR, DOOR, KEY, BALL, BOX, GOAL, LAVA, AGENT = (
    OBJECT_TO_IDX[name] for name in ("empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
)
EDGE = WALL | COLOR_TO_IDX["grey"] << 4 | OPAQUE
"""The code of a grey wall, which also surrounds the map."""
SHUT = 1 << 7 | OPAQUE
"""What closing adds to the code of an open door."""
HELD, UNPLACED = -1, -2
"""Places of things that are on no cell: carried, or never put on one (the content of a box)."""


class Board(NamedTuple):
    """Size of a map that is surrounded by walls, so that no view leaves it. Cells are numbered row by row."""

    height: int
    width: int
    margin: int

    @property
    def row(self) -> int:
        """Number of cells from one row to the next."""
        return self.width + 2 * self.margin

    @property
    def size(self) -> int:
        return (self.height + 2 * self.margin) * self.row

    def cell(self, place: Any) -> int:
        """Return the number of the cell at (x, y)."""
        return int((place[1] + self.margin) * self.row + place[0] + self.margin)

    def place(self, cell: int) -> tuple[int, int]:
        """Return (x, y) of a cell."""
        y, x = divmod(int(cell), self.row)
        return x - self.margin, y - self.margin

    def inner(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Return the map (..., H, W) of cells (..., size), as a view."""
        m = self.margin
        padded = cells.reshape(*cells.shape[:-1], self.height + 2 * m, self.row)
        return padded[..., m : m + self.height, m : m + self.width]


def code(thing: WorldObj | None) -> int:
    """Return the code of a cell's content."""
    if thing is None:
        return EMPTY
    kind, colour, state = thing.encode()
    locked = LOCKED * (isinstance(thing, Door) and thing.is_locked)
    return kind | colour << 4 | state << 7 | OPAQUE * (not thing.see_behind()) | locked


def symbols(codes: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return minigrid's (type, colour, state) of codes, as a last axis of 3."""
    return np.stack([codes & 15, codes >> 4 & 7, codes >> 7 & 3], -1).astype(np.uint8)

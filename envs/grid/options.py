"""Options of the grid environments."""

from dataclasses import dataclass
from typing import Literal

View = Literal["symbolic", "symbolic_full", "rgb", "rgb_full", "minigrid"]


@dataclass(frozen=True)
class GridOptions:
    """Options of MiniGrid and BabyAI."""

    observation: View = "symbolic"
    """Agent's view or whole grid, as symbols or as an image; minigrid for minigrid's own wrappers."""
    max_steps: int | None = None
    """Time limit in steps. None uses the task's default."""
    tile_size: int = 8
    """Size of a cell in rgb observations [pixels]."""

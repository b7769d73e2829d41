"""What the grids let one choose."""

from dataclasses import dataclass
from typing import Literal

View = Literal["symbolic", "symbolic_full", "rgb", "rgb_full"]


@dataclass(frozen=True)
class GridOptions:
    """MiniGrid and BabyAI."""

    observation: View = "symbolic"
    """The agent's view or the whole grid, as symbols or as a picture."""
    max_steps: int | None = None
    """Time limit; None for the task's own."""
    tile_size: int = 8
    """Pixels per cell of the rgb observations."""

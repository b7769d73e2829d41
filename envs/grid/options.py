"""Options of the grid environments."""

from dataclasses import dataclass
from typing import Literal

EngineName = Literal["native", "official"]
View = Literal["symbolic", "symbolic_full", "rgb", "rgb_full"]


@dataclass(frozen=True)
class GridOptions:
    """Options of MiniGrid and BabyAI."""

    observation: View = "symbolic"
    """Agent's view or whole grid, as symbols or as an image."""
    max_steps: int | None = None
    """Time limit in steps. None uses the task's default."""
    tile_size: int = 8
    """Size of a cell in rgb observations [pixels]."""
    levels: int | None = None
    """Number of training levels that are played again and again. None plays a new level in every episode."""
    engine: EngineName = "native"
    """Simulator of parallel environments: native steps all of them in one compiled call, official is minigrid's own.
    Both give the same numbers."""
    level_workers: int = 0
    """Number of processes that make levels ahead for the native engine. 0 makes them in this process."""

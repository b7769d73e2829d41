"""Options of the small control tasks."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WallOptions:
    """Options of the Wall environment."""

    layout: Literal["fixed", "random"] = "fixed"
    """fixed: wall and door are always in the same place. random: each level has its own."""
    frameskip: int = 5
    """Number of moves per action."""
    max_steps: int = 20
    """Time limit in steps."""


@dataclass(frozen=True)
class RaceTrackOptions:
    """Options of the race track."""

    max_steps: int = 150
    """Length of an episode in steps."""

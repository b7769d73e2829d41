"""What the small worlds let one choose."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class WallOptions:
    """The Wall world."""

    layout: Literal["fixed", "random"] = "fixed"
    """Wall and door always in the same place, or another place in each level."""
    frameskip: int = 5
    """Moves per action."""
    max_steps: int = 20
    """Time limit [actions]."""

"""What the homes let one choose."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HomesOptions:
    """Habitat's tasks in homes."""

    sensors: tuple[str, ...] | None = None
    """What is sensed; None for the task's own sensors."""
    height: int | None = None
    """Of the camera [pixels]; None for the task's."""
    width: int | None = None
    """Of the camera [pixels]; None for the task's."""
    num_scenes: int = 64
    """Generated homes to live in."""
    detail: Literal["low", "medium", "high"] = "medium"
    """How many triangles a generated home has."""
    scenes: tuple[str, ...] | None = None
    """Scenes on disk (.glb, .obj) in place of generated homes."""
    episodes: str | None = None
    """A Habitat episode file (.json.gz) in place of generated episodes."""
    scenes_dir: str | None = None
    """Where the scenes that episodes name lie."""
    engine: Literal["embodia", "habitat-sim"] = "embodia"
    """Who draws and moves: this project, or habitat-sim where it is installed."""
    max_steps: int | None = None
    """Time limit; None for the task's own."""

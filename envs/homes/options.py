"""Options of the homes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HomesOptions:
    """Habitat's tasks in homes."""

    sensors: tuple[str, ...] | None = None
    """Sensors of the agent. None uses the task's own."""
    height: int | None = None
    """Image height in pixels. None uses the task's."""
    width: int | None = None
    """Image width in pixels. None uses the task's."""
    num_scenes: int = 64
    """Number of generated homes."""
    detail: Literal["low", "medium", "high"] = "medium"
    """Level of detail of generated homes."""
    scenes: tuple[str, ...] | None = None
    """Scene files (.glb, .gltf, .obj, .ply) instead of generated homes."""
    test_scenes: tuple[str, ...] | None = None
    """Scene files of the test split, if they are other ones."""
    up: Literal["y", "z"] | None = None
    """Axis that points up in scene files. None follows the stage config, else glTF and .obj are y-up, .ply z-up."""
    island: int | None = None
    """Island of the navmesh on which episodes are generated. None chooses by headroom and walls."""
    episodes: str | None = None
    """Habitat episode file (.json.gz) instead of generated episodes."""
    test_episodes: str | None = None
    """Habitat episode file of the test split, if it is another one."""
    scenes_dir: str | None = None
    """Folder of the scenes that episodes name."""
    skip_unreachable: bool = False
    """Skip episodes whose goal cannot be reached, and scenes that offer no episode; by default they are errors."""
    engine: Literal["embodia", "habitat-sim"] = "embodia"
    """Simulator: this project's own, or habitat-sim where it is installed."""
    geodesics: Literal["detour", "exact"] = "detour"
    """How distances are measured: by habitat-sim's own search (detour), or as exact shortest paths."""
    max_steps: int | None = None
    """Time limit in steps. None uses the task's default."""

"""Create minigrid's own environments."""

from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401 (registers the ids)
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.error import DependencyNotInstalled
from minigrid.envs.wfc.config import WFC_PRESETS_ALL, WFCConfig
from PIL import Image


class _PillowWFCConfig(WFCConfig):
    """Reads the pattern with Pillow. minigrid uses imageio, which is missing from its own requirements."""

    @property
    def wfc_kwargs(self) -> dict[str, Any]:
        arguments = {name: value for name, value in vars(self).items() if name not in ("docstring", "pattern_path")}
        with Image.open(self.pattern_path) as pattern:
            return {**arguments, "image": np.array(pattern.convert("RGB"))}


def make_world(task: str, **options: Any) -> Any:
    """Create minigrid's environment of an id, unwrapped and without its own observations.

    Raises:
        DependencyNotInstalled: For the WFC tasks (`NEED_SOURCE` of `embodia.envs.grid.ids`) if minigrid lacks their
            patterns.
    """
    spec = gym.registry[task]
    if "wfc_config" in spec.kwargs:
        options["wfc_config"] = _wfc_config(task, WFC_PRESETS_ALL[spec.kwargs["wfc_config"]])
    world: Any = load_env_creator(str(spec.entry_point))(**{**spec.kwargs, **options})
    world.gen_obs = dict  # GridEnv computes the observations itself, faster
    return world


def _wfc_config(task: str, preset: WFCConfig) -> WFCConfig:
    if not preset.pattern_path.exists():
        raise DependencyNotInstalled(
            f"embodia/{task}: the installed minigrid lacks {preset.pattern_path.name}, the pattern image of this "
            "task's mazes, which its wheels omit; install minigrid from its source repository"
        )
    return _PillowWFCConfig(**vars(preset))

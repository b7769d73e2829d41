"""Building minigrid's own environments."""

from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401 (registers the ids)
import numpy as np
from minigrid.envs.wfc.config import WFC_PRESETS_ALL, WFCConfig
from PIL import Image


class _PillowWFCConfig(WFCConfig):
    """Reads the pattern with Pillow: minigrid asks for imageio here, which its own requirements leave out."""

    @property
    def wfc_kwargs(self) -> dict[str, Any]:
        arguments = {name: value for name, value in vars(self).items() if name not in ("docstring", "pattern_path")}
        with Image.open(self.pattern_path) as pattern:
            return {**arguments, "image": np.array(pattern.convert("RGB"))}


def make_world(task: str, **options: Any) -> Any:
    """minigrid's environment of an id, unwrapped; it no longer computes observations of its own."""
    arguments = dict(gym.spec(task).kwargs)
    if "wfc_config" in arguments:
        preset = WFC_PRESETS_ALL[arguments["wfc_config"]]
        options["wfc_config"] = _PillowWFCConfig(**vars(preset))
    world: Any = gym.make(task, disable_env_checker=True, **options).unwrapped
    world.gen_obs = dict  # GridEnv makes the observations, and makes them faster
    return world

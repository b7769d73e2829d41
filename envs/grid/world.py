"""Create minigrid's own environments, start their levels and name them."""

import contextlib
import io
from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401 (registers the ids)
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.error import DependencyNotInstalled
from minigrid.envs.wfc.config import WFC_PRESETS_ALL, WFCConfig
from numpy.typing import NDArray
from PIL import Image

from embodia.envs import content_digest
from embodia.envs.grid.symbolic import carried_code


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


def start_level(world: Any, seed: int | None) -> None:
    """Start the level of a generator seed."""
    with contextlib.redirect_stdout(io.StringIO()):  # BabyAI prints every level its generator rejects
        world.reset(seed=seed)


def level_name(task: str, world: Any, full: NDArray[np.uint8], seed: int | None) -> str:
    """Return the name of a level that has just begun, made from its content: equal levels have equal names.

    Args:
        task: minigrid's id.
        world: minigrid's environment.
        full: The whole grid (H, W, 3) as symbols, with the agent.
        seed: Seed of the level's generator, which determines how obstacles move.
    """
    boxes = [(at, cell.contains.encode()) for at, cell in enumerate(world.grid.grid)
             if cell is not None and cell.type == "box" and cell.contains is not None]  # fmt: skip
    moves = seed if "Dynamic" in task else None
    return f"{task}/{content_digest(full, world.mission, carried_code(world), boxes, moves)}"


def _wfc_config(task: str, preset: WFCConfig) -> WFCConfig:
    if not preset.pattern_path.exists():
        raise DependencyNotInstalled(
            f"embodia/{task}: the installed minigrid lacks {preset.pattern_path.name}, the pattern image of this "
            "task's mazes, which its wheels omit; install minigrid from its source repository"
        )
    return _PillowWFCConfig(**vars(preset))

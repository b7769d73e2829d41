"""Environments by id: which there are, what their classes let one choose, and how they are made."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym

import embodia  # noqa: F401 (registers the ids)
from embodia.envs import Split
from embodia.envs.vector import Vectorization
from embodia.scripts.assembly.kinds import Kind
from embodia.scripts.assembly.own import imported
from embodia.scripts.assembly.parts import build, parts
from embodia.scripts.mistake import Mistake, nearest

OURS = ("", "embodia", "envs")
"""Modules before an id's colon that mean this project; runs made before it had one import name say `envs`."""


@dataclass(frozen=True)
class NoOptions:
    """An environment from elsewhere, made as it is registered."""


@dataclass(frozen=True)
class EnvConfig:
    """Where it happens."""

    id: str
    """A registered id; `module:Id-v0` imports the module first."""
    options: Any = None
    """What this world lets one choose; None for its own values."""
    num_envs: int = 8
    """Worlds side by side in training."""
    vectorization: Vectorization = "auto"
    """Worlds in this process (sync) or in others (subprocess); native where the simulator steps N worlds itself."""
    workers: int | None = None
    """Processes for subprocess; None for one per world."""


def known_id(name: str) -> str:
    """The id as `gymnasium.make` takes it. Raises Mistake with the nearest names for one that is not registered."""
    module, _, rest = name.rpartition(":")
    if module not in OURS:
        imported(module, f"env.id {name}")
    for each in (rest, f"embodia/{rest}") if module not in OURS else (f"embodia/{rest}", rest):
        if each in gym.registry:
            return f"embodia:{each}" if each.startswith("embodia/") else name
    ours = [each.removeprefix("embodia/") for each in gym.registry if each.startswith("embodia/")]
    hint = nearest(rest.removeprefix("embodia/"), ours)
    raise Mistake(f"env.id {name} is not registered. {hint} `embodia list envs` names all.")


def is_own(name: str) -> bool:
    """Whether an id names a module that is not this project's, and that nobody has imported yet."""
    module, _, rest = name.rpartition(":")
    return module not in OURS and rest not in gym.registry


def driver(kind: Kind, planner: Any) -> Callable[[Any], Any] | None:
    """What makes a planner for a scenario; None for the logged driver, which roads have themselves."""
    return None if kind.name(planner) == "log" else partial(drives, kind, planner)


def drives(kind: Kind, planner: Any, scenario: Any) -> Any:
    """A planner made for one scenario."""
    return build(kind, planner, {"scenario": lambda: scenario, "log": lambda: scenario.expert})


def class_of(name: str) -> Any:
    """The class of an environment, or whatever makes one."""
    entry: Any = gym.spec(known_id(name).rpartition(":")[2]).entry_point
    return gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry


def options_of(name: str) -> type:
    """The dataclass of what an environment lets one choose."""
    found = getattr(class_of(name), "Options", None)
    return found if dataclasses.is_dataclass(found) and isinstance(found, type) else NoOptions


def fitting(env: EnvConfig) -> EnvConfig:
    """The same, its options those of the id's world: what one world lets one choose means nothing to another."""
    kind = options_of(env.id)
    return env if isinstance(env.options, kind) else dataclasses.replace(env, options=kind())


def arguments(env: EnvConfig, split: Split) -> dict[str, Any]:
    """Keyword arguments of the environment; only this project's environments know splits, and all of them draw."""
    options = {} if env.options is None else dict(vars(env.options))
    options |= {name: driver(kind, planner) for name, kind, planner in parts(env.options)}
    chosen = {name: value for name, value in options.items() if value is not None}
    if known_id(env.id).startswith("embodia:"):
        return {**chosen, "split": split}
    draws = "rgb_array" in (getattr(class_of(env.id), "metadata", None) or {}).get("render_modes", ())
    return {**chosen, **({"render_mode": "rgb_array"} if draws else {})}

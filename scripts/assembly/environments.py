"""Environments by id: their options, and the arguments to make them."""

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym

import embodia  # noqa: F401 (registers the ids)
from embodia.envs import Split
from embodia.envs.vector import Vectorization
from embodia.scripts.assembly.env_ids import OURS, known_id
from embodia.scripts.assembly.kinds import Kind
from embodia.scripts.assembly.parts import build, parts


@dataclass(frozen=True)
class NoOptions:
    """No options: an environment of another project, made as it is registered."""


@dataclass(frozen=True)
class EnvConfig:
    """Environment."""

    id: str
    """Registered id; `module:Id-v0` imports the module first."""
    options: Any = None
    """Options of the environment; None for its defaults."""
    num_envs: int = 8
    """Number of parallel environments in training."""
    vectorization: Vectorization = "auto"
    """How parallel environments run: in this process (sync), in other processes (subprocess), or in one batched
    simulator (native). auto uses native if available."""
    workers: int | None = None
    """Number of processes for subprocess; None for one per environment."""


def is_own(name: str) -> bool:
    """Return whether an id names a module outside this project that has not been imported yet."""
    module = name.rpartition(":")[0]
    return module not in OURS and module not in sys.modules


def driver(kind: Kind, planner: Any) -> Callable[[Any], Any] | None:
    """Return the function that makes a planner for a scenario; None for the logged driver, which is built in."""
    return None if kind.name(planner) == "log" else partial(drives, kind, planner)


def drives(kind: Kind, planner: Any, scenario: Any) -> Any:
    """Make a planner for one scenario."""
    return build(kind, planner, {"scenario": lambda: scenario, "log": lambda: scenario.expert})


def class_of(name: str) -> Any:
    """Return the class of an environment, or the function that makes it."""
    entry: Any = gym.spec(known_id(name).rpartition(":")[2]).entry_point
    return gym.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry


def options_of(name: str) -> type:
    """Return the options dataclass of an environment."""
    found = getattr(class_of(name), "Options", None)
    return found if dataclasses.is_dataclass(found) and isinstance(found, type) else NoOptions


def fitting(env: EnvConfig) -> EnvConfig:
    """Return the configuration with default options if its options are of another environment's class."""
    kind = options_of(env.id)
    return env if isinstance(env.options, kind) else dataclasses.replace(env, options=kind())


def arguments(env: EnvConfig, split: Split) -> dict[str, Any]:
    """Return the keyword arguments of the environment. Only this project's environments have splits."""
    options = {} if env.options is None else dict(vars(env.options))
    options |= {name: driver(kind, planner) for name, kind, planner in parts(env.options)}
    chosen = {name: value for name, value in options.items() if value is not None}
    if known_id(env.id).startswith("embodia:"):
        return {**chosen, "split": split}
    draws = "rgb_array" in (getattr(class_of(env.id), "metadata", None) or {}).get("render_modes", ())
    return {**chosen, **({"render_mode": "rgb_array"} if draws else {})}

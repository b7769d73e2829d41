"""Wrapper for environments with a single array as observation: it gives the array a key."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class NamedObservation(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """Turn a single observation into a dict, under the key `rgb` for an image and `state` otherwise."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self.name = name_of(env.observation_space)
        self.observation_space = spaces.Dict({self.name: env.observation_space})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        obs, info = self.env.reset(seed=seed, options=options)
        return {self.name: obs}, info

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        return {self.name: obs}, *rest

    def set_state(self, state: Any) -> dict[str, Any]:
        """Restore a snapshot. Raises AttributeError if the environment has no snapshots."""
        return {self.name: self.env.get_wrapper_attr("set_state")(state)}


def name_of(space: spaces.Space[Any]) -> str:
    """Return "rgb" for uint8 (H, W, 3), otherwise "state"."""
    is_picture = isinstance(space, spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,)
    return "rgb" if is_picture else "state"


Wrap = Callable[[gym.Env], gym.Env]
"""A `gymnasium.Wrapper` class, or a function that wraps an environment."""


def make_named(env_id: str, wrappers: Sequence[Wrap] = (), **kwargs: Any) -> gym.Env:
    """Call `gymnasium.make`, wrap the environment, and ensure that observations are a dict (or tuple)."""
    env = gym.make(env_id, disable_env_checker=True, **kwargs)
    for wrap in wrappers:
        env = wrap(env)
    if isinstance(env.observation_space, spaces.Dict | spaces.Tuple):
        return env
    return NamedObservation(env)

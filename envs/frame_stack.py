"""Consecutive observations stacked along the last axis: images (H, W, k C), vectors (k d,), the newest last.

Gymnasium's `FrameStackObservation` stacks every key, on a new axis that no encoder reads. These stack chosen keys, and
their frames belong to a snapshot. At the start of an episode the first observation fills the stack.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from embodia.envs import State
from embodia.envs.wrapping import Forwarding


def stacked_keys(space: spaces.Dict, keys: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the keys to stack: those given, or all images (H, W, C), or all vectors if there are no images.

    Raises:
        ValueError: if a key is not observed or is not an array, or if there is none.
    """
    boxes = {key: each for key, each in space.items() if isinstance(each, spaces.Box) and each.shape}
    if wrong := [key for key in keys or () if key not in boxes]:
        raise ValueError(f"cannot stack {', '.join(wrong)}; choose from {', '.join(boxes) or 'no keys'}")
    images = tuple(key for key, each in boxes.items() if len(each.shape) == 3)
    vectors = tuple(key for key, each in boxes.items() if len(each.shape) == 1 and each.dtype.kind == "f")
    if not (chosen := tuple(keys or images or vectors)):
        raise ValueError(f"nothing to stack among {', '.join(space)}: there is neither an image nor a vector")
    return chosen


def stacked_space(space: spaces.Dict, num_stack: int, keys: Sequence[str]) -> spaces.Dict:
    """Return the space of stacked observations."""
    made = dict(space.spaces)
    for key in keys:
        box = space[key]
        assert isinstance(box, spaces.Box)
        low, high = (np.concatenate([bound] * num_stack, -1) for bound in (box.low, box.high))
        made[key] = spaces.Box(low, high, dtype=box.dtype.type)
    return spaces.Dict(made)


class VectorFrameStack(Forwarding):
    """Stack the last `num_stack` observations of each environment of a vector environment.

    Args:
        env: a `VectorEnvironment` with next-step autoreset.
        num_stack: number of observations.
        keys: keys to stack, see `stacked_keys`.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], num_stack: int = 4, keys: Sequence[str] | None = None):
        super().__init__(env)
        space = env.single_observation_space
        assert isinstance(space, spaces.Dict)
        self.num_stack, self.keys = num_stack, stacked_keys(space, keys)
        self.single_observation_space = stacked_space(space, num_stack, self.keys)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.frames: dict[str, NDArray[Any]] = {}  # key -> (N, ..., num_stack * C)
        self.over = np.zeros(env.num_envs, bool)  # the next step starts an episode

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        fresh = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        for key in self.keys:
            filled = np.concatenate([obs[key]] * self.num_stack, -1)
            self.frames[key] = np.where(_like(fresh, filled), filled, self.frames.get(key, filled))
        self.over = self.over & ~fresh
        return self._stacked(obs), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(actions)
        for key in self.keys:
            size = obs[key].shape[-1]
            filled = np.concatenate([obs[key]] * self.num_stack, -1)
            shifted = np.concatenate([self.frames[key][..., size:], obs[key]], -1)
            self.frames[key] = np.where(_like(self.over, filled), filled, shifted)
        self.over = np.asarray(terminated | truncated)
        return self._stacked(obs), reward, terminated, truncated, info

    def _stacked(self, obs: dict[str, Any]) -> dict[str, Any]:
        return {**obs, **self.frames}

    def get_state(self) -> State:
        """Return a snapshot of the environments with their frames."""
        frames = {key: value.copy() for key, value in self.frames.items()}
        return {"environment": self._inner("get_state")(), "frames": frames, "over": self.over.copy()}

    def set_state(self, state: State) -> Any:
        """Restore a snapshot and return its observation."""
        obs = self._inner("set_state")(state["environment"])
        self.frames = {key: np.array(value) for key, value in state["frames"].items()}
        self.over = np.array(state["over"])
        return self._stacked(obs)

    def _inner(self, name: str) -> Any:
        return getattr(self.env, name)


def _like(mask: NDArray[np.bool_], array: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask (N,) with as many axes as an array (N, ...)."""
    return mask.reshape(-1, *[1] * (array.ndim - 1))


class FrameStack(gym.Wrapper[Any, Any, Any, Any]):
    """Stack the last `num_stack` observations of one environment, as `VectorFrameStack` does for many.

    Args:
        env: an environment with a `spaces.Dict` of observations.
        num_stack: number of observations.
        keys: keys to stack, see `stacked_keys`.
    """

    def __init__(self, env: gym.Env[Any, Any], num_stack: int = 4, keys: Sequence[str] | None = None):
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict), "frame stacking needs a Dict of observations"
        self.num_stack, self.keys = num_stack, stacked_keys(env.observation_space, keys)
        self.observation_space = stacked_space(env.observation_space, num_stack, self.keys)
        self.frames: dict[str, NDArray[Any]] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        obs, info = self.env.reset(seed=seed, options=options)
        self.frames = {key: np.concatenate([obs[key]] * self.num_stack, -1) for key in self.keys}
        return {**obs, **self.frames}, info

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        for key in self.keys:
            self.frames[key] = np.concatenate([self.frames[key][..., obs[key].shape[-1] :], obs[key]], -1)
        return {**obs, **self.frames}, *rest

    def get_state(self) -> State:
        """Return a snapshot of the environment with its frames."""
        return {"environment": self.env.get_wrapper_attr("get_state")(), "frames": dict(self.frames)}

    def set_state(self, state: State) -> Any:
        """Restore a snapshot and return its observation."""
        obs = self.env.get_wrapper_attr("set_state")(state["environment"])
        self.frames = {key: np.array(value) for key, value in state["frames"].items()}
        return {**obs, **self.frames}

"""Wrappers around environments of the contract: expert, snapshots and other methods stay available, and the wrapper's
own attributes belong to a snapshot.

A wrapper needs no methods for this. Its attributes that are plain data (numbers, text, arrays, random generators, and
lists, dicts, sets and deques of these) are stored with the snapshot of the environment; all others (spaces, functions,
networks) are taken to be constant.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from embodia.envs import State
from embodia.envs.named import NamedObservation

OF_GYMNASIUM = (
    gym.wrappers.TimeLimit,  # `Worlds` stores its counter
    gym.wrappers.OrderEnforcing,
    gym.wrappers.PassiveEnvChecker,
    NamedObservation,
)
"""Wrappers that `gymnasium.make` and `embodia.envs.vector.make` add."""
CONSTANT = {*vars(gym.Wrapper(gym.Env())), "_single_observation_space", "_single_action_space"}
"""Attributes of every wrapper, which are no state."""
PLAIN = (bool, int, float, str, bytes, np.generic)
KIND = "__wrapper_value__"
"""Key of a dict that stands for a value of another type."""


class NotPlain(TypeError):
    """A value that is no plain data."""


def layers(env: gym.Env[Any, Any]) -> list[gym.Wrapper[Any, Any, Any, Any]]:
    """Return the user's wrappers around an environment, outermost first."""
    found = []
    while isinstance(env, gym.Wrapper):
        if not isinstance(env, OF_GYMNASIUM):
            found.append(env)
        env = env.env
    return found


def attributes(layer: Any) -> State:
    """Return the attributes of a wrapper that are plain data."""
    return dict(_kept(layer))


def _kept(layer: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(layer).items():
        if name not in CONSTANT:
            with suppress(NotPlain):
                yield name, _pack(value)


def set_attributes(layer: Any, state: State) -> None:
    """Restore what `attributes` returned."""
    for name, value in state.items():
        setattr(layer, name, _unpack(value))


def _pack(value: Any) -> Any:
    if value is None or isinstance(value, PLAIN):
        return value
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    if isinstance(value, np.random.Generator):
        return {KIND: "generator", "name": type(value.bit_generator).__name__, "state": value.bit_generator.state}
    if isinstance(value, deque):
        return {KIND: "deque", "items": [_pack(each) for each in value], "maxlen": value.maxlen}
    if isinstance(value, set):
        return {KIND: "set", "items": [_pack(each) for each in value]}
    if type(value) in (list, tuple):
        return type(value)(_pack(each) for each in value)
    if isinstance(value, dict):
        return {_pack(key): _pack(each) for key, each in value.items()}
    raise NotPlain(type(value).__name__)


def _unpack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(_unpack(each) for each in value)
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind == "generator":
        generator = np.random.Generator(getattr(np.random, value["name"])())
        generator.bit_generator.state = value["state"]
        return generator
    if kind == "deque":
        return deque((_unpack(each) for each in value["items"]), value["maxlen"])
    if kind == "set":
        return {_unpack(each) for each in value["items"]}
    return {_unpack(key): _unpack(each) for key, each in value.items()}


class Forwarding(VectorWrapper[Any, Any, Any, Any, Any]):
    """A wrapper around a vector environment that forwards all methods of the contract."""

    def __getattr__(self, name: str) -> Any:
        """Look up an attribute in the environments below; Gymnasium's vector wrappers forward none."""
        inner = vars(self).get("env")
        while inner is not None and not name.startswith("_"):
            if hasattr(inner, name):
                return getattr(inner, name)
            inner = vars(inner).get("env")
        raise AttributeError(f"{type(self).__name__} and the environments in it have no attribute {name!r}")


class WrappedVector(Forwarding):
    """The contract's methods around a vector environment inside the user's vector wrappers.

    Args:
        env: the outermost of the user's `gymnasium.vector.VectorWrapper`s.
        inner: the vector environment inside all of them.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], inner: VectorEnv[Any, Any, Any]):
        super().__init__(env)
        self.inner, self.obs = inner, None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.obs, info = self.env.reset(seed=seed, options=options)
        return self.obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.obs, *rest = self.env.step(actions)
        return self.obs, *rest

    def get_state(self) -> State:
        """Return a snapshot of the environments, with the attributes of the wrappers and the last observation."""
        own = [attributes(layer) for layer in self._layers()]
        return {"environment": self.inner.get_state(), "wrappers": own, "obs": self.obs}  # type: ignore[attr-defined]

    def set_state(self, state: State) -> Any:
        """Restore a snapshot and return its observation."""
        self.inner.set_state(state["environment"])  # type: ignore[attr-defined]
        for layer, own in zip(self._layers(), state["wrappers"], strict=True):
            set_attributes(layer, own)
        self.obs = state["obs"]
        return self.obs

    def _layers(self) -> Iterator[Any]:
        layer = self.env
        while layer is not self.inner:
            yield layer
            layer = layer.env  # type: ignore[attr-defined]

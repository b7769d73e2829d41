"""Environments stepped one after another: the content of a vector and of each of its worker processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Leaf = tuple[tuple[str | int, ...], spaces.Space[Any]]


class Worlds:
    """A list of environments stepped in sequence. Results are written into arrays of the caller.

    Args:
        env_fns: One constructor per environment.
        offset: Index of the first environment in the whole vector, for messages.
    """

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]], offset: int = 0):
        self.offset = offset
        self.envs: list[gym.Env] = []
        self.started = [False] * len(env_fns)
        self.seeds: list[int | None] = [None] * len(env_fns)  # of the last seeded reset
        self.episodes = [0] * len(env_fns)  # since that reset
        self.steps = [0] * len(env_fns)  # in this episode
        self.over = np.zeros(len(env_fns), bool)  # the next step resets
        for i, env_fn in enumerate(env_fns):
            self.envs.append(self._guard(i, env_fn))
        self.leaves = list(leaves(self.envs[0].observation_space))

    def attach(self, obs: Sequence[NDArray[Any]], reward: Any, terminated: Any, truncated: Any) -> None:
        """Set the arrays to write to: one per observation leaf, reward, terminated and truncated, each (n, ...)."""
        self.obs, self.reward, self.terminated, self.truncated = obs, reward, terminated, truncated

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None, mask: Sequence[bool]) -> list[Any]:
        """Reset the environments of `mask` and return their infos, None for the others."""
        return [self._reset(i, seeds[i], options) if mask[i] else None for i in range(len(self.envs))]

    def _reset(self, i: int, seed: int | None, options: dict[str, Any] | None) -> dict[str, Any]:
        if seed is not None:
            self.seeds[i], self.episodes[i] = seed, 0
        else:
            self.episodes[i] += 1
        self.steps[i], self.started[i], self.over[i] = 0, True, False
        obs, info = self._guard(i, lambda: self.envs[i].reset(seed=seed, options=options))
        self._write(i, obs)
        self.reward[i], self.terminated[i], self.truncated[i] = 0.0, False, False
        return info

    def step(self, actions: NDArray[Any]) -> list[Any]:
        """Step every environment, or reset it if its episode is over. Returns the infos."""
        infos = []
        for i, env in enumerate(self.envs):
            if self.over[i]:
                infos.append(self._reset(i, None, None))
                continue
            self.steps[i] += 1
            try:
                obs, self.reward[i], terminated, truncated, info = env.step(actions[i])
                self._write(i, obs)
            except Exception as error:
                error.add_note(self._where(i))
                raise
            self.terminated[i], self.truncated[i] = terminated, truncated
            self.over[i] = terminated or truncated
            infos.append(self._with_scores(i, info))
        return infos

    def _with_scores(self, i: int, info: dict[str, Any]) -> dict[str, Any]:
        """Return a step's info, with scores on an episode's last step only.

        If a wrapper ended the episode, as `gymnasium.wrappers.TimeLimit` does, `env.metrics()` provides them.
        """
        metrics = info.get("metrics")
        info = {key: value for key, value in info.items() if key != "metrics"}
        if not self.over[i]:
            return info
        if metrics is None and self.envs[i].has_wrapper_attr("metrics"):
            metrics = self._call(i, "metrics")
        if metrics is not None:
            info["metrics"] = self._guard(i, lambda: _numbers(metrics))
        return info

    def expert_action(self) -> list[Any]:
        """Return the experts' actions; zeros where an episode is over, since that action will be ignored."""
        idle = self.envs[0].action_space
        zero = [np.zeros(idle.shape or (), idle.dtype) if over else None for over in self.over]
        return [zero[i] if over else self._call(i, "expert_action") for i, over in enumerate(self.over)]

    def get_state(self) -> list[Any]:
        """Return a snapshot of each environment, with its time limit and counters."""
        return [
            {
                "world": self._call(i, "get_state"),
                "elapsed": [layer._elapsed_steps for layer in _time_limits(env)],
                "over": bool(self.over[i]),
                "seed": self.seeds[i],
                "episodes": self.episodes[i],
                "steps": self.steps[i],
            }
            for i, env in enumerate(self.envs)
        ]

    def set_state(self, states: Sequence[Any]) -> None:
        """Restore snapshots of `get_state`."""
        for i, (env, state) in enumerate(zip(self.envs, states, strict=True)):
            if not self.started[i]:  # Gymnasium's wrappers require a reset before the first step
                self._reset(i, 0, None)
            self._write(i, self._call(i, "set_state", state["world"]))
            for layer, elapsed in zip(_time_limits(env), state["elapsed"], strict=True):
                layer._elapsed_steps = elapsed
            self.over[i], self.seeds[i] = state["over"], state["seed"]
            self.episodes[i], self.steps[i] = state["episodes"], state["steps"]

    def render(self) -> list[Any]:
        return [self._guard(i, env.render) for i, env in enumerate(self.envs)]

    def call(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        """Call the method `name` of each environment, or return the attribute."""
        return [self._call(i, name, *args, **kwargs) for i in range(len(self.envs))]

    def set_attr(self, name: str, values: Sequence[Any]) -> None:
        for env, value in zip(self.envs, values, strict=True):
            env.set_wrapper_attr(name, value)

    def close(self) -> None:
        for env in self.envs:
            env.close()

    def _call(self, i: int, name: str, *args: Any, **kwargs: Any) -> Any:
        def run() -> Any:
            attribute = self.envs[i].get_wrapper_attr(name)
            return attribute(*args, **kwargs) if callable(attribute) else attribute

        return self._guard(i, run)

    def _guard(self, i: int, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except Exception as error:
            error.add_note(self._where(i))
            raise

    def _where(self, i: int) -> str:
        spec = self.envs[i].spec if i < len(self.envs) else None
        name = spec.id if spec is not None else "environment"
        again = f", {self.episodes[i]} episodes after that seed" if self.episodes[i] else ""
        return f"in {name}, world {self.offset + i}, seed {self.seeds[i]}{again}, step {self.steps[i]}"

    def _write(self, i: int, obs: Any) -> None:
        self._guard(i, lambda: self._checked_write(i, obs))

    def _checked_write(self, i: int, obs: Any) -> None:
        for (path, _), array in zip(self.leaves, self.obs):
            value = obs
            try:
                for key in path:
                    value = value[key]
            except (KeyError, IndexError, TypeError) as error:
                raise ObservationError(f"the observation lacks {_spelled(path)}, which its space has") from error
            try:
                given = np.asarray(value)
            except ValueError as error:  # lists of unequal lengths
                raise ObservationError(f"{_spelled(path)} is no array ({error})") from error
            array[i] = as_space_says(given, array[i], path)


class ObservationError(ValueError):
    """An observation does not fit its space; the notes name environment, world, seed and step."""


class MetricsError(ValueError):
    """A score in `info["metrics"]` is not a number; the notes name environment, world, seed and step."""


def as_space_says(value: NDArray[Any], like: NDArray[Any], path: Sequence[str | int]) -> NDArray[Any]:
    """Convert one entry of an observation to the dtype of its space, without broadcasting, overflow or truncation.

    Raises:
        ObservationError: If the shape differs, or the dtype cannot hold a value; the message names the key.
    """
    if value.shape != np.shape(like):
        raise ObservationError(f"{_spelled(path)} has shape {value.shape}; its space has {np.shape(like)}")
    if value.dtype == like.dtype:
        return value
    if value.dtype.kind not in "biuf":
        raise ObservationError(f"{_spelled(path)} has dtype {value.dtype}; its space has {like.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = value.astype(like.dtype)
    wrong = np.isfinite(cast) != np.isfinite(value) if like.dtype.kind == "f" else cast != value
    if np.any(wrong):
        worst = value[np.asarray(wrong)].ravel()[0]
        raise ObservationError(
            f"{_spelled(path)} contains {worst}, which its space's dtype {like.dtype} cannot represent"
        )
    return cast


def _numbers(metrics: Any) -> dict[str, float]:
    if not isinstance(metrics, Mapping) or not all(isinstance(name, str) for name in metrics):
        raise MetricsError(f'info["metrics"] is {metrics!r}; it must be a dict of names and numbers')
    return {name: _number(name, value) for name, value in metrics.items()}


def _number(name: str, value: Any) -> float:
    """Return a score as a float: Gymnasium takes the dtype of the first world, and an int would truncate others."""
    number = np.asarray(value)
    if number.shape != () or number.dtype.kind not in "biuf":
        raise MetricsError(f'info["metrics"][{name!r}] is {value!r}; a score must be one number')
    return float(number)


def _spelled(path: Sequence[str | int]) -> str:
    return "/".join(map(str, path)) if path else "the observation"


def leaves(space: spaces.Space[Any], path: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    """Iterate over the fixed-shape parts of a space and their paths.

    Raises:
        TypeError: If a part has no fixed shape.
    """
    if isinstance(space, spaces.Dict):
        for key, sub in space.items():
            yield from leaves(sub, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for position, sub in enumerate(space.spaces):
            yield from leaves(sub, (*path, position))
    elif space.shape is None or space.dtype is None:
        name = "/".join(map(str, path)) or "observation"
        raise TypeError(
            f'"{name}" is a {type(space).__name__} space without a fixed shape; give arrays (text as tokens)'
        )
    else:
        yield path, space


def _time_limits(env: gym.Env) -> list[Any]:
    """Return the TimeLimit wrappers, which count steps outside the environment's own snapshot."""
    layers: list[Any] = []
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            layers.append(env)
        env = env.env
    return layers


def nest(space: spaces.Space[Any], arrays: Iterator[NDArray[Any]]) -> Any:
    """Put the arrays of `leaves(space)` back into the space's dicts and tuples."""
    if isinstance(space, spaces.Dict):
        return {key: nest(sub, arrays) for key, sub in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(nest(sub, arrays) for sub in space.spaces)
    return next(arrays)


def describe(env: gym.Env) -> dict[str, Any]:
    """Return the properties of an environment that a vector needs."""
    return {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "metadata": env.metadata,
        "render_mode": env.render_mode,
    }

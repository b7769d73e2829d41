"""N worlds as one `gymnasium.vector.VectorEnv`: in this process (`SyncVector`) or in others (`SubprocessVector`).

Both keep Gymnasium's next-step autoreset and info layout and add the contract's `expert_action`, `get_state` and
`set_state`. An exception in a world reaches the caller with its own type, the worker's traceback, and a note that
names environment, world, seed and step.
"""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from embodia.envs.named import make_named
from embodia.envs.workers import Workers
from embodia.envs.worlds import Worlds, describe, leaves, nest

Vectorization = Literal["auto", "native", "sync", "subprocess"]


def make(
    env_id: str,
    num_envs: int = 1,
    vectorization: Vectorization = "auto",
    workers: int | None = None,
    **kwargs: Any,
) -> VectorEnv:
    """N worlds of a registered id; satisfies `envs.VectorEnvironment`. One bare array observed gets a name.

    Args:
        env_id: as `gymnasium.make` takes it, e.g. "embodia:embodia/MiniGrid-Empty-8x8-v0".
        num_envs: number of worlds.
        vectorization: "native" is the id's own batched simulator, "sync" steps worlds one after another in this
            process, "subprocess" spreads them over processes; "auto" is native where there is one, else sync.
        workers: processes for "subprocess", by default one per world.
        kwargs: options of the environment.

    Raises:
        gymnasium.error.Error: for an unknown id (nearest names offered by Gymnasium).
        ValueError: for an impossible vectorization.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs is {num_envs}; at least one world is needed")
    if vectorization not in ("auto", "native", "sync", "subprocess"):
        raise ValueError(f'vectorization is "{vectorization}"; choose auto, native, sync or subprocess')
    spec = _find_spec(env_id)
    if vectorization == "auto":
        vectorization = "native" if spec.vector_entry_point is not None else "sync"
    if vectorization == "native":
        if spec.vector_entry_point is None:
            raise ValueError(f'{env_id} has no simulator of N worlds of its own; use vectorization "sync"')
        return gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **kwargs)
    makers = [partial(make_named, env_id, **kwargs)] * num_envs
    vector = SyncVector(makers) if vectorization == "sync" else SubprocessVector(makers, workers)
    vector.spec = spec
    return vector


def _find_spec(env_id: str) -> Any:
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gym.spec(name)


class _Vector(VectorEnv):
    """What both share: arrays of the last step, Gymnasium's calls, and how they are spread over `Worlds`."""

    def _describe(self, num_envs: int, example: dict[str, Any]) -> None:
        self.num_envs = num_envs
        self.single_observation_space = example["observation_space"]
        self.single_action_space = example["action_space"]
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {**example["metadata"], "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.render_mode = example["render_mode"]
        self.leaves = list(leaves(self.single_observation_space))

    def _layout(self) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shapes and types of the observation leaves, reward, terminated, truncated."""
        leaves = [(tuple(space.shape or ()), np.dtype(space.dtype)) for _, space in self.leaves]
        flags = [((), np.dtype(np.float64)), ((), np.dtype(np.bool_)), ((), np.dtype(np.bool_))]
        return [((self.num_envs, *shape), dtype) for shape, dtype in [*leaves, *flags]]

    def _observation(self) -> Any:
        return nest(self.single_observation_space, iter([array.copy() for array in self._results()[:-3]]))

    def _gather(self, infos: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
        gathered: dict[str, Any] = {}
        for i, info in enumerate(infos):
            if info:
                gathered = self._add_info(gathered, info, i)
        return gathered

    def _arguments(self, seed: Any, options: dict[str, Any] | None) -> tuple[list[int | None], Any, list[bool]]:
        if seed is None or isinstance(seed, int | np.integer):
            seed = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} worlds")
        options = dict(options) if options else {}
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(f"reset_mask is {mask!r}; give ({self.num_envs},) booleans, at least one of them set")
        return [None if s is None else int(s) for s in seed], options or None, mask.tolist()

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        infos = self._scatter("reset", self._arguments(seed, options))
        return self._observation(), self._gather(infos)

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        infos = self._advance(self._checked(actions))
        reward, terminated, truncated = (array.copy() for array in self._results()[-3:])
        return self._observation(), reward, terminated, truncated, self._gather(infos)

    def _checked(self, actions: Any) -> NDArray[Any]:
        actions = np.asarray(actions, self.single_action_space.dtype)
        shape = (self.num_envs, *(self.single_action_space.shape or ()))
        if actions.shape != shape:
            raise ValueError(f"actions have shape {actions.shape}; {self.num_envs} worlds need {shape}")
        return actions

    def expert_action(self) -> NDArray[Any]:
        """(N, ...) the privileged experts' actions. Raises NoExpert where the task has none."""
        return np.asarray(self._scatter("expert_action"), self.single_action_space.dtype)

    def get_state(self) -> dict[str, Any]:
        """An exact snapshot of all worlds. Raises AttributeError where the environment cannot give one."""
        arrays = zip(("reward", "terminated", "truncated"), self._results()[-3:])
        return {"worlds": self._scatter("get_state"), **{name: array.copy() for name, array in arrays}}

    def set_state(self, state: dict[str, Any]) -> Any:
        """Return to a snapshot of a vector of the same id, options and number of worlds; gives its observation."""
        if len(state["worlds"]) != self.num_envs:
            raise ValueError(f"a snapshot of {len(state['worlds'])} worlds cannot be set on {self.num_envs}")
        self._scatter("set_state", (state["worlds"],))
        for array, name in zip(self._results()[-3:], ("reward", "terminated", "truncated")):
            array[:] = state[name]
        return self._observation()

    def render(self) -> tuple[Any, ...]:
        return tuple(self._scatter("render"))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The attribute `name` of every world, called where it can be."""
        return tuple(self._scatter("call", (), (name, args, kwargs)))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """A list or tuple gives each world its own value, anything else all of them the same."""
        values = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        self._scatter("set_attr", (values,), (name,))

    def _results(self) -> list[NDArray[Any]]:
        """The arrays that worlds write: observation leaves, reward, terminated, truncated."""
        raise NotImplementedError

    def _advance(self, actions: NDArray[Any]) -> list[Any]:
        raise NotImplementedError

    def _scatter(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        """Call `method` of every `Worlds`; lists and arrays over all worlds in `split` are cut, `same` is not."""
        raise NotImplementedError


class SyncVector(_Vector):
    """N worlds one after another in this process."""

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]]):
        self._worlds = Worlds(env_fns)
        self.envs = self._worlds.envs
        self._describe(len(env_fns), describe(self.envs[0]))
        self._arrays = [np.zeros(shape, dtype) for shape, dtype in self._layout()]
        self._worlds.attach(self._arrays[:-3], *self._arrays[-3:])

    def _results(self) -> list[NDArray[Any]]:
        return self._arrays

    def _advance(self, actions: NDArray[Any]) -> list[Any]:
        return self._worlds.step(actions)

    def _scatter(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        return getattr(self._worlds, method)(*same, *split) or []

    def close_extras(self, **kwargs: Any) -> None:
        self._worlds.close()


class SubprocessVector(_Vector):
    """N worlds spread over spawned processes; observations travel through shared memory.

    Args:
        env_fns: one maker per world; it travels by cloudpickle.
        workers: number of processes, by default one per world; each steps its share one after another.
        timeout: how long to wait for a worker [s] before it is taken for stuck.

    Raises:
        WorkerError: where a worker dies (a crash of the simulator, out of memory, kill) or does not answer.
    """

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]], workers: int | None = None, timeout: float = 600.0):
        self.num_envs = len(env_fns)
        self._workers = Workers(env_fns, min(workers or len(env_fns), len(env_fns)), timeout)
        self._describe(len(env_fns), self._workers.example)
        actions = ((self.num_envs, *(self.single_action_space.shape or ())), np.dtype(self.single_action_space.dtype))
        self._workers.share([*self._layout(), actions])

    def _results(self) -> list[NDArray[Any]]:
        return self._workers.arrays[:-1]

    def _advance(self, actions: NDArray[Any]) -> list[Any]:
        self._workers.arrays[-1][:] = actions
        return self._scatter("step")

    def _scatter(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        if self.closed or not self._workers.pipes:
            raise gym.error.ClosedEnvironmentError(f"{method} was called after close")
        if self.spec is not None:
            self._workers.env_id = self.spec.id
        return self._workers.call(method, split, same)

    def close_extras(self, **kwargs: Any) -> None:
        self._workers.stop(gently=True)

"""N environments as one `gymnasium.vector.VectorEnv`, in this process (`SyncVector`) or others (`SubprocessVector`).

Both have Gymnasium's next-step autoreset and info layout, and the contract's `expert_action`, `get_state` and
`set_state`. An exception in an environment reaches the caller with its own type, the worker's traceback, and a note
with environment, index, seed and step.
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
    """Create N environments of a registered id, as an `envs.VectorEnvironment`.

    An observation that is a single array becomes a dict (see `envs.named`).

    Args:
        env_id: Id as for `gymnasium.make`, for example "embodia:embodia/MiniGrid-Empty-8x8-v0".
        num_envs: Number of environments.
        vectorization: "native" uses the environment's own batched simulator, "sync" steps environments in sequence in
            this process, "subprocess" distributes them over processes. "auto" is native if there is a batched
            simulator with a dict of observations, otherwise sync.
        workers: Number of processes for "subprocess"; by default one per environment.
        kwargs: Options of the environment.

    Raises:
        gymnasium.error.Error: If the id is unknown; Gymnasium suggests similar ids.
        ValueError: If `num_envs` or `vectorization` is invalid.
    """
    if num_envs < 1:
        raise ValueError(f"num_envs is {num_envs}; at least one environment is needed")
    if vectorization not in ("auto", "native", "sync", "subprocess"):
        raise ValueError(f'vectorization is "{vectorization}"; choose auto, native, sync or subprocess')
    spec = _find_spec(env_id)
    if vectorization == "native" and spec.vector_entry_point is None:
        raise ValueError(f'{env_id} has no batched simulator of its own; use vectorization "sync"')
    if vectorization == "native" or (vectorization == "auto" and spec.vector_entry_point is not None):
        native = gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **kwargs)
        if vectorization == "native" or isinstance(native.single_observation_space, gym.spaces.Dict):
            return native
        native.close()  # Gymnasium's own batches, such as CartPole's, give bare arrays
    makers = [partial(make_named, env_id, **kwargs)] * num_envs
    vector = SubprocessVector(makers, workers) if vectorization == "subprocess" else SyncVector(makers)
    vector.spec = spec
    return vector


def _find_spec(env_id: str) -> Any:
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gym.spec(name)


def reset_arguments(
    num_envs: int, seed: Any, options: dict[str, Any] | None
) -> tuple[list[int | None], dict[str, Any] | None, list[bool]]:
    """Return one seed per environment, the options without `reset_mask`, and that mask.

    Raises:
        ValueError: If there are not `num_envs` seeds or mask entries, or no environment is reset.
    """
    if seed is None or isinstance(seed, int | np.integer):
        seed = [None if seed is None else int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"{len(seed)} seeds for {num_envs} worlds")
    options = dict(options) if options else {}
    mask = np.asarray(options.pop("reset_mask", np.ones(num_envs, bool)))
    if mask.shape != (num_envs,) or mask.dtype != bool or not mask.any():
        raise ValueError(f"reset_mask is {mask!r}; give ({num_envs},) booleans, at least one of them True")
    return [None if s is None else int(s) for s in seed], options or None, mask.tolist()


class _Vector(VectorEnv):
    """Common parts: arrays of the last step, Gymnasium's methods, and their distribution over `Worlds`."""

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
        """Return shapes and dtypes of the observation leaves, reward, terminated and truncated."""
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

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        infos = self._scatter("reset", reset_arguments(self.num_envs, seed, options))
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
        """Return the privileged experts' actions (N, ...). Raises NoExpert if the task has none."""
        return np.asarray(self._scatter("expert_action"), self.single_action_space.dtype)

    def get_state(self) -> dict[str, Any]:
        """Return an exact snapshot of all environments. Raises AttributeError if they have no snapshots."""
        arrays = zip(("reward", "terminated", "truncated"), self._results()[-3:])
        return {"worlds": self._scatter("get_state"), **{name: array.copy() for name, array in arrays}}

    def snapshots(self) -> list[Any]:
        """Return each environment's own snapshot, as a single environment returns it; None where an episode is over."""
        return [None if each["over"] else each["world"] for each in self._scatter("get_state")]

    def set_state(self, state: dict[str, Any]) -> Any:
        """Restore a snapshot of a vector with the same id, options and size. Returns its observation."""
        if len(state["worlds"]) != self.num_envs:
            raise ValueError(f"a snapshot of {len(state['worlds'])} worlds cannot be set on {self.num_envs}")
        self._scatter("set_state", (state["worlds"],))
        for array, name in zip(self._results()[-3:], ("reward", "terminated", "truncated")):
            array[:] = state[name]
        return self._observation()

    def render(self) -> tuple[Any, ...]:
        return tuple(self._scatter("render"))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return the attribute `name` of every environment, or the result if it is a method."""
        return tuple(self._scatter("call", (), (name, args, kwargs)))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute. A list or tuple has one value per environment; any other value is set on all."""
        values = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        self._scatter("set_attr", (values,), (name,))

    def _results(self) -> list[NDArray[Any]]:
        """Return the arrays that environments write: observation leaves, reward, terminated, truncated."""
        raise NotImplementedError

    def _advance(self, actions: NDArray[Any]) -> list[Any]:
        raise NotImplementedError

    def _scatter(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        """Call `method` of every `Worlds`. Lists over all environments in `split` are split, `same` is not."""
        raise NotImplementedError


class SyncVector(_Vector):
    """N environments stepped in sequence in this process.

    Args:
        env_fns: One constructor per environment.
    """

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
    """N environments distributed over spawned processes; observations use shared memory.

    Args:
        env_fns: One constructor per environment, pickled by cloudpickle.
        workers: Number of processes, by default one per environment. Each steps its share in sequence.
        timeout: Maximum time to wait for a worker [s].

    Raises:
        WorkerError: If a worker dies (simulator crash, out of memory, kill) or does not answer in time.
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

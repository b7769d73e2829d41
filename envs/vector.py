"""N worlds as one `gymnasium.vector.VectorEnv`: in this process (`SyncVector`) or in others (`SubprocessVector`).

Both keep Gymnasium's next-step autoreset and info layout and add the contract's `expert_action`, `get_state` and
`set_state`. An exception in a world reaches the caller with its own type, the worker's traceback, and a note that
names environment, world, seed and step.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Literal

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

Vectorization = Literal["auto", "native", "sync", "subprocess"]
GONE = (EOFError, BrokenPipeError, ConnectionResetError)
Leaf = tuple[tuple[str | int, ...], spaces.Space[Any]]


def make(
    env_id: str,
    num_envs: int = 1,
    vectorization: Vectorization = "auto",
    workers: int | None = None,
    **kwargs: Any,
) -> VectorEnv:
    """N worlds of a registered id; satisfies `envs.VectorEnvironment`.

    Args:
        env_id: as `gymnasium.make` takes it, e.g. "envs:embodia/MiniGrid-Empty-8x8-v0".
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
    makers = [partial(gym.make, env_id, disable_env_checker=True, **kwargs)] * num_envs
    vector = SyncVector(makers) if vectorization == "sync" else SubprocessVector(makers, workers)
    vector.spec = spec
    return vector


def _find_spec(env_id: str) -> Any:
    module, _, name = env_id.rpartition(":")
    if module:
        __import__(module)
    return gym.spec(name)


class Worlds:
    """Some worlds stepped one after another; results are written into arrays given by the caller.

    `obs` maps leaf paths to arrays (n, ...), `offset` is the index of the first world in the whole vector.
    """

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]], offset: int = 0):
        self.offset = offset
        self.envs: list[gym.Env] = []
        self.started = [False] * len(env_fns)
        self.seeds: list[int | None] = [None] * len(env_fns)  # of the last seeded reset
        self.episodes = [0] * len(env_fns)  # since that reset
        self.steps = [0] * len(env_fns)  # in this episode
        self.over = np.zeros(len(env_fns), bool)  # the next step restarts
        for i, env_fn in enumerate(env_fns):
            self.envs.append(self._guard(i, env_fn))
        self.leaves = list(_leaves(self.envs[0].observation_space))

    def attach(self, obs: Sequence[NDArray[Any]], reward: Any, terminated: Any, truncated: Any) -> None:
        self.obs, self.reward, self.terminated, self.truncated = obs, reward, terminated, truncated

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None, mask: Sequence[bool]) -> list[Any]:
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
            if "metrics" in info:  # Gymnasium takes an array's type from the first world: an int would cut the rest
                info = {**info, "metrics": {key: float(value) for key, value in info["metrics"].items()}}
            infos.append(info)
        return infos

    def expert_action(self) -> list[Any]:
        """Where a world is over its action will be ignored, so the expert is not asked there."""
        idle = self.envs[0].action_space
        zero = [np.zeros(idle.shape or (), idle.dtype) if over else None for over in self.over]
        return [zero[i] if over else self._call(i, "expert_action") for i, over in enumerate(self.over)]

    def get_state(self) -> list[Any]:
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
        for i, (env, state) in enumerate(zip(self.envs, states, strict=True)):
            if not self.started[i]:  # Gymnasium's wrappers refuse to step a world that was never reset
                self._reset(i, 0, None)
            self._write(i, self._call(i, "set_state", state["world"]))
            for layer, elapsed in zip(_time_limits(env), state["elapsed"], strict=True):
                layer._elapsed_steps = elapsed
            self.over[i], self.seeds[i] = state["over"], state["seed"]
            self.episodes[i], self.steps[i] = state["episodes"], state["steps"]

    def render(self) -> list[Any]:
        return [self._guard(i, env.render) for i, env in enumerate(self.envs)]

    def call(self, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
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
        for (path, _), array in zip(self.leaves, self.obs):
            value = obs
            for key in path:
                value = value[key]
            array[i] = value


def _leaves(space: spaces.Space[Any], path: tuple[str | int, ...] = ()) -> Iterator[Leaf]:
    """The fixed-shape parts of a space with their paths."""
    if isinstance(space, spaces.Dict):
        for key, sub in space.items():
            yield from _leaves(sub, (*path, key))
    elif isinstance(space, spaces.Tuple):
        for position, sub in enumerate(space.spaces):
            yield from _leaves(sub, (*path, position))
    elif space.shape is None or space.dtype is None:
        name = "/".join(map(str, path)) or "observation"
        raise TypeError(
            f'"{name}" is a {type(space).__name__} space without a fixed shape; give arrays (text as tokens)'
        )
    else:
        yield path, space


def _time_limits(env: gym.Env) -> list[Any]:
    """The wrappers that count steps outside the environment's own snapshot."""
    layers: list[Any] = []
    while isinstance(env, gym.Wrapper):
        if isinstance(env, gym.wrappers.TimeLimit):
            layers.append(env)
        env = env.env
    return layers


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
        self.leaves = list(_leaves(self.single_observation_space))

    def _layout(self) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shapes and types of the observation leaves, reward, terminated, truncated."""
        leaves = [(tuple(space.shape or ()), np.dtype(space.dtype)) for _, space in self.leaves]
        flags = [((), np.dtype(np.float64)), ((), np.dtype(np.bool_)), ((), np.dtype(np.bool_))]
        return [((self.num_envs, *shape), dtype) for shape, dtype in [*leaves, *flags]]

    def _observation(self) -> Any:
        return _nest(self.single_observation_space, iter([array.copy() for array in self._arrays[:-3]]))

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
        reward, terminated, truncated = (array.copy() for array in self._arrays[-3:])
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
        flags = {"terminated": self._arrays[-2].copy(), "truncated": self._arrays[-1].copy()}
        return {"worlds": self._scatter("get_state"), "reward": self._arrays[-3].copy(), **flags}

    def set_state(self, state: dict[str, Any]) -> Any:
        """Return to a snapshot of a vector of the same id, options and number of worlds; gives its observation."""
        if len(state["worlds"]) != self.num_envs:
            raise ValueError(f"a snapshot of {len(state['worlds'])} worlds cannot be set on {self.num_envs}")
        self._scatter("set_state", (state["worlds"],))
        for array, name in zip(self._arrays[-3:], ("reward", "terminated", "truncated")):
            array[:] = state[name]
        return self._observation()

    def render(self) -> tuple[Any, ...]:  # type: ignore[override]
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

    _arrays: list[NDArray[Any]]

    def _advance(self, actions: NDArray[Any]) -> list[Any]:
        raise NotImplementedError

    def _scatter(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        """Call `method` of every `Worlds`; lists and arrays over all worlds in `split` are cut, `same` is not."""
        raise NotImplementedError


def _nest(space: spaces.Space[Any], arrays: Iterator[NDArray[Any]]) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _nest(sub, arrays) for key, sub in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_nest(sub, arrays) for sub in space.spaces)
    return next(arrays)


def _example(env: gym.Env) -> dict[str, Any]:
    return {
        "observation_space": env.observation_space,
        "action_space": env.action_space,
        "metadata": env.metadata,
        "render_mode": env.render_mode,
    }


class SyncVector(_Vector):
    """N worlds one after another in this process."""

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]]):
        self._worlds = Worlds(env_fns)
        self.envs = self._worlds.envs
        self._describe(len(env_fns), _example(self.envs[0]))
        self._arrays = [np.zeros(shape, dtype) for shape, dtype in self._layout()]
        self._worlds.attach(self._arrays[:-3], *self._arrays[-3:])

    def _advance(self, actions: NDArray[Any]) -> list[Any]:
        return self._worlds.step(actions)

    def _scatter(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        return getattr(self._worlds, method)(*same, *split) or []

    def close_extras(self, **kwargs: Any) -> None:
        self._worlds.close()


class WorkerError(RuntimeError):
    """A worker died, did not answer, or raised what cannot cross the border between processes."""


class WorkerTraceback(Exception):
    """The traceback of a worker as text: the cause of the exception that was raised there."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


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
        count = min(workers or len(env_fns), len(env_fns))
        edges = np.linspace(0, len(env_fns), count + 1).round().astype(int)
        self._parts = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        self._timeout = timeout
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._memory: SharedMemory | None = None
        self.num_envs = len(env_fns)
        self._arrays = []
        try:
            self._start(env_fns)
        except BaseException:
            self.close(terminate=True)
            raise

    def _start(self, env_fns: Sequence[Callable[[], gym.Env]]) -> None:
        context = multiprocessing.get_context("spawn")
        for part in self._parts:
            ours, theirs = context.Pipe()
            makers = cloudpickle.dumps(list(env_fns[part]))
            process = context.Process(target=_work, args=(theirs, makers, part.start), daemon=True)
            process.start()
            theirs.close()  # so that the worker's death is seen as the end of its pipe
            self._pipes.append(ours)
            self._processes.append(process)
        examples = self._answers("start")
        self._describe(len(env_fns), examples[0])
        layout = [*self._layout(), ((self.num_envs, *(self.single_action_space.shape or ())), self._action_dtype())]
        self._memory = _allocate(layout)
        *self._arrays, self._actions = _views(self._memory, layout)
        for pipe, part in zip(self._pipes, self._parts):
            pipe.send(("attach", (self._memory.name, layout, part)))
        self._answers("attach")

    def _action_dtype(self) -> np.dtype[Any]:
        if self.single_action_space.dtype is None or self.single_action_space.shape is None:
            raise TypeError(f"actions of {self.single_action_space} have no fixed shape; flatten the action space")
        return np.dtype(self.single_action_space.dtype)

    def _advance(self, actions: NDArray[Any]) -> list[Any]:
        if not self.closed:
            self._actions[:] = actions
        return self._scatter("step")

    def _scatter(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        if self.closed:
            raise gym.error.ClosedEnvironmentError(f"{method} was called after close")
        for pipe, part in zip(self._pipes, self._parts):
            cut = [value[part] if isinstance(value, list) else value for value in split]
            with contextlib.suppress(*GONE):  # a dead worker: the end of its pipe tells in `_answers`
                pipe.send((method, (*same, *cut)))
        return [result for results in self._answers(method) for result in results or []]

    def _answers(self, method: str) -> list[Any]:
        """Every worker's answer, in order. All are taken before an error is raised, so that no pipe is left full."""
        waiting = {pipe: number for number, pipe in enumerate(self._pipes)}
        answers: list[Any] = [None] * len(self._pipes)
        deadline = time.monotonic() + self._timeout
        while waiting:
            ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                self._give_up(f"{self._name(min(waiting.values()))} has not answered {method} for {self._timeout:g} s")
            for pipe in ready:
                assert isinstance(pipe, Connection)
                number = waiting.pop(pipe)
                try:
                    answers[number] = pipe.recv()
                except GONE:
                    self._give_up(f"{self._name(number)} died during {method}", number)
        for answer in answers:
            if answer[0] == "error":
                _raise(*answer[1:])
        return [answer[1] for answer in answers]

    def _name(self, number: int) -> str:
        part = self._parts[number]
        worlds = f"world {part.start}" if part.stop == part.start + 1 else f"worlds {part.start} to {part.stop - 1}"
        env_id = self.spec.id if self.spec is not None else "the environment"
        return f"worker {number} ({worlds} of {env_id})"

    def _give_up(self, what: str, number: int | None = None) -> None:
        if number is not None:
            self._processes[number].join(5)
            code = self._processes[number].exitcode
            what += f" ({signal.Signals(-code).name})" if code is not None and code < 0 else f" (exit code {code})"
            if what.find("during start") > 0:
                what += '; a script that starts workers needs `if __name__ == "__main__":` around its main part'
        self.close(terminate=True)
        raise WorkerError(f"{what}. All workers were stopped; make the environment again")

    def close_extras(self, terminate: bool = False, **kwargs: Any) -> None:
        for pipe, process in zip(self._pipes, self._processes):
            if terminate:
                process.terminate()
                continue
            with contextlib.suppress(*GONE):
                pipe.send(("close", ()))
        for pipe, process in zip(self._pipes, self._processes):
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()
        if self._memory is not None:
            self._arrays, self._actions = [array.copy() for array in self._arrays], np.empty(0)
            self._memory.close()
            self._memory.unlink()
            self._memory = None


def _size(layout: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]) -> list[int]:
    """Bytes of each array, rounded up so that every one begins on a cache line."""
    return [-(-int(np.prod(shape)) * dtype.itemsize // 64) * 64 for shape, dtype in layout]


def _allocate(layout: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]) -> SharedMemory:
    size = max(sum(_size(layout)), 1)
    memory = SharedMemory(create=True, size=size)
    if hasattr(os, "posix_fallocate"):  # a small /dev/shm (containers) is told here, not by a bus error later
        try:
            os.posix_fallocate(memory._fd, 0, size)  # type: ignore[attr-defined]
        except OSError as error:
            memory.close()
            memory.unlink()
            raise OSError(error.errno, f"no {size / 2**20:.0f} MiB of shared memory; enlarge /dev/shm") from error
    return memory


def _views(memory: SharedMemory, layout: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]) -> list[NDArray[Any]]:
    starts = np.cumsum([0, *_size(layout)])
    return [
        np.ndarray(shape, dtype, buffer=memory.buf, offset=int(start)) for (shape, dtype), start in zip(layout, starts)
    ]


def _raise(pickled: bytes | None, text: str) -> None:
    """Raise what a worker raised: its own type where that can be rebuilt here."""
    try:
        error = pickle.loads(pickled) if pickled is not None else None
    except Exception:
        error = None
    if not isinstance(error, Exception):
        error = WorkerError(text.strip().splitlines()[-1])
    raise error from WorkerTraceback(text)


def _work(pipe: Connection, makers: bytes, offset: int) -> None:
    """A worker: answer calls on its `Worlds` until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    worlds: Worlds | None = None
    memory: SharedMemory | None = None
    actions: NDArray[Any] = np.empty(0)
    method: str = "start"
    arguments: tuple[Any, ...] = ()
    while method != "close":
        answer: Any
        try:
            if method == "start":
                worlds = Worlds(cloudpickle.loads(makers), offset)
                answer = _example(worlds.envs[0])
            elif worlds is None:
                raise WorkerError("the worker has no worlds")
            elif method == "attach":
                name, layout, part = arguments
                memory = SharedMemory(name)
                *arrays, actions = (array[part] for array in _views(memory, layout))
                worlds.attach(arrays[:-3], *arrays[-3:])
                answer = None
            elif method == "step":
                answer = worlds.step(actions)
            else:
                answer = getattr(worlds, method)(*arguments)
            pipe.send(("ok", answer))
        except GONE:
            break
        except Exception as error:
            with contextlib.suppress(*GONE):
                pipe.send(("error", _pickled(error), traceback.format_exc()))
        try:
            method, arguments = pipe.recv()
        except GONE:
            break  # the main process is gone
    if worlds is not None:
        worlds.close()


def _pickled(error: Exception) -> bytes | None:
    try:
        return cloudpickle.dumps(error)
    except Exception:
        return None

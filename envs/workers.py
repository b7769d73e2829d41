"""Worker processes with environments: spawned, controlled through pipes, read through shared memory.

Workers never hang or outlive the main process: a worker's death closes its pipe, and the main process's death ends
every worker. An exception in an environment reaches the caller with its own type and the worker's traceback.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from embodia.envs.worlds import Worlds, describe

GONE = (EOFError, BrokenPipeError, ConnectionResetError)
Layout = Sequence[tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and dtype of arrays over all environments: observation leaves, reward, terminated, truncated, actions."""


class WorkerError(RuntimeError):
    """A worker died, did not answer in time, or raised an exception that cannot be pickled."""


class WorkerTraceback(Exception):
    """The traceback of a worker as text; it is the cause of the exception raised in the main process."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


class Workers:
    """Spawned processes, each with a share of the environments.

    Args:
        env_fns: One constructor per environment.
        count: Number of processes.
        timeout: Maximum time to wait for an answer [s].

    Raises:
        WorkerError: If a worker does not start.
    """

    def __init__(self, env_fns: Sequence[Callable[[], gym.Env]], count: int, timeout: float):
        edges = np.linspace(0, len(env_fns), count + 1).round().astype(int)
        self.parts = [slice(int(a), int(b)) for a, b in pairwise(edges)]
        self.timeout, self.env_id = timeout, "the environment"
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []
        self.memory: SharedMemory | None = None
        self.arrays: list[NDArray[Any]] = []
        try:
            self._start(env_fns)
            self.example = self._answers("start")[0]
        except BaseException:
            self.stop()
            raise

    def _start(self, env_fns: Sequence[Callable[[], gym.Env]]) -> None:
        context = multiprocessing.get_context("spawn")
        for part in self.parts:
            ours, theirs = context.Pipe()
            makers = cloudpickle.dumps(list(env_fns[part]))
            process = context.Process(target=_work, args=(theirs, makers, part.start), daemon=True)
            process.start()
            theirs.close()  # so that the worker's death closes the pipe
            self.pipes.append(ours)
            self.processes.append(process)

    def share(self, layout: Layout) -> None:
        """Create `arrays`, which the workers write and this process reads (except the last one, actions)."""
        try:
            self.memory = _allocate(layout)
            for pipe, part in zip(self.pipes, self.parts):
                pipe.send(("attach", (self.memory.name, layout, part)))
            self._answers("attach")
        except BaseException:
            self.stop()
            raise
        self.arrays = _views(self.memory, layout)

    def call(self, method: str, split: Sequence[Any] = (), same: Sequence[Any] = ()) -> list[Any]:
        """Call a method of every worker's `Worlds`.

        Args:
            method: Name of the method.
            split: Arguments; lists over all environments are split among the workers.
            same: Arguments that every worker receives unchanged.

        Returns:
            One result per environment, in order.
        """
        for pipe, part in zip(self.pipes, self.parts):
            cut = [value[part] if isinstance(value, list) else value for value in split]
            with contextlib.suppress(*GONE):  # `_answers` reports a dead worker
                pipe.send((method, (*same, *cut)))
        return [result for results in self._answers(method) for result in results or []]

    def _answers(self, method: str) -> list[Any]:
        """Return every worker's answer, in order. All are received before an error is raised, to empty the pipes."""
        waiting = {pipe: number for number, pipe in enumerate(self.pipes)}
        answers: list[Any] = [None] * len(self.pipes)
        deadline = time.monotonic() + self.timeout
        while waiting:
            ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                self._give_up(f"{self._name(min(waiting.values()))} has not answered {method} for {self.timeout:g} s")
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
        part = self.parts[number]
        worlds = f"world {part.start}" if part.stop == part.start + 1 else f"worlds {part.start} to {part.stop - 1}"
        return f"worker {number} ({worlds} of {self.env_id})"

    def _give_up(self, what: str, number: int | None = None) -> None:
        if number is not None:
            self.processes[number].join(5)
            code = self.processes[number].exitcode
            what += f" ({signal.Signals(-code).name})" if code is not None and code < 0 else f" (exit code {code})"
            if what.find("during start") > 0:
                what += '; a script that starts workers needs `if __name__ == "__main__":` around its main part'
        self.stop()
        raise WorkerError(f"{what}. All workers were stopped; make the environment again")

    def stop(self, gently: bool = False) -> None:
        """End every process and free the shared memory. `gently` lets the environments close first."""
        for pipe, process in zip(self.pipes, self.processes):
            if gently:
                with contextlib.suppress(*GONE):
                    pipe.send(("close", ()))
            else:
                process.terminate()
        for pipe, process in zip(self.pipes, self.processes):
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()
        self.pipes, self.processes = [], []
        if self.memory is not None:
            self.arrays = [array.copy() for array in self.arrays]  # no array may refer to freed memory
            self.memory.close()
            self.memory.unlink()
            self.memory = None


def _size(layout: Layout) -> list[int]:
    """Return the bytes of each array, rounded up so that each starts on a cache line."""
    return [-(-int(np.prod(shape)) * dtype.itemsize // 64) * 64 for shape, dtype in layout]


def _allocate(layout: Layout) -> SharedMemory:
    size = max(sum(_size(layout)), 1)
    memory = SharedMemory(create=True, size=size)
    if hasattr(os, "posix_fallocate"):  # detects a small /dev/shm (containers) before a bus error does
        try:
            os.posix_fallocate(memory._fd, 0, size)  # type: ignore[attr-defined]
        except OSError as error:
            memory.close()
            memory.unlink()
            raise OSError(error.errno, f"no {size / 2**20:.0f} MiB of shared memory; enlarge /dev/shm") from error
    return memory


def _views(memory: SharedMemory, layout: Layout) -> list[NDArray[Any]]:
    starts = np.cumsum([0, *_size(layout)])
    return [
        np.ndarray(shape, dtype, buffer=memory.buf, offset=int(start)) for (shape, dtype), start in zip(layout, starts)
    ]


def _raise(pickled: bytes | None, text: str) -> None:
    """Raise a worker's exception, with its own type if it can be unpickled."""
    try:
        error = pickle.loads(pickled) if pickled is not None else None
    except Exception:
        error = None
    if not isinstance(error, Exception):
        error = WorkerError(text.strip().splitlines()[-1])
    raise error from WorkerTraceback(text)


def _work(pipe: Connection, makers: bytes, offset: int) -> None:
    """Main function of a worker: answer calls on its `Worlds` until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
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
                answer = describe(worlds.envs[0])
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
            break  # the main process has ended
    if worlds is not None:
        worlds.close()


def _pickled(error: Exception) -> bytes | None:
    try:
        return cloudpickle.dumps(error)
    except Exception:
        return None

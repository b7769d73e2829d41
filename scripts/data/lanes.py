"""Batches that decoding processes read ahead, each from its own part of the files."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from embodia.agents import Data
from embodia.agents.training import distributed
from embodia.envs.workers import WorkerError
from embodia.planners.trees import tree_map
from embodia.scripts.mistake import Mistake

AHEAD = 2
"""Number of batches that a worker reads ahead."""


class Lanes:
    """An `agents.Data` of several lanes: each reads its own part of the files in a worker process.

    A batch has equally many examples of every lane, in the order of the lanes. The processes of torchrun share the
    lanes. The order of examples depends on the seed and the number of lanes alone, so a run can be resumed with another
    number of processes, with the same batches.

    Args:
        make: (lane) -> the data of a lane, with arrays as leaves; it is pickled.
        lanes: number of lanes, of all training processes together.
        axis: the batch axis of the data's arrays.

    Raises:
        ValueError: if the training processes cannot share the lanes.
    """

    is_shared = True

    def __init__(self, make: Callable[[int], Data], lanes: int, axis: int):
        each = distributed.share("the number of data workers", lanes)
        first = distributed.rank() * each
        self.workers = [Worker(number, partial(make, number)) for number in range(first, first + each)]
        self.axis = axis

    def batch(self, n: int) -> Any:
        """Return the next n examples of this process's lanes."""
        size, rest = divmod(n, len(self.workers))
        if rest:
            raise ValueError(f"{len(self.workers)} workers cannot share {n} examples; use a multiple of that number")
        for worker in self.workers:
            worker.ask(size)
        batches = [worker.batch() for worker in self.workers]
        return tree_map(lambda *parts: np.concatenate(parts, self.axis), *batches)

    def state_dict(self) -> dict[str, Any]:
        """Return the positions of all lanes; with several processes, all call this and the leading one gets them."""
        self._start()
        states = distributed.gathered_states([worker.state() for worker in self.workers])
        return {"lanes": [state for process in states for state in process]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._start()
        for worker in self.workers:
            worker.load(state["lanes"][worker.number])

    def _start(self) -> None:
        """Start all workers before the first one is waited for."""
        for worker in self.workers:
            worker.start()

    def __enter__(self) -> "Lanes":
        return self

    def __exit__(self, *error: object) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.close()


class Worker:
    """A process that reads one lane ahead; it starts with the first request."""

    def __init__(self, number: int, make: Callable[[], Data]):
        self.number, self.make = number, make
        self.asked: deque[int] = deque()  # sizes of the batches that are not taken yet, oldest first
        self.read: deque[Any] = deque()  # those of them that have been received
        self.taken = 0
        self.process: Any = None

    def ask(self, size: int) -> None:
        """Keep the worker reading batches of this size."""
        if any(size != each for each in self.asked):
            raise ValueError(f"batches of {self.asked[0]} examples are read ahead; the size cannot change to {size}")
        while len(self.asked) < AHEAD + 1:
            self._send("batch", size)
            self.asked.append(size)

    def batch(self) -> Any:
        self.asked.popleft()
        self.taken += 1
        return self.read.popleft() if self.read else self._receive()

    def state(self) -> dict[str, Any]:
        """Return the position after the batches taken so far, whatever has been read ahead."""
        self._send("state", self.taken)
        while len(self.read) < len(self.asked):
            self.read.append(self._receive())
        found: dict[str, Any] = self._receive()
        return found

    def load(self, state: dict[str, Any]) -> None:
        """Continue at a position; to be called before the first batch."""
        self._send("load", state)
        self._receive()

    def start(self) -> None:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_work, args=(theirs, self.make), daemon=True)
            self.process.start()
            theirs.close()  # so that the worker's end closes the pipe

    def _send(self, *message: Any) -> None:
        self.start()
        try:
            self.pipe.send(message)
        except OSError as error:
            raise self._ended() from error

    def _receive(self) -> Any:
        try:
            found, error = self.pipe.recv()
        except (EOFError, OSError) as broken:
            raise self._ended() from broken
        if error is not None:
            raise error
        return found

    def _ended(self) -> WorkerError:
        self.process.join(30)
        ended = f"data worker {self.number} (pid {self.process.pid}) ended with exit code {self.process.exitcode}"
        return WorkerError(f"{ended}; resume the run, with fewer workers if memory was short")

    def close(self) -> None:
        if self.process is not None:
            self.pipe.close()
            self.process.join(1)
            self.process.terminate()
            self.process.join()
            self.process = None


def _work(pipe: Any, make: Callable[[], Data]) -> None:
    """Answer the requests of a `Worker`: (result, None) or (None, exception)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training process, which closes the pipe
    cv2.setNumThreads(1)
    states: deque[dict[str, Any]] = deque(maxlen=AHEAD + 2)  # before each batch, and after the last one
    try:
        data = make()
        states.append(data.state_dict())
        made = 0
        while True:
            request, value = pipe.recv()
            found: Any = None
            if request == "batch":
                found = data.batch(value)
                states.append(data.state_dict())
                made += 1
            elif request == "state":
                found = states[value - made - 1]
            else:
                data.load_state_dict(value)
                states[-1] = data.state_dict()
            pipe.send((found, None))
    except (EOFError, OSError):
        return  # the training process has ended
    except Exception as error:
        pipe.send((None, error))


class Part:
    """Every `lanes`-th file of a source, or episode of a recording, beginning with number `lane`."""

    def __init__(self, whole: Any, lane: int, lanes: int):
        self.whole, self.lane, self.lanes = whole, lane, lanes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.whole, name)
        return found[self.lane :: self.lanes] if name in ("files", "lengths") else found

    def clips(self, file: int, start: int = 0) -> Any:
        return self.whole.clips(self.lane + file * self.lanes, start)

    def rows(self, number: int) -> Any:
        return self.whole.rows(self.lane + number * self.lanes)


def lane_seed(seed: int, lane: int) -> int:
    """Return the seed of a lane."""
    return int(np.random.SeedSequence([seed, lane]).generate_state(1)[0])


def check_workers(flag: str, workers: int, files: tuple[str, int], batch: tuple[str, int]) -> None:
    """Raise Mistake if so many workers cannot share the files, the training processes or the examples of a batch.

    `files` and `batch` are names and numbers.
    """
    (what, count), (name, size) = files, batch
    number = distributed.processes()
    if workers < 0:
        raise Mistake(f"{flag} is {workers}; it must be at least 0")
    if workers == 0:
        return
    if workers > count:
        raise Mistake(f"{flag} is {workers}, but there are only {count} {what} to share; use at most {count}")
    if workers % number:
        raise Mistake(f"{flag} is {workers}, which {number} processes cannot share; use a multiple of {number}")
    if size % workers:
        raise Mistake(f"{name} is {size}, which {workers} workers cannot share; use a multiple of {workers}")

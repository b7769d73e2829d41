"""Training in several processes that `torchrun` starts.

Every process has its share of the environments and of every batch; gradients are averaged before they are clipped, so
all processes keep the same weights, and the result is that of one process with all environments and the whole batch.
Process 0 leads: it alone writes logs, checkpoints and reports, and evaluates. Without torchrun there is one process,
and every function here returns its argument.
"""

import hashlib
import os
import pickle
import socket
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from embodia.agents import Array, Data
from embodia.agents.training import checkpoint
from embodia.planners.trees import tree_map

T = TypeVar("T")
TIMEOUT = timedelta(minutes=30)
"""Maximum time that a process waits for the others in a collective operation."""
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
"""Environment variables that torchrun sets in the processes it starts."""

_store: Any = None
_members: list[tuple[str, int]] = []  # host name and process id of each process
_asked = count()


class ProcessLost(RuntimeError):
    """Another process of this training ended; the message names it and the last checkpoint."""


def start() -> None:
    """Join the other processes, if torchrun has started this one and others.

    Tensors on GPUs are exchanged by NCCL if every process has a GPU of its own; all others by Gloo.
    """
    global _store
    if dist.is_initialized() or not launched() or int(os.environ["WORLD_SIZE"]) < 2:
        return
    _store, rank, world_size = next(iter(dist.rendezvous("env://")))
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    backend = "cpu:gloo,cuda:nccl" if gpus >= int(os.environ.get("LOCAL_WORLD_SIZE", world_size)) else "gloo"
    store = dist.PrefixStore("group", _store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT)
    _members.extend(_all_objects((socket.gethostname(), os.getpid())))
    if not leads():
        warnings.simplefilter("ignore")  # the leading process shows them


def launched() -> bool:
    """Return whether torchrun has started this process."""
    return all(name in os.environ for name in VARIABLES)


def processes() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def leads() -> bool:
    """Whether this process writes logs, checkpoints and reports."""
    return rank() == 0


# Decisions


def agreed(*flags: bool) -> tuple[bool, ...]:
    """Return for each flag whether it is set in any process."""
    if processes() == 1:
        return flags
    found = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return tuple(bool(each) for each in found)


def by_leader(work: Callable[[], T]) -> T:
    """Do some work in the leading process and return its result in all; the others wait for any time.

    Raises:
        ProcessLost: if the leading process ends before.
        Exception: what `work` raised in the leading process.
    """
    if processes() == 1:
        return work()
    key = f"answer/{next(_asked)}"
    if leads():
        try:
            result = work()
        except Exception as error:
            _store.set(key, pickle.dumps((None, error)))
            raise
        _store.set(key, pickle.dumps((result, None)))
        return result
    while not _store.check([key]):
        time.sleep(0.02)
        if _is_gone(0):
            raise ProcessLost(_names([0]))
    answer, failure = pickle.loads(_store.get(key))
    if failure is not None:
        raise failure
    return answer


def leader_first(make: Callable[[], T]) -> T:
    """Make something in the leading process before the others, which then find what it wrote to a cache."""
    made: list[T] = []
    by_leader(lambda: made.append(make()))
    return made[0] if made else make()


@contextmanager
def leader_only(context: AbstractContextManager[Any]) -> Iterator[None]:
    """Enter a context in the leading process only."""
    with context if leads() else nullcontext():
        yield


def is_first_to_say(message: str) -> bool:
    """Return whether no other process has asked with the same message: an error of all processes is printed once."""
    if _store is None:
        return True
    with suppress(RuntimeError):
        return bool(_store.add(f"said/{hashlib.sha256(message.encode()).hexdigest()}", 1) == 1)
    return True  # the store ended with the process that held it


# Rows and numbers


def share(name: str, whole: int) -> int:
    """Return this process's part of a number of environments or examples.

    Raises:
        ValueError: if the number is not a multiple of the number of processes; the message begins with `name`.
    """
    if whole % processes():
        raise ValueError(f"{name} is {whole}, which {processes()} processes cannot share; use a multiple of "
                         f"{processes()}, or another number of processes")  # fmt: skip
    return whole // processes()


def own_part(tree: Any, axis: int = 0) -> Any:
    """Return this process's part of the arrays or tensors of a whole batch: consecutive indices along `axis`."""
    if processes() == 1:
        return tree
    if isinstance(tree, Mapping):
        return {key: own_part(value, axis) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return tuple(own_part(value, axis) for value in tree)
    size = share("the number of examples in a batch", tree.shape[axis])
    return tree[(*[slice(None)] * axis, slice(rank() * size, (rank() + 1) * size))]


class OwnPart:
    """Data of which every process reads whole batches and keeps its own part; its state is that of one process."""

    def __init__(self, data: Data):
        self.data, self.axis = data, getattr(data, "axis", 0)

    def batch(self, n: int) -> Any:
        return own_part(self.data.batch(n * processes()), self.axis)

    def state_dict(self) -> dict[str, Any]:
        return self.data.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.data.load_state_dict(state)


def shared(data: Data) -> Data:
    """Return data of which `batch(n)` is this process's part of a batch of n examples for each process."""
    return data if processes() == 1 or getattr(data, "is_shared", False) else OwnPart(data)


def gathered_rows(tree: Any) -> Any:
    """Concatenate the arrays (n, ...) of all processes in the order of the processes; n is the same in all."""
    if processes() == 1:
        return tree
    leaves: list[Array] = []
    tree_map(lambda leaf: leaves.append(np.ascontiguousarray(leaf)), tree)
    packed = torch.from_numpy(np.concatenate([leaf.reshape(-1).view(np.uint8) for leaf in leaves]))
    found = torch.empty(processes(), len(packed), dtype=torch.uint8)
    dist.all_gather(list(found), packed)
    everyone, ends = found.numpy(), iter(np.cumsum([leaf.nbytes for leaf in leaves]).tolist())

    def whole(leaf: Array) -> Array:
        end = next(ends)
        part = np.ascontiguousarray(everyone[:, end - leaf.nbytes : end])
        return part.reshape(-1).view(leaf.dtype).reshape(-1, *leaf.shape[1:])

    return tree_map(whole, tree)


def gathered_states(state: T) -> list[T]:
    """Return the states of all processes in the leading one, in the others an empty list."""
    if processes() == 1:
        return [state]
    states: list[Any] = [None] * processes()
    dist.gather_object(state, states if leads() else None)
    return states if leads() else []


def pooled(sums: dict[str, list[float]]) -> dict[str, list[float]]:
    """Add up all processes' sums and counts by name in the leading one; the others get none."""
    if processes() == 1:
        return sums
    found: dict[str, list[float]] = {}
    for each in gathered_states(sums):
        for name, values in each.items():
            found[name] = [mine + theirs for mine, theirs in zip(found.get(name, [0.0, 0.0]), values, strict=True)]
    return found


def total(number: float) -> float:
    """Return the sum of the processes' numbers."""
    return sum(_all_objects(number)) if processes() > 1 else number


def _all_objects(value: Any) -> list[Any]:
    found: list[Any] = [None] * processes()
    dist.all_gather_object(found, value)
    return found


def averaged(parameters: Iterable[nn.Parameter], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Average the gradients of the parameters over the processes, in place; return the averages of the numbers."""
    if processes() == 1:
        return dict(numbers)
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    device = grads[0].device
    told = torch.stack([torch.as_tensor(number, device=device).detach().float() for number in numbers.values()])
    flat = torch.cat([*(grad.flatten() for grad in grads), told])
    dist.all_reduce(flat)
    flat /= processes()
    *means, told = flat.split([*(grad.numel() for grad in grads), len(told)])
    for grad, mean in zip(grads, means, strict=True):
        grad.copy_(mean.view_as(grad))
    return dict(zip(numbers, told, strict=True))


def mean(x: Tensor, number: int | None = None) -> Tensor:
    """Return the part of a batch's mean that this process's values contribute: its average over the processes is it.

    Args:
        x: values of this process, of any number.
        number: number of values in the whole batch; None if all processes have as many.
    """
    return x.mean() if number is None or processes() == 1 else x.sum() * (processes() / number)


def number_of_values(mine: int) -> int:
    """Return the number of values in the whole batch."""
    if processes() == 1:
        return mine
    number = torch.tensor(mine)
    dist.all_reduce(number)
    return int(number)


# Lost processes


@contextmanager
def naming_the_lost(checkpoints: Path | None) -> Iterator[None]:
    """A context that turns the failure of an exchange with a process that has ended into `ProcessLost`."""
    try:
        yield
    except ProcessLost as error:
        raise ProcessLost(f"{error}{_last(checkpoints)}") from error
    except RuntimeError as error:
        lost = _lost() if processes() > 1 else []
        if not lost:
            raise
        raise ProcessLost(f"{_names(lost)}{_last(checkpoints)}") from error


def _last(checkpoints: Path | None) -> str:
    paths = checkpoint.list_steps(checkpoints) if checkpoints is not None else []
    if not paths:
        return ". There is no checkpoint"
    newest = paths[-1]
    return f". The last checkpoint is {newest}; to continue, start torchrun again with --resume {newest.parents[1]}"


def _lost(seconds: float = 5.0) -> list[int]:
    """Return the processes that have ended, for which this waits a little; on other machines they cannot be seen."""
    until = time.monotonic() + seconds
    while True:
        lost = [number for number in range(len(_members)) if _is_gone(number)]
        if lost or time.monotonic() > until:
            return lost
        time.sleep(0.05)


def _is_gone(number: int) -> bool:
    """Return whether a process on this machine has ended."""
    host, process = _members[number]
    if host != socket.gethostname():
        return False
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def _names(lost: list[int]) -> str:
    names = [f"rank {number} (host {_members[number][0]}, pid {_members[number][1]})" for number in lost]
    return f"{' and '.join(names)} ended during training; torchrun reports the exit code"

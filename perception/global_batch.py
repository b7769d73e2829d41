"""Random numbers and statistics of a batch that several processes share.

Each process computes on its part of the batch: equal numbers of consecutive examples, in the order of the processes.
Inside `part_of_batch` every process draws the random numbers of the whole batch and keeps those of its own examples,
and batch norm uses the statistics of the whole batch. A learner's loss is thus that of one process with the whole
batch, without changes to the learner. Losses that compare examples with each other call `gathered`.

All processes have the same random state, before and after.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_active: list["PartOfBatch"] = []


@contextmanager
def part_of_batch(size: int) -> Iterator[None]:
    """A context in which this process computes on its part of a batch; without other processes it does nothing.

    Within another such context it does nothing either.

    Args:
        size: number of examples of this part. In tensors of random numbers with k * size rows, rows are ordered as in
            (k, size). Random tensors with other numbers of rows are the same in all processes.
    """
    if not dist.is_initialized() or _active:
        yield
        return
    part = PartOfBatch(size)
    _active.append(part)
    try:
        with part:
            yield
    finally:
        _active.pop()


def gathered(x: Tensor) -> Tensor:
    """Return the rows of all processes' x (n, ...), for a loss that compares the examples of the whole batch.

    All processes must compute the same function of the result; gradients are scaled so that their mean over the
    processes is the gradient of that function. Outside of `part_of_batch`, return x.
    """
    return Gather.apply(x) if _active else x


def own_rows(x: Tensor) -> Tensor:
    """Return this process's rows of x (n, ...), which has the rows of all processes; the inverse of `gathered`."""
    if not _active:
        return x
    return x.chunk(dist.get_world_size())[dist.get_rank()]


class Gather(torch.autograd.Function):
    """Concatenate the rows of all processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        count = dist.get_world_size()
        return grad.chunk(count)[dist.get_rank()] * count


class Sum(torch.autograd.Function):
    """Sum over the processes; so is the gradient, because every process's loss depends on every process's summand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


class PartOfBatch(TorchFunctionMode):
    """Replaces torch's random functions and batch norm by those of the whole batch."""

    def __init__(self, size: int):
        super().__init__()
        self.size, self.rank, self.count = size, dist.get_rank(), dist.get_world_size()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        replaced = REPLACED.get(func)
        return func(*args, **(kwargs or {})) if replaced is None else replaced(self, func, *args, **(kwargs or {}))

    def whole(self, shape: Sequence[int]) -> list[int] | None:
        """Return the shape for the whole batch; None if the rows are not those of the batch."""
        if not len(shape) or self.size == 0 or shape[0] == 0 or shape[0] % self.size:
            return None
        return [shape[0] * self.count, *shape[1:]]

    def view(self, x: Tensor) -> Tensor:
        """Return a view (k, size, ...) of this process's rows of x (k * size * count, ...)."""
        blocks = x.unflatten(0, (-1, self.count * self.size))
        return blocks[:, self.rank * self.size : (self.rank + 1) * self.size]

    def own(self, x: Tensor) -> Tensor:
        return self.view(x).flatten(0, 1)

    def among_all(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Return x as this process's rows of a tensor for the whole batch; all other rows are 1."""
        whole = x.new_ones(shape)
        self.view(whole).copy_(x.unflatten(0, (-1, self.size)))
        return whole


def _by_shape(part: PartOfBatch, func: Callable[..., Tensor], *args: Any, size: Any = None, **kwargs: Any) -> Tensor:
    """rand(*size), randn(*size), randint(low, high, size)."""
    if size is not None:
        bounds, shape = args, size
    elif func is torch.randint or isinstance(args[-1], Sequence):
        bounds, shape = args[:-1], args[-1]
    else:
        bounds, shape = (), args
    whole = part.whole(shape)
    found = func(*bounds, tuple(whole or shape), **kwargs)
    return part.own(found) if whole else found


def _like(part: PartOfBatch, func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """rand_like(x), randn_like(x)."""
    whole = part.whole(x.shape)
    return part.own(func(x.new_empty(whole), *args, **kwargs)) if whole else func(x, *args, **kwargs)


def _sampled(part: PartOfBatch, func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """multinomial(p, n), bernoulli(p), normal(mean, std): every tensor has the batch's rows."""
    tensors = [each for each in args if isinstance(each, Tensor)]
    whole = part.whole(tensors[0].shape) if tensors else None
    if whole is None:
        return func(*args, **kwargs)
    spread = (part.among_all(each, [whole[0], *each.shape[1:]]) if isinstance(each, Tensor) else each for each in args)
    return part.own(func(*spread, **kwargs))


def _in_place(part: PartOfBatch, func: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """x.normal_(), x.uniform_(), x.exponential_(), x.bernoulli_(p)."""
    whole = part.whole(x.shape)
    return x.copy_(part.own(func(x.new_empty(whole), *args, **kwargs))) if whole else func(x, *args, **kwargs)


def _dropout(
    part: PartOfBatch, func: Callable[..., Tensor], x: Tensor, p: float = 0.5, training: bool = True, *_: Any, **__: Any
) -> Tensor:
    whole = part.whole(x.shape)
    if not training or whole is None:
        return func(x, p, training)
    return x * part.own(func(x.new_ones(whole), p))


def _batch_norm(
    part: PartOfBatch,
    func: Callable[..., Tensor],
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch norm of x (n, C, ...) with the mean and variance of the whole batch, to which parts may differ in size."""
    if not training:
        return func(x, running_mean, running_var, weight, bias, training, momentum, eps)
    axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    number = torch.tensor(float(x.numel() // x.shape[1]), device=x.device)
    dist.all_reduce(number)
    wide = x.float()
    mean = Sum.apply(wide.sum(axes)) / number
    centred = wide - mean.view(shape)
    var = Sum.apply(centred.square().sum(axes)) / number
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * number / (number - 1)).to(running_var.dtype), momentum)
    out = centred * (var.view(shape) + eps).rsqrt()
    if weight is not None:
        out = out * weight.view(shape)
    if bias is not None:
        out = out + bias.view(shape)
    return out.to(x.dtype)


REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.rand: _by_shape,
    torch.randn: _by_shape,
    torch.randint: _by_shape,
    torch.rand_like: _like,
    torch.randn_like: _like,
    torch.multinomial: _sampled,
    torch.bernoulli: _sampled,
    torch.normal: _sampled,
    torch.Tensor.normal_: _in_place,
    torch.Tensor.uniform_: _in_place,
    torch.Tensor.exponential_: _in_place,
    torch.Tensor.bernoulli_: _in_place,
    F.dropout: _dropout,
    F.batch_norm: _batch_norm,
}

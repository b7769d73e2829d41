"""Rows of a condition, which is a tensor or a dict of tensors."""

from collections.abc import Callable, Mapping

from torch import Tensor

from embodia.perception.generative import Condition


def mapped(condition: Condition, function: Callable[[Tensor], Tensor]) -> Condition:
    """The condition with `function` applied to each of its tensors."""
    if isinstance(condition, Mapping):
        return {name: function(value) for name, value in condition.items()}
    return function(condition)


def repeated(condition: Condition | None, times: int) -> Condition | None:
    """Each row `times` times, one after the other: a, a, b, b, ..."""
    return None if condition is None else mapped(condition, lambda each: each.repeat_interleave(times, 0))


def check_rows(condition: Condition | None, n: int) -> None:
    """Raise ValueError if a tensor of the condition does not have n rows."""
    tensors = condition.items() if isinstance(condition, Mapping) else [("condition", condition)]
    for name, value in tensors:
        if value is not None and (value.ndim == 0 or len(value) != n):
            raise ValueError(f"{name} has the shape {tuple(value.shape)}, but there are {n} samples; give one row each")

"""What one does to a model's state: take some worlds or put them back, repeat it per candidate, stack it over time.

A state is a nested dict whose leaves are tensors (B, ...) or, for a simulator's snapshots, lists of length B.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]


def tree_map(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply `function` to the leaves that stand at the same place in every tree."""
    if isinstance(trees[0], dict):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in trees[0]}
    return function(*trees)


def index(state: State, which: Tensor) -> State:
    """The worlds `which`, (M,) int64 or (B,) bool, of a state of B worlds."""
    rows = which.nonzero()[:, 0] if which.dtype == torch.bool else which
    return tree_map(lambda leaf: [leaf[i] for i in rows.tolist()] if isinstance(leaf, list) else leaf[rows], state)


def device_of(state: State) -> torch.device:
    """Where a state lives; a simulator's snapshots live in main memory."""
    for leaf in state.values():
        if isinstance(leaf, dict):
            return device_of(leaf)
        if isinstance(leaf, Tensor):
            return leaf.device
    return torch.device("cpu")


def put(state: State, which: Tensor, part: State, worlds: int) -> State:
    """`state` of all worlds with the worlds `which` (M,) int64 taken from `part`; {} is a state that never was.

    Leaves that are zeros where nothing was put yet are read by nobody: whoever puts a part knows whose it is.
    """
    if not state:
        state = tree_map(lambda leaf: leaf.new_zeros(worlds, *leaf.shape[1:]), part)
    return tree_map(lambda whole, new: whole.to(new.device).index_copy(0, which.to(new.device), new), state, part)


def repeat(state: State, times: int) -> State:
    """(B, ...) -> (B * times, ...): world 0 `times` times, then world 1, ..."""

    def leaf_repeat(leaf: Any) -> Any:
        if isinstance(leaf, list):
            return [item for item in leaf for _ in range(times)]
        return leaf.repeat_interleave(times, dim=0)

    return tree_map(leaf_repeat, state)


def stack(states: Sequence[State], dim: int = 1) -> State:
    """T states (B, ...) -> one (B, T, ...)."""
    return tree_map(lambda *leaves: torch.stack(leaves, dim), *states)

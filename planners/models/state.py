"""What one does to a model's state: take some worlds or put them back, repeat it per candidate, stack it over time.

A state is a nested dict whose leaves are tensors (B, ...) or, for a simulator's snapshots, arrays of objects (B,).
`embodia.planners.trees.index` takes worlds out of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from embodia.planners import State
from embodia.planners.trees import index, tree_map


def batch_size(state: State) -> int:
    """Worlds in a state (B)."""
    leaf = next(iter(state.values()))
    return batch_size(leaf) if isinstance(leaf, dict) else len(leaf)


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
    rows = torch.arange(batch_size(state), device=device_of(state))
    return index(state, rows.repeat_interleave(times))


def stack(states: Sequence[State], dim: int = 1) -> State:
    """T states (B, ...) -> one (B, T, ...)."""
    return tree_map(lambda *leaves: torch.stack(leaves, dim), *states)

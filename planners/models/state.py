"""Operations on model states: select and set environments, repeat per candidate, stack over time.

A state is a nested dict whose leaves are tensors (B, ...) or, for a simulator's snapshots, arrays of objects (B,).
`embodia.planners.trees.index` selects environments.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from embodia.planners import State
from embodia.planners.trees import index, tree_map


def batch_size(state: State) -> int:
    """Return the number B of environments in a state."""
    leaf = next(iter(state.values()))
    return batch_size(leaf) if isinstance(leaf, dict) else len(leaf)


def device_of(state: State) -> torch.device:
    """Return the device of a state's tensors; the CPU for a state of snapshots only."""
    for leaf in state.values():
        if isinstance(leaf, dict):
            return device_of(leaf)
        if isinstance(leaf, Tensor):
            return leaf.device
    return torch.device("cpu")


def put(state: State, which: Tensor, part: State, worlds: int) -> State:
    """Return `state` with the environments `which` (M,) int64 replaced by `part`.

    Args:
        state: State of all environments; {} creates zeros first.
        which: Environments to replace (M,).
        part: Their new state (M, ...).
        worlds: Number of environments.
    """
    if not state:
        state = tree_map(lambda leaf: leaf.new_zeros(worlds, *leaf.shape[1:]), part)
    return tree_map(lambda whole, new: whole.to(new.device).index_copy(0, which.to(new.device), new), state, part)


def repeat(state: State, times: int) -> State:
    """Repeat each environment's state consecutively: (B, ...) -> (B * times, ...)."""
    rows = torch.arange(batch_size(state), device=device_of(state))
    return index(state, rows.repeat_interleave(times))


def stack(states: Sequence[State], dim: int = 1) -> State:
    """Stack T states (B, ...) over time: (B, T, ...)."""
    return tree_map(lambda *leaves: torch.stack(leaves, dim), *states)

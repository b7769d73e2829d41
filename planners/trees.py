"""Nested dicts of arrays or tensors: what observations, rows, states and memories are."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tree_map(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply `function` to the corresponding leaves of nested dicts of the same keys."""
    head = trees[0]
    if isinstance(head, Mapping):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in head}
    return function(*trees)


def index(tree: Any, i: Any) -> Any:
    """`leaf[i]` for every leaf; `i` is whatever the leaves take as an index, a tensor also where they are arrays."""

    def take(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) and hasattr(i, "detach"):  # NumPy takes a tensor of one number for a number
            return leaf[i.cpu().numpy()]
        return leaf[i]

    return tree_map(take, tree)


def object_array(things: Iterable[Any]) -> NDArray[np.object_]:
    """n things of any kind as an array (n,), a leaf like any other: a simulator's snapshots, say."""
    listed = list(things)
    array = np.empty(len(listed), object)
    for i, thing in enumerate(listed):  # one by one: NumPy would look into lists
        array[i] = thing
    return array

"""Operations on nested dicts of arrays or tensors (observations, rows, states and memories)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tree_map(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply `function` to the corresponding leaves of nested dicts with equal keys."""
    head = trees[0]
    if isinstance(head, Mapping):
        return {key: tree_map(function, *(tree[key] for tree in trees)) for key in head}
    return function(*trees)


def index(tree: Any, i: Any) -> Any:
    """Return `leaf[i]` for every leaf. `i` is any index of the leaves; a tensor also works for arrays."""

    def take(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) and hasattr(i, "detach"):  # NumPy treats a one-element tensor as a scalar
            return leaf[i.cpu().numpy()]
        return leaf[i]

    return tree_map(take, tree)


def object_array(things: Iterable[Any]) -> NDArray[np.object_]:
    """Put n objects into an array (n,) of dtype object, for example a simulator's snapshots."""
    listed = list(things)
    array = np.empty(len(listed), object)
    for i, thing in enumerate(listed):  # one by one, because NumPy would unpack lists
        array[i] = thing
    return array

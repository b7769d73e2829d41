"""Storage of rows in preallocated arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embodia.agents import Row
from embodia.planners.trees import tree_map


def only(row: Row, keys: Sequence[str] | None) -> Row:
    """Return the row with only these observations; None keeps all."""
    return row if keys is None else Row(**{**row, "obs": {key: row["obs"][key] for key in keys}})


def empty(row: Any, slots: int) -> Any:
    """Allocate `slots` rows like this one: zeros, each leaf (slots, ...)."""
    return tree_map(lambda leaf: np.zeros((slots, *np.shape(leaf)), np.asarray(leaf).dtype), row)


def write(rows: Any, row: Any, t: int | slice) -> None:
    """Write a row (or rows) at index t."""
    tree_map(lambda ours, new: ours.__setitem__(t, new), rows, row)

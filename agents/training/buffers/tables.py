"""Rows kept in arrays that are allocated once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embodia.agents import Row
from embodia.planners.trees import tree_map


def only(row: Row, keys: Sequence[str] | None) -> Row:
    """The row with these observations alone."""
    return row if keys is None else Row(**{**row, "obs": {key: row["obs"][key] for key in keys}})


def empty(row: Any, slots: int) -> Any:
    """Room for `slots` such rows: zeros, each leaf (slots, ...)."""
    return tree_map(lambda leaf: np.zeros((slots, *np.shape(leaf)), np.asarray(leaf).dtype), row)


def write(rows: Any, row: Any, t: int | slice) -> None:
    """Put a row (or rows) at t."""
    tree_map(lambda ours, new: ours.__setitem__(t, new), rows, row)

"""Which levels training has met, so that a report can say whether its test levels were held out.

Environments name the level that a reset begins in `info["level"]`; names are kept as 64-bit digests.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.agents.training.evaluate import level_name

Digests = NDArray[np.uint64]


def digest(name: str) -> int:
    """Return the 64-bit digest of a level's name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def begun(infos: Mapping[str, Any], worlds: Iterable[int]) -> set[int]:
    """Return the digests of the levels that these worlds have just begun; of unnamed levels there are none."""
    names = (level_name(infos, world) for world in worlds) if "level" in infos else ()
    return {digest(name) for name in names if name}


def as_array(levels: set[int]) -> Digests:
    """Return (n,) digests in ascending order, as they are saved."""
    return np.array(sorted(levels), np.uint64)


def num_met(names: Iterable[str], met: Digests) -> int:
    """Return how many of the named levels training has met."""
    return int(np.isin(np.array([digest(name) for name in names], np.uint64), met).sum())

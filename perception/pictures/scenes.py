"""Pictures and which pixel belongs to which object: what the procedural sets of object discovery give."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

OVERLAP = -1
"""Label of a pixel that belongs to more than one object; no score counts it."""


class Scenes(NamedTuple):
    """n pictures with their truth."""

    images: NDArray[np.uint8]  # (n, H, W, C)
    labels: NDArray[np.int64]  # (n, H, W): 0 background, 1.. objects, OVERLAP

    def space(self) -> spaces.Dict:
        """The observation space of one picture."""
        return spaces.Dict({"image": spaces.Box(0, 255, self.images.shape[1:], np.uint8)})


def shown(inside: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Labels (H, W) of objects given by where they are, each (H, W) bool; pixels of two of them are OVERLAP."""
    stack = np.stack(inside)
    labels = (stack * np.arange(1, len(stack) + 1)[:, None, None]).sum(0)
    return np.where(stack.sum(0) > 1, OVERLAP, labels).astype(np.int64)

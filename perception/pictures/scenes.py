"""Images with instance labels, the common format of the procedural sets for object discovery."""

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

OVERLAP = -1
"""Label of a pixel that belongs to more than one object. Scores ignore it."""


class Scenes(NamedTuple):
    """n images with instance labels."""

    images: NDArray[np.uint8]  # (n, H, W, C)
    labels: NDArray[np.int64]  # (n, H, W): 0 background, 1.. objects, or OVERLAP

    def space(self) -> spaces.Dict:
        """Return the observation space of one image."""
        return spaces.Dict({"image": spaces.Box(0, 255, self.images.shape[1:], np.uint8)})


def shown(inside: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Return labels (H, W) for object masks (H, W) bool. Pixels of two objects are OVERLAP."""
    stack = np.stack(inside)
    labels = (stack * np.arange(1, len(stack) + 1)[:, None, None]).sum(0)
    return np.where(stack.sum(0) > 1, OVERLAP, labels).astype(np.int64)

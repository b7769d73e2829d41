"""Object detection: boxes with labels and scores, the networks that predict them, and their evaluation.

This module defines the contract of the folder. A box is (left, top, right, bottom) in pixels; the first pixel covers 0
to 1. Detectors are learners: `agents.training.fit` trains them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from embodia.perception import Obs

Array = NDArray[Any]


class Detections(NamedTuple):
    """The n detected objects of one image, in order of decreasing score."""

    boxes: Array  # (n, 4) float32 [pixels]
    scores: Array  # (n,) float32, from 0 to 1
    labels: Array  # (n,) int64, indices in the detector's categories


class Boxes(NamedTuple):
    """The n annotated objects of one image."""

    boxes: Array  # (n, 4) float32 [pixels]
    labels: Array  # (n,) int64
    crowd: Array  # (n,) bool: a group of objects; detections inside it count neither as right nor as wrong


class Detector(nn.Module):
    """Base class of detectors.

    Args:
        space: observation space with one image, uint8 (H, W, 3).
        categories: names of the C classes.

    Raises:
        ValueError: if there is no category, or the space is not that of one image.
    """

    def __init__(self, space: spaces.Dict, categories: Sequence[str]):
        super().__init__()
        if not categories:
            raise ValueError("a detector needs at least one category")
        if len(space) != 1:
            raise ValueError(f"a detector reads one image, but the observation space has {', '.join(space) or 'none'}")
        ((key, image),) = space.items()
        if len(image.shape or ()) != 3 or (image.shape or ())[-1] != 3:
            raise ValueError(f"{key} has shape {image.shape}; a detector reads colour images (H, W, 3)")
        height, width, _ = image.shape or ()
        self.space, self.categories, self.key, self.size = space, tuple(categories), key, (height, width)

    def images(self, obs: Obs) -> Tensor:
        """Return the images (B, 3, H, W) from -1 to 1 of observations uint8 (B, H, W, 3).

        Raises:
            ValueError: if the images have another size than the detector's, or there are none.
        """
        images = obs[self.key]
        if images.ndim != 4 or tuple(images.shape[1:]) != (*self.size, 3) or not len(images):
            raise ValueError(
                f"{self.key} has shape {tuple(images.shape)}; this detector reads (B, {self.size[0]}, {self.size[1]}, "
                "3) with B at least 1"
            )
        return images.permute(0, 3, 1, 2).float() / 127.5 - 1

    def forward(self, obs: Obs) -> list[Detections]:
        """Return the detections of each image of a batch."""
        raise NotImplementedError("forward(obs) -> list of Detections, one per image")

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the training loss, and values to log.

        Args:
            batch: "obs"; "boxes" (B, M, 4) float32 and "labels" (B, M) int64, padded with label -1.
        """
        raise NotImplementedError("loss(batch) -> (scalar, {name: scalar})")


__all__ = ["Array", "Boxes", "Detections", "Detector"]

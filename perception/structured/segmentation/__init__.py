"""Segmentation: label maps from encoder-decoders and dense random fields, and instances one at a time.

This module defines the contract of the room. A label map holds a class per pixel, 0 to K - 1, or IGNORED.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

IGNORED = -1
"""Label of a pixel that losses and scores ignore."""


class BadLabels(ValueError):
    """Images or labels cannot be used; the message says which and why."""


class Segments(NamedTuple):
    """What a segmenter finds in n images."""

    labels: Tensor  # (n, H, W) int64: class of each pixel
    instances: Tensor  # (n, H, W) int64: 0 for no instance, 1.. in the order in which they were found


class Segmenter(nn.Module):
    """Base class of learners that segment images (N, C, H, W) float, about -0.5 to 0.5.

    Args:
        shape: (C, H, W) of an image.
        classes: Number of classes K; class 0 is the background.

    Raises:
        BadLabels: If an image has no pixels, or there are fewer than two classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        if min(shape) < 1:
            raise BadLabels(f"images of shape {tuple(shape)} (channels, height, width) are empty")
        if classes < 2:
            raise BadLabels(f"{classes} classes cannot be told apart; label at least one class beside the background")
        self.shape, self.classes = tuple(shape), classes

    def forward(self, images: Tensor) -> Segments:
        """Segment images (N, C, H, W)."""
        raise NotImplementedError("forward(images) -> Segments")

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the training loss.

        Args:
            batch: "images" (N, C, H, W); "labels" (N, H, W) int64, classes or IGNORED; and for learners of instances
                "instances" (N, H, W) int64, 0 for none.

        Raises:
            BadLabels: If an image is empty or a label is out of range.
        """
        raise NotImplementedError("loss(batch) -> (scalar, {name: scalar})")


def check_labels(labels: Tensor, classes: int, shape: tuple[int, ...]) -> None:
    """Raise BadLabels if label maps (N, H, W) are empty, have another shape than (N, H, W), or a label out of range."""
    if tuple(labels.shape) != shape:
        raise BadLabels(f"label maps have the shape {tuple(labels.shape)}, but the images need {shape}")
    if not labels.numel():
        raise BadLabels(f"images of shape {shape} (number, height, width) are empty")
    low, high = int(labels.min()), int(labels.max())
    if low < IGNORED or high >= classes:
        wrong = high if high >= classes else low
        raise BadLabels(f"label {wrong} is out of range: classes are 0 to {classes - 1}, and {IGNORED} ignores a pixel")


__all__ = ["IGNORED", "BadLabels", "Segmenter", "Segments", "check_labels"]

"""Segmentation: label maps from encoder-decoders and dense random fields, and instances one at a time.

This module defines the contract of the folder. A label map holds a class for each pixel, 0 to K - 1, or IGNORED.
Segmenters are learners: `agents.training.fit` trains them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception import Obs
from embodia.perception.encoders.observation import take_images

IGNORED = -1
"""Label of a pixel that losses and scores ignore."""


class BadLabels(ValueError):
    """Images or labels cannot be used; the message says which and why."""


class Segments(NamedTuple):
    """What a segmenter finds in n images."""

    labels: Tensor  # (n, H, W) int64: class of each pixel
    instances: Tensor  # (n, H, W) int64: 0 for no instance, 1.. in the order in which they were found


class Segmenter(nn.Module):
    """Base class of segmenters.

    Args:
        space: Observation space with one colour image, uint8 (H, W, 3).
        categories: Names of the K classes; class 0 is the background.

    Raises:
        BadLabels: If there are fewer than two classes, or the space is not that of one image with pixels.
    """

    def __init__(self, space: spaces.Dict, categories: Sequence[str]):
        super().__init__()
        if len(categories) < 2:
            raise BadLabels(f"a segmenter needs a class beside the background; got {', '.join(categories) or 'none'}")
        shapes = {key: each.shape or () for key, each in space.items()}
        (shape, *others) = shapes.values()
        if others or len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
            raise BadLabels(f"a segmenter reads one colour image (H, W, 3) with pixels, but the space has {shapes}")
        self.space, self.categories, self.size = space, tuple(categories), shape[:2]

    def images(self, obs: Obs) -> Tensor:
        """Return the images (N, 3, H, W) float, -0.5 to 0.5, of observations uint8 (N, H, W, 3).

        Raises:
            WrongObservation: If they have another size than the segmenter's.
        """
        return take_images(obs, self.space, tuple(self.space))[0]

    def forward(self, obs: Obs) -> Segments:
        """Segment the images of a batch."""
        raise NotImplementedError("forward(obs) -> Segments")

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the training loss.

        Args:
            batch: "obs"; "labels" (N, H, W) int64, classes or IGNORED; and for learners of instances "instances"
                (N, H, W) int64, 0 for none.

        Returns:
            The scalar loss, and the values to log.

        Raises:
            BadLabels: If a label is out of range, or label maps do not fit the images.
        """
        raise NotImplementedError("loss(batch) -> (scalar, {name: scalar})")


def check_labels(labels: Tensor, classes: int, shape: tuple[int, ...]) -> None:
    """Raise BadLabels if label maps are empty, do not fit images (N, H, W), or have a label out of range."""
    if tuple(labels.shape) != shape:
        raise BadLabels(f"label maps have the shape {tuple(labels.shape)}, but the images need {shape}")
    if not labels.numel():
        raise BadLabels(f"images of shape {shape} (number, height, width) are empty")
    low, high = int(labels.min()), int(labels.max())
    if low < IGNORED or high >= classes:
        wrong = high if high >= classes else low
        raise BadLabels(f"label {wrong} is out of range: classes are 0 to {classes - 1}, and {IGNORED} ignores a pixel")


__all__ = ["IGNORED", "BadLabels", "Segmenter", "Segments", "check_labels"]

"""Pairs of views of an image, from augmentation, time, or both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.augmentation import Augmentation


@dataclass(frozen=True)
class Views:
    """Make two views of an image by augmentation, from two frames of a video, or both.

    Augmentation works on images with any batch axes. Time works on rows (T, B, ...) and pairs frame t with t + gap of
    the same episode (the time-contrastive idea of Sermanet et al. 2018, within one view).
    """

    augmentation: Augmentation | None = field(default_factory=Augmentation)
    """Image augmentation. None leaves images unchanged; views then differ only in time."""
    gap: int = 0
    """Number of frames between the two views; 0 uses the same frame twice."""

    def __post_init__(self) -> None:
        if self.augmentation is None and self.gap == 0:
            raise ValueError("two views of one frame without augmentation are equal; set gap or an augmentation")

    def sources(self, encoder: ImageEncoder, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the two images (N, C, H, W) from which each pair of views is made.

        Raises:
            ValueError: If the batch has too few frames for the gap.
        """
        images, axes = encoder.images(batch["obs"])
        if self.gap == 0:
            return images, images
        if len(axes) != 2 or axes[0] <= self.gap:
            raise ValueError(f"views {self.gap} frames apart need rows (T, B, ...) with T > {self.gap}; got {axes}")
        frames = images.unflatten(0, axes)
        together = self._same_episode(batch, axes, images.device)
        return frames[: -self.gap][together], frames[self.gap :][together]

    def _same_episode(self, batch: Mapping[str, Any], axes: tuple[int, ...], device: torch.device) -> Tensor:
        """Return (T - gap, B) bool: whether frames t and t + gap belong to one episode."""
        first = torch.as_tensor(batch["first"], device=device) if "first" in batch else torch.zeros(axes, device=device)
        episode = first.long().cumsum(0)
        same = episode[: -self.gap] == episode[self.gap :]
        if "mask" in batch:  # sequences are padded with an episode's last row
            same = same & torch.as_tensor(batch["mask"], device=device)[: -self.gap]
        return same

    def pair(self, encoder: ImageEncoder, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Return two views (N, C, H, W) of the same N images."""
        one, other = self.sources(encoder, batch)
        return self.change(one), self.change(other)

    def change(self, images: Tensor, size: int | None = None) -> Tensor:
        """Return one view of each image."""
        return images if self.augmentation is None else self.augmentation(images, size)

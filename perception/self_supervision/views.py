"""Two views of the same thing, from augmentation, from time, or both."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.augmentation import Augmentation


@dataclass(frozen=True)
class Views:
    """What counts as the same: a picture changed at random, or a picture and the one some frames later.

    Augmentation reads pictures with any batch axes. Time reads rows (T, B, ...) and pairs frame t with t + gap where no
    episode begins in between (the time-contrastive idea of Sermanet et al. 2018, within one view).
    """

    augmentation: Augmentation | None = field(default_factory=Augmentation)
    """None leaves pictures as they are; then only time makes views differ."""
    gap: int = 0
    """Frames between the two views; 0 takes the same frame twice."""

    def __post_init__(self) -> None:
        if self.augmentation is None and self.gap == 0:
            raise ValueError("two views of one frame without augmentation are equal; set gap or an augmentation")

    def sources(self, encoder: ImageEncoder, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """The pictures (N, C, H, W) that the two views are made of."""
        images, axes = encoder.images(batch["obs"])
        if self.gap == 0:
            return images, images
        if len(axes) != 2 or axes[0] <= self.gap:
            raise ValueError(f"views {self.gap} frames apart need rows (T, B, ...) with T > {self.gap}; got {axes}")
        frames = images.unflatten(0, axes)
        together = self._same_episode(batch, axes, images.device)
        return frames[: -self.gap][together], frames[self.gap :][together]

    def _same_episode(self, batch: Mapping[str, Any], axes: tuple[int, ...], device: torch.device) -> Tensor:
        """(T - gap, B): whether frames t and t + gap belong together."""
        first = torch.as_tensor(batch["first"], device=device) if "first" in batch else torch.zeros(axes, device=device)
        episode = first.long().cumsum(0)
        same = episode[: -self.gap] == episode[self.gap :]
        if "mask" in batch:  # behind the end of an episode a piece repeats its last row
            same = same & torch.as_tensor(batch["mask"], device=device)[: -self.gap]
        return same

    def pair(self, encoder: ImageEncoder, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Two views (N, C, H, W) of the same N things."""
        one, other = self.sources(encoder, batch)
        return self.change(one), self.change(other)

    def change(self, images: Tensor, size: int | None = None) -> Tensor:
        """One view of each picture."""
        return images if self.augmentation is None else self.augmentation(images, size)

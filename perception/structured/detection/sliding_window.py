"""Sliding-window detector: a classifier of windows, applied at all places, sizes and shapes (Dalal & Triggs 2005)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception import Obs
from embodia.perception.structured.detection import Detections, Detector
from embodia.perception.structured.detection.boxes import iou
from embodia.perception.structured.detection.detected import detected
from embodia.perception.structured.detection.feature_map import conv
from embodia.perception.structured.detection.roi_align import roi_align


@dataclass(frozen=True)
class SlidingWindowConfig:
    """Sliding-window detector."""

    sides: tuple[float, ...] = (0.16, 0.22, 0.3)
    """Sides of windows as shares of the image's shorter side. A window's area is this side's square."""
    shapes: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Ratios of width to height."""
    step: float = 0.25
    """Distance of neighbouring windows, as a share of their side."""
    crop: int = 16
    """Windows are scaled to a square of this side for the classifier [pixels]."""
    width: int = 24
    """Number of channels of the classifier's first convolution."""
    windows: int = 24
    """Random windows per image in training, besides those of the objects."""
    right: float = 0.6
    """Smallest IoU with an object of windows that learn its class."""
    wrong: float = 0.35
    """Largest IoU with an object of windows that learn the background; those between learn nothing."""
    lowest: float = 0.2
    """Smallest score of a detection."""
    overlap: float = 0.3
    """Largest IoU of two detections of a class."""


class SlidingWindowDetector(Detector):
    """Classifies every window of a grid. Its boxes are windows, so they are never exact.

    Arguments and errors as in `Detector`.
    """

    grid: Tensor

    def __init__(self, space: spaces.Dict, categories: Sequence[str], config: SlidingWindowConfig | None = None):
        super().__init__(space, categories)
        self.config = c = config or SlidingWindowConfig()
        self.classifier = nn.Sequential(
            conv(3, c.width),
            conv(c.width, 2 * c.width, 2),
            conv(2 * c.width, 4 * c.width, 2),
            nn.Flatten(),
            nn.Linear(4 * c.width * (-(-c.crop // 4)) ** 2, len(categories) + 1),  # the last class is the background
        )
        self.register_buffer("grid", windows(self.size, c), persistent=False)

    def classify(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Return the logits (B, N, C + 1) of windows (B, N, 4) of images (B, 3, H, W)."""
        crops = roi_align(images, boxes, self.config.crop, samples=1)
        return self.classifier(crops.flatten(0, 1)).unflatten(0, crops.shape[:2])

    @torch.no_grad()
    def forward(self, obs: Obs) -> list[Detections]:
        images = self.images(obs)
        boxes = self.grid.expand(len(images), -1, -1)
        scores = self.classify(images, boxes).softmax(-1)[..., :-1]
        return detected(scores, boxes, self.size, self.config.lowest, self.config.overlap)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        true_boxes, labels = batch["boxes"], batch["labels"]
        images = self.images(batch["obs"])
        any_of = torch.randint(len(self.grid), (len(images), self.config.windows), device=images.device)
        boxes = torch.cat([self.grid[any_of], self.near(true_boxes, labels)], 1)
        overlaps = iou(boxes[:, :, None], true_boxes[:, None]) * (labels >= 0)[:, None]
        best, index = overlaps.max(-1)
        label = torch.where(best >= self.config.right, labels.gather(1, index), len(self.categories))
        label = label.masked_fill((best > self.config.wrong) & (best < self.config.right), -1)
        loss = F.cross_entropy(self.classify(images, boxes).flatten(0, 1), label.flatten(), ignore_index=-1)
        return loss, {"objects": (label < len(self.categories)).float().mean()}

    def near(self, true_boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the windows of the grid (B, 4 M, 4) that cover the objects best, of random ones for padding."""
        overlaps = iou(true_boxes[:, :, None], self.grid)
        noise = torch.rand_like(overlaps) * (labels < 0)[..., None]
        return self.grid[(overlaps + noise).topk(4).indices.flatten(1)]


def windows(size: tuple[int, int], config: SlidingWindowConfig) -> Tensor:
    """Return all windows (N, 4) inside an image of height and width `size` [pixels]."""
    found = []
    for side in config.sides:
        for shape in config.shapes:
            height, width = (side * min(size) * shape**power for power in (-0.5, 0.5))
            tops, lefts = (
                torch.arange(0, length - span + 1e-3, max(1.0, config.step * span))
                for length, span in zip(size, (height, width))
            )
            top, left = torch.meshgrid(tops, lefts, indexing="ij")
            found.append(torch.stack([left, top, left + width, top + height], -1).view(-1, 4))
    return torch.cat(found)

"""Localisation: the class and the box of the one object in an image (Sermanet et al. 2014, OverFeat)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception import Obs
from embodia.perception.structured.detection import Detections, Detector
from embodia.perception.structured.detection.boxes import area, generalized_iou, to_corners
from embodia.perception.structured.detection.feature_map import FeatureMap


@dataclass(frozen=True)
class LocalizerConfig:
    """Localisation of one object."""

    dim: int = 64
    """Number of channels of the feature map."""
    stride: int = 8
    """Pixels per cell: 4, 8 or 16."""
    width: int = 16
    """Number of channels of the first convolution."""
    stages: int = 4
    """Number of convolution stages, each of which halves the resolution."""
    hidden: int = 128
    """Width of the layer before the outputs."""


class Localizer(Detector):
    """Returns one detection per image. It learns the largest object of each image.

    Arguments and errors as in `Detector`.
    """

    def __init__(self, space: spaces.Dict, categories: Sequence[str], config: LocalizerConfig | None = None):
        super().__init__(space, categories)
        self.config = c = config or LocalizerConfig()
        self.features = FeatureMap(c.dim, c.stride, c.width, c.stages)
        height, width = (-(-side // c.stride) for side in self.size)
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(c.dim * height * width, c.hidden), nn.ReLU())
        self.labels = nn.Linear(c.hidden, len(categories))
        self.box = nn.Linear(c.hidden, 4)

    def predict(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Return logits (B, C) and boxes (B, 4) [pixels]."""
        trunk = self.trunk(self.features(self.images(obs)))
        height, width = self.size
        scale = torch.tensor([width, height, width, height], device=trunk.device)
        return self.labels(trunk), to_corners(self.box(trunk).sigmoid() * scale)

    @torch.no_grad()
    def forward(self, obs: Obs) -> list[Detections]:
        logits, boxes = self.predict(obs)
        scores, labels = logits.softmax(-1).max(-1)
        limits = np.array([self.size[1], self.size[0]] * 2)
        found = boxes.cpu().numpy().clip(0, limits).astype(np.float32)
        return [
            Detections(box[None], score[None], label[None])
            for box, score, label in zip(found, scores.cpu().numpy(), labels.cpu().numpy())
        ]

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        logits, boxes = self.predict(batch["obs"])
        largest = area(batch["boxes"]).masked_fill(batch["labels"] < 0, -1).argmax(1, keepdim=True)
        label = batch["labels"].gather(1, largest)[:, 0]
        wanted = batch["boxes"].gather(1, largest[..., None].expand(-1, -1, 4))[:, 0]
        there = label >= 0  # images without objects teach nothing
        count = there.sum().clamp(min=1)
        label_loss = F.cross_entropy(logits, label.clamp(min=0), reduction="none")[there].sum() / count
        apart = F.smooth_l1_loss(boxes, wanted, reduction="none").mean(-1) / max(self.size) * 10
        box_loss = (1 - generalized_iou(boxes, wanted) + apart)[there].sum() / count
        return label_loss + box_loss, {"label_loss": label_loss, "box_loss": box_loss}

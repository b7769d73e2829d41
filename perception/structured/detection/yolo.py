"""One-stage detector in the manner of YOLO (Redmon et al. 2016): one network, one pass, one box per cell.

As in later versions it has no anchors (YOLOX, Ge et al. 2021) and no separate objectness: the score of a class learns
the IoU of the predicted box.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.perception import Obs
from embodia.perception.structured.detection import Detections, Detector
from embodia.perception.structured.detection.dense_head import DenseHead
from embodia.perception.structured.detection.detected import detected
from embodia.perception.structured.detection.feature_map import FeatureMap


@dataclass(frozen=True)
class YOLOConfig:
    """One-stage detector."""

    dim: int = 64
    """Number of channels of the feature map."""
    stride: int = 8
    """Pixels per cell: 4, 8 or 16."""
    width: int = 16
    """Number of channels of the first convolution."""
    stages: int = 4
    """Number of convolution stages, each of which halves the resolution."""
    lowest: float = 0.05
    """Smallest score of a detection."""
    overlap: float = 0.6
    """Largest IoU of two detections of a class."""


class YOLO(Detector):
    """One-stage detector. Arguments and errors as in `Detector`."""

    def __init__(self, space: spaces.Dict, categories: Sequence[str], config: YOLOConfig | None = None):
        super().__init__(space, categories)
        self.config = c = config or YOLOConfig()
        self.features = FeatureMap(c.dim, c.stride, c.width, c.stages)
        self.head = DenseHead(c.dim, len(categories), c.stride)

    @torch.no_grad()
    def forward(self, obs: Obs) -> list[Detections]:
        logits, boxes = self.head(self.features(self.images(obs)))
        return detected(logits.sigmoid(), boxes, self.size, self.config.lowest, self.config.overlap)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        features = self.features(self.images(batch["obs"]))
        logits, boxes = self.head(features)
        return self.head.loss(features, logits, boxes, batch["boxes"], batch["labels"])

"""Two-stage detector: proposals of objects, then classes and better boxes (Faster R-CNN, Ren et al. 2015)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception import Obs
from embodia.perception.structured.detection import Detections, Detector
from embodia.perception.structured.detection.box_deltas import shifted
from embodia.perception.structured.detection.boxes import generalized_iou, iou
from embodia.perception.structured.detection.dense_head import DenseHead
from embodia.perception.structured.detection.detected import detected
from embodia.perception.structured.detection.feature_map import FeatureMap
from embodia.perception.structured.detection.roi_align import roi_align


@dataclass(frozen=True)
class TwoStageConfig:
    """Proposal-and-refine detector."""

    dim: int = 64
    """Number of channels of the feature map."""
    stride: int = 8
    """Pixels per cell: 4, 8 or 16."""
    width: int = 16
    """Number of channels of the first convolution."""
    stages: int = 4
    """Number of convolution stages, each of which halves the resolution."""
    proposals: int = 16
    """Number of proposals per image."""
    pooled: int = 5
    """Cells across and down of the features of a proposal."""
    hidden: int = 128
    """Width of the second stage."""
    right: float = 0.5
    """Proposals whose IoU with an object is at least this learn its class, others learn the background."""
    lowest: float = 0.05
    """Smallest score of a detection."""
    overlap: float = 0.5
    """Largest IoU of two detections of a class."""


class TwoStageDetector(Detector):
    """Proposes boxes of any class, then classifies and corrects each from the features inside it.

    Arguments and errors as in `Detector`.
    """

    def __init__(self, space: spaces.Dict, categories: Sequence[str], config: TwoStageConfig | None = None):
        super().__init__(space, categories)
        self.config = c = config or TwoStageConfig()
        self.features = FeatureMap(c.dim, c.stride, c.width, c.stages)
        self.proposer = DenseHead(c.dim, 1, c.stride)
        self.trunk = nn.Sequential(
            nn.Flatten(2), nn.Linear(c.dim * c.pooled**2, c.hidden), nn.ReLU(), nn.Linear(c.hidden, c.hidden), nn.ReLU()
        )
        self.labels = nn.Linear(c.hidden, len(categories) + 1)  # the last class is the background
        self.deltas = nn.Linear(c.hidden, 4)
        nn.init.zeros_(self.deltas.weight)
        nn.init.zeros_(self.deltas.bias)

    @torch.no_grad()
    def forward(self, obs: Obs) -> list[Detections]:
        features = self.features(self.images(obs))
        proposals = self.proposals(*self.proposer(features))
        logits, boxes = self.refine(features, proposals)
        return detected(logits.softmax(-1)[..., :-1], boxes, self.size, self.config.lowest, self.config.overlap)

    def refine(self, features: Tensor, proposals: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, N, C + 1) and corrected boxes (B, N, 4) of proposals (B, N, 4)."""
        trunk = self.trunk(roi_align(features, proposals, self.config.pooled, self.config.stride))
        return self.labels(trunk), shifted(proposals, self.deltas(trunk))

    @torch.no_grad()
    def proposals(self, logits: Tensor, boxes: Tensor) -> Tensor:
        """Return the best boxes (B, proposals, 4) after suppression; where there are fewer, the image is proposed."""
        height, width = self.size
        n = self.config.proposals
        found = detected(logits.sigmoid(), boxes, self.size, lowest=0.0, threshold=0.7, most=n)
        proposals = torch.tensor([0, 0, width, height], dtype=torch.float32).repeat(len(found), n, 1)
        for row, each in zip(proposals, found):
            row[: len(each.boxes)] = torch.from_numpy(each.boxes)
        return proposals.to(boxes.device)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        true_boxes, labels = batch["boxes"], batch["labels"]
        features = self.features(self.images(batch["obs"]))
        scores, dense = self.proposer(features)
        first, numbers = self.proposer.loss(features, scores, dense, true_boxes, labels.clamp(max=0))
        proposals = torch.cat([self.proposals(scores, dense), self.jittered(true_boxes, labels)], 1)
        logits, boxes = self.refine(features, proposals)
        wanted, label = self.targets(proposals, true_boxes, labels)
        label_loss = F.cross_entropy(logits.flatten(0, 1), label.flatten())
        there = label < len(self.categories)
        box_loss = (1 - generalized_iou(boxes, wanted))[there].sum() / there.sum().clamp(min=1)
        numbers = {"proposal_loss": first, "label_loss": label_loss, "refined_box_loss": box_loss, **numbers}
        return first + label_loss + box_loss, numbers

    def targets(self, proposals: Tensor, true_boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the box (B, N, 4) and the label (B, N) of the object that each proposal covers best."""
        overlaps = iou(proposals[:, :, None], true_boxes[:, None]) * (labels >= 0)[:, None]
        best, index = overlaps.max(-1)
        label = torch.where(best >= self.config.right, labels.gather(1, index), len(self.categories))
        return true_boxes.gather(1, index[..., None].expand(-1, -1, 4)), label

    def jittered(self, boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the objects' boxes (B, M, 4) with noise, so that the second stage has right proposals early on."""
        size = (boxes[..., 2:] - boxes[..., :2]).repeat(1, 1, 2)
        whole = torch.tensor([0.0, 0, self.size[1], self.size[0]], device=boxes.device)
        return torch.where((labels >= 0)[..., None], boxes + 0.1 * size * torch.randn_like(boxes), whole)

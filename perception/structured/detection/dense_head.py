"""Anchor-free dense prediction: each cell of a feature map predicts one box and the scores of the classes."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception.structured.detection.assignment import dynamic_k, of_objects
from embodia.perception.structured.detection.boxes import generalized_iou, iou, to_centres, to_corners
from embodia.perception.structured.detection.feature_map import conv

NEAR = 1.5
"""Cells learn objects whose centre is at most this many strides away, across and down."""
LARGEST = 7.0
"""Largest logarithm of a box's side in strides."""


class DenseHead(nn.Module):
    """Box and class scores of every cell.

    A box is decoded from its centre, relative to the cell's, and the logarithm of its size, in units of the stride.

    Args:
        dim: channels of the feature map.
        classes: number of classes C.
        stride: pixels per cell.
    """

    def __init__(self, dim: int, classes: int, stride: int):
        super().__init__()
        self.stride, self.classes = stride, classes
        last = nn.Conv2d(dim, classes, 1)
        assert last.bias is not None
        nn.init.constant_(last.bias, -math.log(99))  # scores of 0.01: nearly all cells are background
        self.labels = nn.Sequential(conv(dim, dim), last)
        self.boxes = nn.Sequential(conv(dim, dim), nn.Conv2d(dim, 4, 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, N, C) and boxes (B, N, 4) [pixels] of the N cells, row by row."""
        logits = self.labels(features).flatten(2).transpose(1, 2)
        raw = self.boxes(features).flatten(2).transpose(1, 2)
        middle = self.centres(features) + self.stride * raw[..., :2]
        size = self.stride * raw[..., 2:].clamp(max=LARGEST).exp()
        return logits, to_corners(torch.cat([middle, size], -1))

    def centres(self, features: Tensor) -> Tensor:
        """Return the centres (N, 2) of the cells [pixels]."""
        rows, columns = (torch.arange(n, device=features.device) + 0.5 for n in features.shape[-2:])
        return self.stride * torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).view(-1, 2)

    def loss(
        self, features: Tensor, logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of predictions against objects (B, M, 4) with labels (B, M), padded with label -1.

        Scores learn the IoU of the predicted box (quality focal loss, Li et al. 2020), boxes the generalized IoU.
        """
        assigned = self.assign(features, logits.detach(), boxes.detach(), true_boxes, labels)
        there = assigned >= 0
        if not there.any():
            score_loss = quality_focal(logits, torch.zeros_like(logits)).sum() / len(logits)
            return score_loss, {"score_loss": score_loss, "box_loss": torch.zeros_like(score_loss)}
        wanted, label = of_objects(true_boxes, assigned)[there], of_objects(labels, assigned)[there]
        found = boxes[there]
        quality = torch.zeros_like(logits)
        quality[there] = F.one_hot(label, self.classes) * iou(found.detach(), wanted)[:, None]
        count = there.sum()
        score_loss = quality_focal(logits, quality).sum() / count
        box_loss = (1 - generalized_iou(found, wanted)).mean()
        return score_loss + 2 * box_loss, {"score_loss": score_loss, "box_loss": box_loss}

    @torch.no_grad()
    def assign(self, features: Tensor, logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor) -> Tensor:
        """Return the object (B, N) that each cell learns, or -1."""
        real = labels >= 0
        overlaps = iou(true_boxes[:, :, None], boxes[:, None])  # (B, M, N)
        away = (to_centres(true_boxes)[:, :, None, :2] - self.centres(features)).abs().amax(-1)
        chosen = labels.clamp(min=0)[..., None].expand(-1, -1, logits.shape[1])
        score = logits.transpose(1, 2).gather(1, chosen)
        cost = F.softplus(-score) - 3 * (overlaps + 1e-6).log()
        return dynamic_k(cost.masked_fill(away > NEAR * self.stride, torch.inf), overlaps, real)


def quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """Cross-entropy with soft targets, weighted by the squared error (Li et al. 2020, equation 6)."""
    error = (quality - logits.detach().sigmoid()).square()
    return error * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")

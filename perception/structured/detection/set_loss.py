"""Loss of a set of boxes against the objects of an image, which does not depend on the order of either.

Focal loss of the classes (Lin et al. 2017), L1 and generalized IoU of the boxes, with dynamic-k assignment by the same
costs, as in DiffusionDet (Chen et al. 2023).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from embodia.perception.structured.detection.assignment import dynamic_k, of_objects
from embodia.perception.structured.detection.boxes import generalized_iou, iou, to_centres

CLASS, L1, GIOU = 2.0, 5.0, 2.0
ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss: weight of positives, and how much less easy examples count."""


def set_loss(
    logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor, scale: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss, and its parts to log.

    Args:
        logits: (B, N, C).
        boxes: (B, N, 4) [pixels].
        true_boxes: (B, M, 4) [pixels].
        labels: (B, M), padded with -1.
        scale: (4,) width, height, width and height of the image.
    """
    with torch.no_grad():
        assigned = assign(logits, boxes, true_boxes, labels, scale)
    there = assigned >= 0
    count = there.sum().clamp(min=1)
    target = torch.zeros_like(logits)
    wanted, label = of_objects(true_boxes, assigned)[there], of_objects(labels, assigned)[there]
    target[there] = F.one_hot(label, logits.shape[-1]).to(target.dtype)
    label_loss = focal(logits, target).sum() / count
    found = boxes[there]
    box_loss = (to_centres(found / scale) - to_centres(wanted / scale)).abs().sum() / count
    overlap_loss = (1 - generalized_iou(found, wanted)).sum() / count
    total = CLASS * label_loss + L1 * box_loss + GIOU * overlap_loss
    return total, {"label_loss": label_loss, "l1_loss": box_loss, "giou_loss": overlap_loss}


def assign(logits: Tensor, boxes: Tensor, true_boxes: Tensor, labels: Tensor, scale: Tensor) -> Tensor:
    """Return the object (B, N) that each box learns, or -1."""
    pairs = boxes[:, None], true_boxes[:, :, None]  # (B, M, N)
    apart = (to_centres(pairs[0] / scale) - to_centres(pairs[1] / scale)).abs().sum(-1)
    p = logits.sigmoid().transpose(1, 2).gather(1, labels.clamp(min=0)[..., None].expand(-1, -1, logits.shape[1]))
    gain = ALPHA * (1 - p) ** GAMMA * -(p + 1e-8).log() - (1 - ALPHA) * p**GAMMA * -(1 - p + 1e-8).log()
    cost = CLASS * gain + L1 * apart - GIOU * generalized_iou(*pairs)
    return dynamic_k(cost, iou(*pairs), labels >= 0, most=5)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss of each logit, in its shape."""
    p = logits.sigmoid()
    weight = torch.where(target > 0, ALPHA * (1 - p) ** GAMMA, (1 - ALPHA) * p**GAMMA)
    return weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")

"""Boxes: formats, areas, overlaps (IoU and generalized IoU), and a check of annotated boxes.

A box is (left, top, right, bottom). Overlaps of boxes without area are 0.
"""

import numpy as np
import torch
from torch import Tensor

from embodia.perception.structured.detection import Array


def to_corners(boxes: Tensor) -> Tensor:
    """Convert (*B, 4) from (centre x, centre y, width, height) to (left, top, right, bottom)."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def to_centres(boxes: Tensor) -> Tensor:
    """Convert (*B, 4) from (left, top, right, bottom) to (centre x, centre y, width, height)."""
    first, last = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(first + last) / 2, last - first], -1)


def area(boxes: Tensor) -> Tensor:
    """Return the areas (*B) of boxes (*B, 4); 0 for a box whose right or bottom edge comes first."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union (*B) of boxes (*B, 4), whose batch axes broadcast."""
    return overlap(boxes, others)[0]


def overlap(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intersection over union and the union (*B) of boxes (*B, 4)."""
    size = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    both = size.clamp(min=0).prod(-1)
    union = area(boxes) + area(others) - both
    return both / union.clamp(min=torch.finfo(both.dtype).tiny), union


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the generalized IoU (*B) of boxes (*B, 4), from -1 to 1 (Rezatofighi et al. 2019)."""
    found, union = overlap(boxes, others)
    first, last = torch.minimum(boxes[..., :2], others[..., :2]), torch.maximum(boxes[..., 2:], others[..., 2:])
    hull = (last - first).clamp(min=0).prod(-1)
    return found - (hull - union) / hull.clamp(min=torch.finfo(hull.dtype).tiny)


def pairwise_iou(boxes: Array, others: Array) -> Array:
    """Return the IoU (n, m) of every pair of boxes (n, 4) and (m, 4)."""
    a, b = np.asarray(boxes, np.float64)[:, None], np.asarray(others, np.float64)[None]
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = size.clip(0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).clip(0).prod(-1) + (b[..., 2:] - b[..., :2]).clip(0).prod(-1) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def check_boxes(boxes: Array, labels: Array, num_classes: int, where: str) -> None:
    """Raise ValueError, naming the place, for boxes (n, 4) without area or labels (n,) out of range."""
    if boxes.shape != (len(labels), 4):
        raise ValueError(f"{where}: boxes have shape {boxes.shape}, but there are {len(labels)} labels")
    for k, (box, label) in enumerate(zip(boxes.tolist(), labels.tolist())):
        left, top, right, bottom = box
        if not (np.isfinite(box).all() and right > left and bottom > top):
            raise ValueError(
                f"{where}: box {k} is {box}, which has no area; expected left < right and top < bottom in pixels"
            )
        if not 0 <= label < num_classes:
            raise ValueError(f"{where}: box {k} has label {label}; there are {num_classes} classes, from 0")

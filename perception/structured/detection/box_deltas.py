"""Corrections of boxes: shifts relative to their size, and logarithms of their scales (R-CNN, Girshick et al. 2014)."""

import math

import torch
from torch import Tensor

from embodia.perception.structured.detection.boxes import to_centres, to_corners

MOST = math.log(4.0)
"""Largest logarithm of a scale."""


def shifted(boxes: Tensor, deltas: Tensor, weight: float = 10.0) -> Tensor:
    """Return boxes (*B, 4) corrected by deltas (*B, 4), which are divided by the weight (the scales by half of it)."""
    centres = to_centres(boxes)
    middle = centres[..., :2] + deltas[..., :2] / weight * centres[..., 2:]
    size = centres[..., 2:] * (2 * deltas[..., 2:] / weight).clamp(-MOST, MOST).exp()
    return to_corners(torch.cat([middle, size], -1))

"""RoI align (He et al. 2017, Mask R-CNN, section 3): features inside boxes, sampled bilinearly without rounding."""

import torch
from torch import Tensor
from torch.nn import functional as F


def roi_align(features: Tensor, boxes: Tensor, size: int, stride: float = 1.0, samples: int = 2) -> Tensor:
    """Return the features (B, N, C, size, size) inside boxes.

    Args:
        features: (B, C, h, w).
        boxes: (B, N, 4) left, top, right, bottom [pixels]. Gradients do not flow into boxes.
        size: cells across and down of the result.
        stride: pixels per cell of the features.
        samples: points per cell of the result, across and down, whose mean is taken.
    """
    height, width = features.shape[-2:]
    points = size * samples
    part = (torch.arange(points, device=boxes.device) + 0.5) / points
    x, y = (boxes[..., k, None] + part * (boxes[..., k + 2] - boxes[..., k])[..., None] for k in (0, 1))
    x, y = (2 * each.detach() / (stride * length) - 1 for each, length in ((x, width), (y, height)))
    batch, n = boxes.shape[:2]
    grid = torch.stack(torch.broadcast_tensors(x[..., None, :], y[..., :, None]), -1).view(batch, n * points, points, 2)
    found = F.grid_sample(features, grid, padding_mode="border", align_corners=False)
    found = F.avg_pool2d(found, samples) if samples > 1 else found
    return found.view(batch, -1, n, size, size).transpose(1, 2)

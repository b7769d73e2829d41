"""Head that corrects boxes: attention among boxes, and features inside each (Sparse R-CNN, Sun et al. 2021)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embodia.perception.structured.detection.box_deltas import shifted
from embodia.perception.structured.detection.roi_align import roi_align


class RefineHead(nn.Module):
    """One step of correction.

    Args:
        dim: width of a box's token and channels of the feature map.
        classes: number of classes C.
        pooled: cells across and down of the features of a box.
        stride: pixels per cell of the feature map.
        inner: width of the dynamic convolution.
    """

    def __init__(self, dim: int, classes: int, pooled: int, stride: int, inner: int = 16):
        super().__init__()
        self.dim, self.pooled, self.stride, self.inner = dim, pooled, stride, inner
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.weights = nn.Linear(dim, 2 * dim * inner)
        self.first_norm, self.second_norm = nn.LayerNorm(inner), nn.LayerNorm(dim)
        self.joined = nn.Linear(dim * pooled**2, dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))
        self.of_time = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))
        self.labels = nn.Linear(dim, classes)
        last = nn.Linear(dim, 4)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.deltas = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), last)
        nn.init.constant_(self.labels.bias, -math.log(99))

    def forward(
        self, features: Tensor, boxes: Tensor, tokens: Tensor | None, time: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, N, C), boxes (B, N, 4) and tokens (B, N, dim).

        Args:
            features: (B, dim, h, w).
            boxes: (B, N, 4) [pixels].
            tokens: of the head before; None for the mean features of each box.
            time: embedded times (B, dim).
        """
        inside = roi_align(features, boxes, self.pooled, self.stride, samples=1).flatten(3).transpose(2, 3)
        tokens = inside.mean(2) if tokens is None else tokens
        tokens = self.norms[0](tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0])
        tokens = self.norms[1](tokens + self.seen(inside, tokens))
        tokens = self.norms[2](tokens + self.feed_forward(tokens))
        scale, shift = self.of_time(time)[:, None].chunk(2, -1)
        timed = tokens * (1 + scale) + shift
        return self.labels(timed), shifted(boxes, self.deltas(timed), weight=2.0), tokens

    def seen(self, inside: Tensor, tokens: Tensor) -> Tensor:
        """Return the features (B, N, P, dim) of boxes filtered by their tokens, as vectors (B, N, dim)."""
        into, back = self.weights(tokens).chunk(2, -1)
        hidden = F.relu(self.first_norm(torch.matmul(inside, into.unflatten(-1, (self.dim, self.inner)))))
        hidden = F.relu(self.second_norm(torch.matmul(hidden, back.unflatten(-1, (self.inner, self.dim)))))
        return F.relu(self.norms[3](self.joined(hidden.flatten(2))))

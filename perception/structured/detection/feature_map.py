"""Convolutional feature map with a top-down path (feature pyramid, Lin et al. 2017), at one stride."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F


def conv(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class FeatureMap(nn.Module):
    """Maps images (B, 3, H, W) to features (B, dim, ceil(H / stride), ceil(W / stride)).

    Stages halve the resolution and double the channels. Coarse stages are added to finer ones on the way back up to
    `stride`, so that every cell knows its surroundings.

    Args:
        dim: number of channels of the result.
        stride: 4, 8 or 16 pixels per cell.
        width: number of channels of the first stage.
        stages: number of stages.

    Raises:
        ValueError: if no stage has this stride.
    """

    def __init__(self, dim: int = 64, stride: int = 8, width: int = 16, stages: int = 4):
        super().__init__()
        if stride not in (strides := [2 ** (k + 1) for k in range(1, stages)]):
            raise ValueError(f"stride {stride}: choose one of {', '.join(map(str, strides))}, or more stages")
        self.stride, self.dim = stride, dim
        widths = [3, *(min(width * 2**k, 256) for k in range(stages))]
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, after, 2), *([conv(after, after)] if before > 3 else []))
            for before, after in pairwise(widths)
        )
        self.first = strides.index(stride) + 1
        self.sides = nn.ModuleList(nn.Conv2d(c, dim, 1) for c in widths[1 + self.first :])
        self.smooth = conv(dim, dim)

    def forward(self, images: Tensor) -> Tensor:
        found = []
        for stage in self.stages:
            images = stage(images)
            found.append(images)
        top, *finer = [side(each) for side, each in zip(self.sides, found[self.first :])][::-1]
        for each in finer:
            top = each + F.interpolate(top, size=each.shape[-2:])
        return self.smooth(top)

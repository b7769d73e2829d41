"""A space-time cost volume from a raster of the road, and its bilinear reading along trajectories."""

import torch
from torch import Tensor, nn

from embodia.planners.driving.learned.plan_features import JUDGED, LANE_BEHIND, LANE_GRID_STEP, read
from embodia.planners.driving.learned.raster import CHANNELS

BODY = (-0.5, 1.46, 3.4)  # [m] ahead of the rear axle where the volume is read, for its mean
LIMIT = 1000.0  # costs are clamped to it, so that the margin cannot run away


class BevNet(nn.Module):
    """A small U-Net from rasters (N, 12, 80, 48) to features (N, width, 40, 24), every 2 m.

    Args:
        width: channels at the finest level.
    """

    def __init__(self, width: int = 24):
        super().__init__()
        middle, deep = width * 4 // 3, width * 2
        self.stem = block(len(CHANNELS), width, 4, 2)
        self.fine = block(width, width)
        self.down = nn.Sequential(block(width, middle, 4, 2), block(middle, middle))
        self.deep = nn.Sequential(block(middle, deep, 4, 2), block(deep, deep), block(deep, deep))
        self.middle = block(deep + middle, middle)
        self.out = block(middle + width, width)
        self.width, self.deep_width = width, deep

    def forward(self, raster: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, width, 40, 24), and the coarsest ones (N, deep_width, 10, 6)."""
        fine = self.fine(self.stem(raster))
        middle = self.down(fine)
        deep = self.deep(middle)
        joined = self.middle(torch.cat([twice(deep), middle], 1))
        return self.out(torch.cat([twice(joined), fine], 1)), deep


def block(channels: int, out: int, size: int = 3, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, out, size, stride, 1), nn.GroupNorm(4, out), nn.ReLU())


def twice(image: Tensor) -> Tensor:
    return nn.functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


def read_volume(volume: Tensor, poses: Tensor) -> Tensor:
    """Read the cost of trajectories, bilinearly at three points of the ego's body.

    Args:
        volume: costs (N, 10, 40, 24) in 0.5, 1, ... 5 s.
        poses: rear-axle poses (N, S, 17, 3) from now on.

    Returns:
        Costs (N, S, 10).
    """
    later = poses[:, :, 1 : JUDGED + 1]
    forward = torch.stack([later[..., 2].cos(), later[..., 2].sin()], -1)
    points = torch.stack([later[..., :2] + ahead * forward for ahead in BODY], -2)  # (N, S, T, 3, 2)
    n, s = points.shape[:2]
    by_time = points.transpose(1, 2).reshape(n * JUDGED, s * len(BODY), 2)
    found = read(volume.reshape(n * JUDGED, 1, *volume.shape[2:]), by_time, LANE_GRID_STEP, LANE_BEHIND)
    return found.view(n, JUDGED, s, len(BODY)).mean(-1).transpose(1, 2)

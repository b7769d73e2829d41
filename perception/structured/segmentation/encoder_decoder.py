"""Networks that map images to the logits of each pixel: U-Net (Ronneberger et al. 2015) and FCN (Long et al. 2015)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.encoders.resnet import ResidualBlock


class UNet(nn.Module):
    """Encoder-decoder with skips. Images (N, C, H, W) of any size -> logits (N, K, H, W).

    Args:
        channels: C.
        classes: K.
        width: Number of channels at full resolution; each level doubles it.
        levels: Number of resolutions; each is half of the one before.
        skips: Whether the decoder sees the encoder's maps of its resolution.
    """

    def __init__(self, channels: int, classes: int, width: int = 16, levels: int = 3, skips: bool = True):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.skips, self.multiple = skips, 2 ** (levels - 1)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(
            ResidualBlock(max(width, each // 2), each, 1 if each == width else 2) for each in widths
        )
        self.up = nn.ModuleList(ResidualBlock(2 * each + each * skips, each, 1) for each in reversed(widths[:-1]))
        self.leave = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        maps = [self.enter(F.pad(images, padding, mode="replicate"))]
        for block in self.down:
            maps.append(block(maps[-1]))
        x = maps.pop()
        for block in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            skip = maps.pop()
            x = block(torch.cat([x, skip], 1) if self.skips else x)
        return self.leave(x)[..., :height, :width]


class FCN(nn.Module):
    """Three convolutions of total stride 4, whose logits are upsampled: small, and blurred at borders.

    Args:
        channels: C.
        classes: K.
        width: Number of channels of the first convolution.
    """

    def __init__(self, channels: int, classes: int, width: int = 16):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 5, 2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 5, 2, padding=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, classes, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(self.body(images), images.shape[2:], mode="bilinear")

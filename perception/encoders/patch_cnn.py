"""A small convolutional net for small images, made for a CPU's budget: a tenth of Nature CNN's work."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import ImageEncoder

GRID = 8  # patches along the shorter side


class PatchCNN(ImageEncoder):
    """Patches, two 3x3 convolutions over their grid, a linear layer: one token (*B, 1, dim).

    The first layer sees each pixel once, in patches that do not overlap ("patchify" stem: Liu et al. 2022, ConvNeXt,
    section 2.2), and makes a grid of about 8 x 8 of them, whatever the image's size. Several keys of one size are
    stacked along channels.
    """

    def __init__(
        self, space: spaces.Dict, dim: int = 128, widths: tuple[int, int] = (24, 32), keys: Sequence[str] | None = None
    ):
        super().__init__(space, keys)
        self.num_tokens, self.dim = 1, dim
        channels, height, width = self.image_shape
        patch = max(2, min(height, width) // GRID)
        first, second = widths
        self.conv = nn.Sequential(
            nn.Conv2d(channels, first, patch, stride=patch),
            nn.ReLU(),
            nn.Conv2d(first, first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            flat = self.conv(torch.zeros(1, channels, height, width)).shape[1]
        self.project = nn.Sequential(nn.Linear(flat, dim), nn.ReLU())

    def encode(self, images: Tensor) -> Tensor:
        return self.project(self.conv(images))[:, None]

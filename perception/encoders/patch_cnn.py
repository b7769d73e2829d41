"""A small convolutional network for small images, with a tenth of Nature CNN's computation."""

from collections.abc import Sequence

import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import ImageEncoder

GRID = 8  # patches along the shorter side


class PatchCNN(ImageEncoder):
    """Non-overlapping patches, two 3x3 convolutions and a linear layer: one token (*B, 1, dim).

    The first layer ("patchify" stem: Liu et al. 2022, ConvNeXt, section 2.2) makes a grid of about 8 x 8 patches at any
    image size. Several keys of one size are stacked along the channels.

    Args:
        space: Observation space with images and depth of one size.
        dim: Width of the token.
        widths: Number of channels of the first two convolutions, and of the third.
        keys: Image keys to read; by default all.
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

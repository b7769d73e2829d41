"""Nature CNN (Mnih et al. 2015, Nature 518, Methods, "Model architecture")."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import ImageEncoder

SMALLEST = 36  # [pixels] minimum input of the three unpadded convolutions
LARGEST_MAP = 7  # of 84x84 pixels, as in the paper


class NatureCNN(ImageEncoder):
    """Three convolutions and a linear layer: one token (*B, 1, dim).

    For 84x84 pixels it is exactly the paper's network. Images under 36 pixels are first enlarged by an integer factor
    (nearest neighbour). Feature maps above 7x7 are average-pooled to 7x7, so the linear layer does not grow with the
    image. Several keys of one size (RGB and depth) are stacked along the channels.

    Args:
        space: Observation space with images and depth of one size.
        dim: Width of the token.
        keys: Image keys to read; by default all.
    """

    def __init__(self, space: spaces.Dict, dim: int = 512, keys: Sequence[str] | None = None):
        super().__init__(space, keys)
        self.num_tokens, self.dim = 1, dim
        channels, height, width = self.image_shape
        self.enlarge = math.ceil(SMALLEST / min(height, width))
        self.conv = nn.Sequential(
            nn.Conv2d(channels, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=1),
            nn.ReLU(),
        )
        rows, columns = (self._map_size(size * self.enlarge) for size in (height, width))
        self.pool = nn.AdaptiveAvgPool2d((rows, columns))
        self.project = nn.Sequential(nn.Flatten(), nn.Linear(64 * rows * columns, dim), nn.ReLU())

    @staticmethod
    def _map_size(pixels: int) -> int:
        for kernel, stride in ((8, 4), (4, 2), (3, 1)):
            pixels = (pixels - kernel) // stride + 1
        return min(pixels, LARGEST_MAP)

    def encode(self, images: Tensor) -> Tensor:
        if self.enlarge > 1:
            images = F.interpolate(images, scale_factor=self.enlarge, mode="nearest")
        return self.project(self.pool(self.conv(images)))[:, None]

"""Patch features without learning: mean colour and a gradient histogram (Dalal & Triggs 2005, one cell)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from embodia.perception.encoders.image_encoder import PatchEncoder


class PatchStatistics(PatchEncoder):
    """Hand-made patch features (*B, rows * columns, C + bins) centred per image: the baseline for learned encoders.

    Args:
        space: Observation space with an image.
        patch_size: Side of a patch [pixels].
        bins: Number of gradient directions between 0 and 180 degrees, weighted by the gradient's length.
        keys: Image keys to read.
    """

    def __init__(self, space: spaces.Dict, patch_size: int = 8, bins: int = 6, keys: Sequence[str] | None = None):
        super().__init__(space, keys)
        channels, height, width = self.image_shape
        self.patch_size, self.bins, self.dim = patch_size, bins, channels + bins
        self.grid = (-(-height // patch_size), -(-width // patch_size))
        self.num_tokens = self.grid[0] * self.grid[1]

    def patch_keys(self, images: Tensor) -> Tensor:
        right, below = -images.shape[3] % self.patch_size, -images.shape[2] % self.patch_size
        padded = F.pad(images, (0, right, 0, below), mode="replicate")
        grey = F.pad(padded.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        dx = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2]
        dy = grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
        which = (torch.atan2(dy, dx) / torch.pi % 1 * self.bins).long().clamp(max=self.bins - 1)
        gradients = torch.zeros(images.shape[0], self.bins, *padded.shape[2:], device=images.device)
        gradients.scatter_(1, which, torch.hypot(dx, dy))
        cells = F.avg_pool2d(torch.cat([padded, gradients], 1), self.patch_size)
        return (cells - cells.mean((2, 3), keepdim=True)).flatten(2).transpose(1, 2)

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.patch_keys(images)
        return patches.mean(1), patches

    def encode(self, images: Tensor) -> Tensor:
        return self.patch_keys(images)

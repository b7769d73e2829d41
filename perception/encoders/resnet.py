"""A small residual network with group normalisation (He et al. 2016; Wu & He 2018)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from embodia.perception.encoders.image_encoder import ImageEncoder


def group_norm(channels: int) -> nn.GroupNorm:
    """Build GroupNorm with about 16 channels per group.

    BatchNorm is unsuitable in reinforcement learning: the data distribution follows the policy, and batches for acting
    and learning differ, so their statistics differ too and mix the elements of a batch.
    """
    return nn.GroupNorm(max(1, channels // 16), channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection, (N, C, H, W) -> (N, C', H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        last = group_norm(outputs)
        nn.init.zeros_(last.weight)  # initially the block equals its shortcut
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            group_norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            last,
        )
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), group_norm(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.body(x))


class ResNet(ImageEncoder):
    """Stages of residual blocks; each stage after the first halves the resolution.

    Args:
        space: Observation space with images and depth of one size, at least 16x16.
        dim: Width of a token.
        width: Number of channels of the first stage; each stage doubles it.
        blocks: Number of residual blocks of each stage.
        tokens: "one" flattens the last map, which keeps positions, to one token (*B, 1, dim). "grid" makes each
            location of the last map a token, (*B, rows * columns, dim).
        keys: Image keys to read, stacked along the channels; by default all.
    """

    def __init__(
        self,
        space: spaces.Dict,
        dim: int = 256,
        width: int = 32,
        blocks: Sequence[int] = (1, 1, 1, 1),
        tokens: str = "one",
        keys: Sequence[str] | None = None,
    ):
        super().__init__(space, keys)
        if tokens not in ("one", "grid"):
            raise ValueError(f'tokens must be "one" or "grid"; got {tokens!r}')
        self.dim, self.tokens = dim, tokens
        channels, height, size_w = self.image_shape
        stem_stride = 1 if min(height, size_w) < 64 else 2 if min(height, size_w) < 128 else 4
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 2 * stem_stride + 1, stem_stride, padding=stem_stride, bias=False),
            group_norm(width),
            nn.ReLU(),
        ]
        outputs = width
        for stage, count in enumerate(blocks):
            inputs, outputs = outputs, width * 2**stage
            layers += [ResidualBlock(inputs, outputs, 1 if stage == 0 else 2)]
            layers += [ResidualBlock(outputs, outputs, 1) for _ in range(count - 1)]
        self.body = convert_conv2d_weight_memory_format(nn.Sequential(*layers), torch.channels_last)
        with torch.no_grad():
            _, _, rows, columns = self.body(torch.zeros(1, channels, height, size_w)).shape
        self.num_tokens = 1 if tokens == "one" else rows * columns
        self.project = nn.Linear(outputs * rows * columns if tokens == "one" else outputs, dim)
        self.norm = nn.LayerNorm(dim)

    def encode(self, images: Tensor) -> Tensor:
        features = self.body(images)  # (N, C, rows, columns)
        features = features.flatten(1)[:, None] if self.tokens == "one" else features.flatten(2).transpose(1, 2)
        return F.relu(self.norm(self.project(features)))

"""U-Nets: of pictures (Ho et al. 2020, small), and of trajectories along time (Janner et al. 2022)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.encoders.vit import Attention
from embodia.perception.generative import Condition, Denoiser
from embodia.perception.generative.denoisers.conditioning import Conditioning

CONV = {1: nn.Conv1d, 2: nn.Conv2d}


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if channels % groups == 0), channels)


class FiLMBlock(nn.Module):
    """Two convolutions around which the input is added; the embedding scales and shifts between them.

    (B, C, *space), (B, dim) -> (B, C', *space).
    """

    def __init__(self, dims: int, inputs: int, outputs: int, dim: int, kernel: int):
        super().__init__()
        conv = CONV[dims]
        self.first = nn.Sequential(group_norm(inputs), nn.SiLU(), conv(inputs, outputs, kernel, padding=kernel // 2))
        self.film = nn.Linear(dim, 2 * outputs)
        self.norm = group_norm(outputs)
        self.second = conv(outputs, outputs, kernel, padding=kernel // 2)
        nn.init.zeros_(self.second.weight)  # each block starts as its shortcut
        self.shortcut = conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale, shift = self.film(F.silu(known)).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, 1)
        h = F.silu(self.norm(self.first(x)) * (1 + scale) + shift)
        return self.shortcut(x) + self.second(h)


class SpatialAttention(nn.Module):
    """Self-attention between the places of (B, C, *space), added to them."""

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        self.norm, self.attention = group_norm(channels), Attention(channels, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attention(tokens).transpose(1, 2).reshape(x.shape)


class UNet(Denoiser):
    """Blocks that halve the size, blocks that double it again, and the skips between them.

    Args:
        event: (C, H, W) or (C, L). Each side must be a multiple of 2^(levels - 1).
        width: channels of the first level.
        multipliers: channels of each level, as multiples of `width`; as many as there are levels.
        blocks: residual blocks per level.
        kernel: side of the kernels.
        heads: of the attention at the smallest size; 0 for none.
        embed: module of the condition, (B, ...) -> (B, 4 * width).
    """

    def __init__(
        self,
        event: Sequence[int],
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 1,
        kernel: int = 3,
        heads: int = 4,
        embed: nn.Module | None = None,
    ):
        super().__init__()
        channels, *space = event
        check_sides(space, len(multipliers))
        dims, dim, self.conditional = len(space), 4 * width, embed is not None
        widths = [width * each for each in multipliers]
        self.conditioning = Conditioning(dim, embed)
        self.enter = CONV[dims](channels, width, kernel, padding=kernel // 2)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inputs, skips = width, [width]
        for level, outputs in enumerate(widths):
            for _ in range(blocks):
                self.down.append(FiLMBlock(dims, inputs, outputs, dim, kernel))
                inputs = outputs
                skips.append(inputs)
            if level < len(widths) - 1:
                self.down.append(CONV[dims](inputs, inputs, 3, stride=2, padding=1))
                skips.append(inputs)
        self.middle = FiLMBlock(dims, inputs, inputs, dim, kernel)
        self.attend = SpatialAttention(inputs, heads) if heads else nn.Identity()
        for level, outputs in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(FiLMBlock(dims, inputs + skips.pop(), outputs, dim, kernel))
                inputs = outputs
            if level:
                self.up.append(nn.Upsample(scale_factor=2.0))
        last = CONV[dims](inputs, channels, 1)
        nn.init.zeros_(last.weight)
        self.leave = nn.Sequential(group_norm(inputs), nn.SiLU(), last)

    def forward(
        self, x: Tensor, time: Tensor, condition: Condition | None = None, drop: Tensor | None = None
    ) -> Tensor:
        known = self.conditioning(time, condition, drop)
        h = self.enter(x)
        skips = [h]
        for layer in self.down:
            h = layer(h, known) if isinstance(layer, FiLMBlock) else layer(h)
            skips.append(h)
        h = self.attend(self.middle(h, known))
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], 1), known) if isinstance(layer, FiLMBlock) else layer(h)
        return self.leave(h)


class TemporalUNet(Denoiser):
    """A U-Net along the time of a trajectory (B, H, D), the D numbers of a step being channels.

    Args:
        event: (H, D), H a multiple of 2^(levels - 1).
        width, multipliers, blocks, kernel, heads, embed: as in `UNet`.
    """

    def __init__(
        self,
        event: Sequence[int],
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 1,
        kernel: int = 5,
        heads: int = 0,
        embed: nn.Module | None = None,
    ):
        super().__init__()
        length, channels = event
        self.net = UNet((channels, length), width, multipliers, blocks, kernel, heads, embed)
        self.conditional = self.net.conditional

    def forward(
        self, x: Tensor, time: Tensor, condition: Condition | None = None, drop: Tensor | None = None
    ) -> Tensor:
        return self.net(x.transpose(1, 2), time, condition, drop).transpose(1, 2)


def check_sides(space: Sequence[int], levels: int) -> None:
    """Raise ValueError if a side cannot be halved levels - 1 times."""
    step = 2 ** (levels - 1)
    if len(space) not in CONV or any(side % step for side in space):
        raise ValueError(f"a U-Net of {levels} levels needs sides that are multiples of {step}; got {tuple(space)}")

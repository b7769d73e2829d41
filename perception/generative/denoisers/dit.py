"""Diffusion transformer (Peebles and Xie 2023): tokens whose norms are scaled and shifted by time and condition."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from embodia.perception.encoders.vit import Attention
from embodia.perception.generative import Condition, Denoiser
from embodia.perception.generative.denoisers.conditioning import Conditioning


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The same layer, which gives 0 at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class AdaptiveBlock(nn.Module):
    """Attention and an MLP under adaptive layer norms that start at zero (adaLN-Zero): at first, the identity."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim, elementwise_affine=False)
        self.norm_mlp = nn.LayerNorm(dim, elementwise_affine=False)
        self.attention = Attention(dim, num_heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.modulation = nn.Sequential(nn.SiLU(), zeroed(nn.Linear(dim, 6 * dim)))

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        scale_a, shift_a, gate_a, scale_m, shift_m, gate_m = self.modulation(known)[:, None].chunk(6, 2)
        x = x + gate_a * self.attention(self.norm_attention(x) * (1 + scale_a) + shift_a)
        return x + gate_m * self.mlp(self.norm_mlp(x) * (1 + scale_m) + shift_m)


class DiT(Denoiser):
    """Tokens are the patches of a picture, or the rows of a sequence or set.

    Args:
        event: (C, H, W) or (N, D).
        width: of a token.
        depth: number of blocks.
        heads: of attention.
        patch_size: rows and columns of a patch [pixels]; unused for (N, D).
        positions: add learned positions; without them a set (N, D) keeps no order.
        embed: module of the condition, (B, ...) -> (B, width).
    """

    def __init__(
        self,
        event: Sequence[int],
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        patch_size: tuple[int, int] = (4, 4),
        positions: bool = True,
        embed: nn.Module | None = None,
    ):
        super().__init__()
        self.event, self.patch_size, self.conditional = tuple(event), tuple(patch_size), embed is not None
        count, size = self.tokens_of(self.event)
        self.conditioning = Conditioning(width, embed)
        self.enter, self.leave = nn.Linear(size, width), zeroed(nn.Linear(width, size))
        self.position = nn.Parameter(0.02 * torch.randn(1, count, width)) if positions else None
        self.blocks = nn.ModuleList(AdaptiveBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), zeroed(nn.Linear(width, 2 * width)))

    def tokens_of(self, event: Sequence[int]) -> tuple[int, int]:
        """Number of tokens, and numbers in each. Raises ValueError if patches do not fit."""
        if len(event) == 2:
            return event[0], event[1]
        (channels, height, width), (rows, columns) = event, self.patch_size
        if height % rows or width % columns:
            raise ValueError(f"patches {rows}x{columns} do not fill {height}x{width} pixels; choose another patch_size")
        return height // rows * (width // columns), channels * rows * columns

    def patches(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, tokens, C * rows * columns)."""
        rows, columns = self.patch_size
        cut = x.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))  # (B, C, H', rows, W', columns)
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def picture(self, tokens: Tensor) -> Tensor:
        """The inverse of `patches`."""
        (channels, height, _), (rows, columns) = self.event, self.patch_size
        cut = tokens.unflatten(2, (channels, rows, columns)).unflatten(1, (height // rows, -1))
        return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def forward(
        self, x: Tensor, time: Tensor, condition: Condition | None = None, drop: Tensor | None = None
    ) -> Tensor:
        known = self.conditioning(time, condition, drop)
        h = self.enter(self.patches(x) if len(self.event) == 3 else x)
        h = h if self.position is None else h + self.position
        for block in self.blocks:
            h = block(h, known)
        scale, shift = self.modulation(known)[:, None].chunk(2, 2)
        out = self.leave(self.norm(h) * (1 + scale) + shift)
        return self.picture(out) if len(self.event) == 3 else out

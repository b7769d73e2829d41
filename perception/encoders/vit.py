"""Vision transformer (Dosovitskiy et al. 2021), with registers (Darcet et al. 2024) and attention maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import PatchEncoder
from embodia.perception.encoders.old_names import accept_old_names


class Attention(nn.Module):
    """Multi-head self-attention, (N, T, D) -> (N, T, D)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim must be a multiple of num_heads; got {dim} and {num_heads}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, t, dim = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4)
        return q, k, v  # each (N, heads, T, D / heads)

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(*self._split(x))
        return self.out(mixed.transpose(1, 2).reshape(x.shape))

    def weights(self, x: Tensor) -> Tensor:
        """Attention weights (N, heads, T, T); rows sum to 1."""
        q, k, _ = self._split(x)
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)

    def keys(self, x: Tensor) -> Tensor:
        """Keys of all heads, concatenated, (N, T, D): the features of TokenCut and MaskCut."""
        return self._split(x)[1].transpose(1, 2).reshape(x.shape)


class Block(nn.Module):
    """Pre-norm transformer block: attention and a two-layer MLP, each with a residual connection."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_attention(x))
        return x + self.mlp(self.norm_mlp(x))


class ViT(PatchEncoder):
    """Vision transformer that gives image patches as tokens, or one global token.

    Internally the order is class token, registers, patches. `tokens` accepts images of any size: it interpolates the
    learned position embedding and pads the sides with zeros to multiples of the patch size.

    Args:
        space: Observation space with images and depth of one size, at least 16x16.
        patch_size: Side of a patch [pixels].
        dim: Width of a token.
        depth: Number of transformer blocks.
        num_heads: Number of attention heads.
        num_registers: Number of register tokens, which can hold global information; they are discarded at the end.
        output: "patches" gives (*B, rows * columns, dim); "cls" gives the class token (*B, 1, dim).
        pool: Summary of an image: "cls" for the class token, "mean" for the patches' mean. A masked autoencoder needs
            "mean", because its loss does not train the class token.
        keys: Image keys to read, stacked along the channels; by default all.

    Raises:
        ValueError: If `output` or `pool` is unknown, or `dim` is not a multiple of `num_heads`.
    """

    def __init__(
        self,
        space: spaces.Dict,
        patch_size: int = 8,
        dim: int = 192,
        depth: int = 6,
        num_heads: int = 3,
        num_registers: int = 0,
        output: str = "patches",
        keys: Sequence[str] | None = None,
        pool: str = "cls",
    ):
        super().__init__(space, keys)
        if output not in ("patches", "cls"):
            raise ValueError(f'output must be "patches" or "cls"; got {output!r}')
        if pool not in ("cls", "mean"):
            raise ValueError(f'pool must be "cls" or "mean"; got {pool!r}')
        channels, height, width = self.image_shape
        self.patch_size, self.dim, self.output, self.pool = patch_size, dim, output, pool
        self.num_registers = num_registers
        self.grid = (-(-height // patch_size), -(-width // patch_size))  # (rows, columns) of patches
        self.num_tokens = self.grid[0] * self.grid[1] if output == "patches" else 1
        self.project = nn.Conv2d(channels, dim, patch_size, patch_size)
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1 + num_registers, dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, dim, *self.grid))
        self.blocks = nn.ModuleList(Block(dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        accept_old_names(self, {"position": "pos_embed"})

    def embed(self, images: Tensor) -> Tensor:
        """Embed patches and add positions: (N, C, H, W), about -0.5 to 0.5 -> (N, rows * columns, dim)."""
        right, below = -images.shape[3] % self.patch_size, -images.shape[2] % self.patch_size
        patches = self.project(F.pad(images, (0, right, 0, below)))
        position: Tensor = self.pos_embed
        if patches.shape[2:] != position.shape[2:]:
            position = F.interpolate(position, patches.shape[2:], mode="bicubic", align_corners=False)
        return (patches + position).flatten(2).transpose(1, 2)

    def transform(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the blocks to embedded patches (N, P, dim), all or a subset. Returns class token and patches."""
        x = self._with_class(patches)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x[:, 0], x[:, 1 + self.num_registers :]

    def _with_class(self, patches: Tensor) -> Tensor:
        return torch.cat([self.cls.expand(patches.shape[0], -1, -1), patches], 1)

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class token (N, dim) and patches (N, P, dim) of images (N, C, H, W) of any size."""
        return self.transform(self.embed(images))

    def encode(self, images: Tensor) -> Tensor:
        cls, patches = self.tokens(images)
        return patches if self.output == "patches" else cls[:, None]

    def summary(self, images: Tensor) -> Tensor:
        """Return the class token or the patches' mean, (N, dim)."""
        return self.pooled(*self.tokens(images))

    def pooled(self, cls: Tensor, patches: Tensor) -> Tensor:
        """Return the summary (N, dim) of a class token (N, dim) and patches (N, P, dim)."""
        return cls if self.pool == "cls" else patches.mean(1)

    def _last_input(self, images: Tensor) -> tuple[Block, Tensor]:
        """Return the last block and its attention's input (N, 1 + registers + P, dim)."""
        x = self._with_class(self.embed(images))
        for block in list(self.blocks)[:-1]:
            x = block(x)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return last, last.norm_attention(x)

    def attention(self, images: Tensor) -> Tensor:
        """Attention of the last block's class token over the patches, (N, heads, rows, columns).

        Each map sums to at most 1; the rest goes to the class token and the registers.

        Source:
            Caron et al. 2021, figure 1.
        """
        rows, columns = -(-images.shape[2] // self.patch_size), -(-images.shape[3] // self.patch_size)
        block, x = self._last_input(images)
        weights = block.attention.weights(x)[:, :, 0, 1 + self.num_registers :]
        return weights.unflatten(2, (rows, columns))

    def patch_keys(self, images: Tensor) -> Tensor:
        """Return the last attention layer's keys at the patches (N, P, dim), the features of TokenCut and MaskCut."""
        block, x = self._last_input(images)
        return block.attention.keys(x)[:, 1 + self.num_registers :]

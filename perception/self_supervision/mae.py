"""Masked autoencoder: encode a quarter of the patches, reconstruct the others (He et al. 2022)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception import Obs, SelfSupervised
from embodia.perception.encoders.old_names import accept_old_names
from embodia.perception.encoders.vit import Block, ViT
from embodia.perception.scores.collapse import effective_rank, sphere_std


class MAE(SelfSupervised):
    """Masked autoencoder: a ViT encodes the visible patches and a small transformer reconstructs the hidden ones.

    The loss is the squared error on the hidden patches, each normalised to mean 0 and standard deviation 1 (section 3).
    Predicting the mean of every patch costs 1.

    Args:
        encoder: ViT to train.
        mask_ratio: Fraction of hidden patches.
        width: Width of the decoder, which is discarded after training.
        depth: Number of blocks of the decoder.
        num_heads: Number of attention heads of the decoder.

    Raises:
        ValueError: If `mask_ratio` hides no patch.
    """

    encoder: ViT

    def __init__(self, encoder: ViT, mask_ratio: float = 0.75, width: int = 64, depth: int = 2, num_heads: int = 4):
        super().__init__(encoder.space)
        self.encoder, self.mask_ratio = encoder, mask_ratio
        self.keys, self.num_tokens, self.dim = encoder.keys, encoder.num_tokens, encoder.dim
        patches = encoder.grid[0] * encoder.grid[1]
        self.visible = max(1, round(patches * (1 - mask_ratio)))
        if self.visible == patches:
            raise ValueError(f"mask_ratio {mask_ratio} hides none of {patches} patches; raise it")
        self.enter = nn.Linear(encoder.dim, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, patches, width))
        self.blocks = nn.Sequential(*(Block(width, num_heads) for _ in range(depth)), nn.LayerNorm(width))
        self.paint = nn.Linear(width, encoder.image_shape[0] * encoder.patch_size**2)
        accept_old_names(self, {"position": "pos_embed", "hidden_token": "mask_token"})

    def forward(self, obs: Obs) -> Tensor:
        return self.encoder(obs)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error on hidden patches; batch is `{"obs": {...}}` with any batch axes."""
        images, _ = self.encoder.images(batch["obs"])
        order = self.shuffle(len(images), images.device)
        predicted, summary = self.reconstruct(images, order)
        truth = normalised(self.patches(images))
        hidden = order[:, self.visible :, None].expand(-1, -1, truth.shape[2])
        loss = F.mse_loss(predicted.gather(1, hidden), truth.gather(1, hidden))
        return loss, {
            "loss": loss.detach(),
            "effective_rank": effective_rank(summary),
            "embedding_std": sphere_std(summary),
        }

    def shuffle(self, n: int, device: torch.device) -> Tensor:
        """Return a random order (N, P) of the patches of each image. The first `visible` patches are encoded."""
        return torch.rand(n, self.pos_embed.shape[1], device=device).argsort(1)

    def reconstruct(self, images: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct all patches from the visible ones.

        Args:
            images: Images (N, C, H, W).
            order: Order of the patches (N, P), from `shuffle`.

        Returns:
            Normalised patches (N, P, C * patch * patch), and the encoder's summary of the visible ones (N, dim).
        """
        seen = order[:, : self.visible, None]
        embedded = self.encoder.embed(images)
        cls, tokens = self.encoder.transform(embedded.gather(1, seen.expand(-1, -1, self.dim)))
        entered = self.enter(tokens).to(self.mask_token.dtype)
        canvas = self.mask_token.expand(len(images), order.shape[1], -1)
        canvas = canvas.scatter(1, seen.expand(-1, -1, entered.shape[2]), entered) + self.pos_embed
        return self.paint(self.blocks(canvas)), self.encoder.pooled(cls, tokens)

    def patches(self, images: Tensor) -> Tensor:
        """Cut images (N, C, H, W) into patches (N, P, C * patch * patch), row by row, with the encoder's padding."""
        size = self.encoder.patch_size
        images = F.pad(images, (0, -images.shape[3] % size, 0, -images.shape[2] % size))
        return F.unfold(images, size, stride=size).transpose(1, 2)


def normalised(patches: Tensor) -> Tensor:
    """Normalise each patch (N, P, D) to mean 0 and standard deviation 1."""
    mean, var = patches.mean(2, keepdim=True), patches.var(2, keepdim=True)
    return (patches - mean) / (var + 1e-6).sqrt()

"""What SimCLR, BYOL, SimSiam, VICReg, Barlow Twins and DINO share: two views have the same embedding."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodia.perception import Obs, SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.scores.collapse import effective_rank, sphere_std
from embodia.perception.self_supervision.views import Views


class Head(nn.Sequential):
    """Layers that stay in float32 under autocast: losses at low temperatures need more digits than bfloat16 has."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def projector(inputs: int, widths: Sequence[int], norm_last: bool = False) -> Head:
    """Linear, BatchNorm and ReLU per hidden width, then a linear layer; with `norm_last` a BatchNorm without scale.

    BatchNorm is right here, unlike in an encoder that acts: the projector is thrown away after training.
    """
    layers: list[nn.Module] = []
    for width in widths[:-1]:
        layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    layers.append(nn.Linear(inputs, widths[-1], bias=not norm_last))
    return Head(*layers, *([nn.BatchNorm1d(widths[-1], affine=False)] if norm_last else []))


class Embedder(nn.Module):
    """Pictures (N, C, H, W) to embeddings (N, D): an encoder and what stands on it; what a teacher copies."""

    def __init__(self, encoder: ImageEncoder, head: nn.Module):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder.summary(images))


class JointEmbedding(SelfSupervised):
    """An image encoder under training; as an `Encoder` it gives the image encoder's tokens.

    Args:
        encoder: what is to be trained and kept.
        views: what counts as the same.
    """

    encoder: ImageEncoder

    def __init__(self, encoder: ImageEncoder, views: Views | None = None):
        super().__init__(encoder.space)
        self.encoder, self.views = encoder, views or Views()
        self.keys, self.num_tokens, self.dim = encoder.keys, encoder.num_tokens, encoder.dim

    def forward(self, obs: Obs) -> Tensor:
        return self.encoder(obs)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """batch: rows or observations, `{"obs": {...}}`; with a gap in time (T, B, ...) and `first`."""
        one, other = self.views.pair(self.encoder, batch)
        loss, representation, embedding = self.compare(one, other)
        return loss, {
            "loss": loss.detach(),
            "effective_rank": effective_rank(representation),
            "embedding_std": sphere_std(embedding),
        }

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Two views (N, C, H, W) -> the scalar loss, and representation and embedding (N, D) of the first view."""
        raise NotImplementedError("compare(one, other) -> (scalar, representation, embedding)")

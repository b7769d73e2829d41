"""Base class of SimCLR, BYOL, SimSiam, VICReg, Barlow Twins and DINO, which match embeddings of two views."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodia.perception import Obs, SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.global_batch import gathered
from embodia.perception.scores.collapse import effective_rank, sphere_std
from embodia.perception.self_supervision.views import Views


class Head(nn.Sequential):
    """Sequential layers that run in float32 under autocast: losses at low temperatures need its precision."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def projector(inputs: int, widths: Sequence[int], norm_last: bool = False) -> Head:
    """Build an MLP head: Linear, BatchNorm and ReLU per hidden width, then a linear layer.

    With `norm_last`, a BatchNorm without scale and offset follows. BatchNorm is fine here, unlike in an agent's
    encoder, because the projector is discarded after training.
    """
    layers: list[nn.Module] = []
    for width in widths[:-1]:
        layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    layers.append(nn.Linear(inputs, widths[-1], bias=not norm_last))
    return Head(*layers, *([nn.BatchNorm1d(widths[-1], affine=False)] if norm_last else []))


class Embedder(nn.Module):
    """Encoder followed by a head, (N, C, H, W) -> (N, D): the module that a teacher copies."""

    def __init__(self, encoder: ImageEncoder, head: nn.Module):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder.summary(images))


class JointEmbedding(SelfSupervised):
    """Base class of methods that compare two views. As an encoder, it gives the image encoder's tokens.

    Args:
        encoder: Encoder to train.
        views: How two views of an image are made.
    """

    encoder: ImageEncoder

    def __init__(self, encoder: ImageEncoder, views: Views | None = None):
        super().__init__(encoder.space)
        self.encoder, self.views = encoder, views or Views()
        self.keys, self.num_tokens, self.dim = encoder.keys, encoder.num_tokens, encoder.dim

    def forward(self, obs: Obs) -> Tensor:
        return self.encoder(obs)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of two views, and the values to log.

        Args:
            batch: Observations under "obs", (*B, ...). With a time gap: rows (T, B, ...), and optionally "first" (T,
                B).
        """
        one, other = self.views.pair(self.encoder, batch)
        loss, representation, embedding = self.compare(one, other)
        return loss, {
            "loss": loss.detach(),
            "effective_rank": effective_rank(gathered(representation)),
            "embedding_std": sphere_std(gathered(embedding)),
        }

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compare two views (N, C, H, W).

        Returns:
            The scalar loss, and the representation and the embedding (N, D) of the first view.
        """
        raise NotImplementedError("compare(one, other) -> (scalar, representation, embedding)")

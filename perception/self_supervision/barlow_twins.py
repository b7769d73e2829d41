"""Barlow Twins: make the cross-correlation of two views the identity (Zbontar et al. 2021)."""

import torch
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.global_batch import gathered
from embodia.perception.self_supervision.joint_embedding import JointEmbedding, projector
from embodia.perception.self_supervision.views import Views


def barlow_loss(one: Tensor, other: Tensor, redundancy: float) -> Tensor:
    """Barlow Twins loss, sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2, where C is the cross-correlation.

    Args:
        one: Embeddings of the first views (N, D).
        other: Embeddings of the second views (N, D).
        redundancy: Weight of the off-diagonal terms.

    Source:
        Zbontar et al. 2021, equations 1 and 2.
    """
    one, other = ((z - z.mean(0)) / (z.std(0, unbiased=False) + 1e-5) for z in (one, other))
    correlation = one.T @ other / len(one)
    off_target = (correlation - torch.eye(len(correlation), device=one.device)).square()
    agree = off_target.diagonal().sum()
    return agree + redundancy * (off_target.sum() - agree)


class BarlowTwins(JointEmbedding):
    """Barlow Twins: each dimension correlates with itself across views and with no other dimension.

    Args:
        encoder: Encoder to train.
        views: How two views of an image are made.
        widths: Widths of the projector's layers.
        redundancy: Weight of the off-diagonal correlations.
        scale: Factor on the loss, as in the authors' code, because the loss grows with the dimension.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        views: Views | None = None,
        widths: tuple[int, ...] = (512, 512),
        redundancy: float = 5e-3,
        scale: float = 1 / 32,
    ):
        super().__init__(encoder, views)
        self.projector = projector(encoder.dim, widths)
        self.redundancy, self.scale = redundancy, scale

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h1, h2 = self.encoder.summary(one), self.encoder.summary(other)
        z1, z2 = self.projector(h1), self.projector(h2)
        return self.scale * barlow_loss(gathered(z1), gathered(z2), self.redundancy), h1, z1

"""VICReg: invariance between views, variance of each dimension, decorrelation (Bardes, Ponce & LeCun 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.global_batch import gathered, own_rows
from embodia.perception.self_supervision.joint_embedding import JointEmbedding, projector
from embodia.perception.self_supervision.views import Views


def variance(z: Tensor, least: float = 1.0) -> Tensor:
    """Variance term of embeddings z (N, D): mean hinge of the standard deviations below `least` (equation 1)."""
    return F.relu(least - (z.var(0) + 1e-4).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """Covariance term of embeddings z (N, D): squared off-diagonal covariances, summed, over D (equations 3 and 4)."""
    centred = z - z.mean(0)
    matrix = centred.T @ centred / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]


class VICReg(JointEmbedding):
    """Invariance, variance and covariance terms with the paper's weights.

    Args:
        encoder: Encoder to train.
        views: How two views of an image are made.
        widths: Widths of the expander's layers.
        weights: Weights of the invariance, variance and covariance terms.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        views: Views | None = None,
        widths: tuple[int, ...] = (512, 512),
        weights: tuple[float, float, float] = (25.0, 25.0, 1.0),
    ):
        super().__init__(encoder, views)
        self.projector = projector(encoder.dim, widths)
        self.weights = weights

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h1, h2 = self.encoder.summary(one), self.encoder.summary(other)
        z1, z2 = gathered(self.projector(h1)), gathered(self.projector(h2))
        invariance, spread, decorrelation = self.weights
        loss = invariance * F.mse_loss(z1, z2)
        loss = loss + spread * torch.stack([variance(z1), variance(z2)]).mean()
        return loss + decorrelation * (covariance(z1) + covariance(z2)), h1, own_rows(z1)

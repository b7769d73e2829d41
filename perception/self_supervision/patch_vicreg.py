"""VICReg at every patch: the local criterion of VICRegL (Bardes, Ponce & LeCun 2022), without an expander.

Each patch agrees with itself in the other view, varies over the batch, and no two of its dimensions say the same. With
views a moment apart in time patches learn what changes slowly: where things are.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.joint_embedding import JointEmbedding
from embodia.perception.self_supervision.views import Views


class PatchVICReg(JointEmbedding):
    """VICReg on the tokens themselves; views must show the same places (time or colour, no crops).

    Without an expander, decorrelation weighs little: at full weight every further dimension must change faster.

    Args:
        encoder: is trained and kept.
        views: what counts as the same picture.
        weights: of invariance, variance and covariance.

    Raises:
        ValueError: where views move pictures.
    """

    positives = "temporal"
    """What counts as the same picture, unless somebody says otherwise."""

    def __init__(self, encoder: ImageEncoder, views: Views, weights: tuple[float, float, float] = (25.0, 25.0, 0.05)):
        super().__init__(encoder, views)
        if (changed := views.augmentation) is not None and changed != still(changed):
            raise ValueError(
                "patches are compared in the same place: --positives temporal, or without moving pictures: "
                "--views.augmentation.scale 1 1 --views.augmentation.flip 0"
            )
        self.weights = weights

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z1, z2 = self.encoder.encode(one), self.encoder.encode(other)  # (N, P, D)
        invariance, spread, decorrelation = self.weights
        loss = invariance * F.mse_loss(z1, z2)
        for z in (z1, z2):
            loss = loss + spread * F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2
            loss = loss + decorrelation * covariance(z)
        return loss, z1.mean(1), z1.mean(1)


def still(augmentation: Augmentation) -> Augmentation:
    """The same, every picture staying in its place."""
    return replace(augmentation, scale=(1.0, 1.0), shift=0.0, rotation=0.0, flip=0.0)


def covariance(z: Tensor) -> Tensor:
    """Sum of squared off-diagonal covariances over D, the patches' mean; z (N, P, D)."""
    centred = z - z.mean(0)
    matrix = torch.einsum("npd,npe->pde", centred, centred) / (len(z) - 1)
    off_diagonal = matrix.square().sum((-2, -1)) - matrix.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return off_diagonal.mean() / z.shape[-1]

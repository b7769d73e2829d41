"""VICReg at every patch: the local criterion of VICRegL without an expander (Bardes, Ponce & LeCun 2022).

Each patch matches the same patch of the other view, its features vary over the batch, and their dimensions are
decorrelated. With views a moment apart in time, patches learn what changes slowly: the positions of things.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.global_batch import gathered, own_rows
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.perception.self_supervision.joint_embedding import JointEmbedding
from embodia.perception.self_supervision.views import Views


class PatchVICReg(JointEmbedding):
    """VICReg on the tokens themselves. Both views must show the same places (time or colour changes, no crops).

    Without an expander the weight of decorrelation must be small: at full weight, every further dimension has to change
    faster.

    Args:
        encoder: Encoder to train.
        views: How two views of an image are made.
        weights: Weights of the invariance, variance and covariance terms.

    Raises:
        ValueError: If the augmentation moves images.
    """

    positives = "temporal"
    """Default way of making views."""

    def __init__(self, encoder: ImageEncoder, views: Views, weights: tuple[float, float, float] = (25.0, 25.0, 0.05)):
        super().__init__(encoder, views)
        if (changed := views.augmentation) is not None and changed != still(changed):
            raise ValueError(
                "patches are compared at the same location, so views must not move the image: choose --positives "
                "temporal, or --views.augmentation.scale 1 1 --views.augmentation.flip 0"
            )
        self.weights = weights

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z1, z2 = gathered(self.encoder.encode(one)), gathered(self.encoder.encode(other))  # (N, P, D)
        invariance, spread, decorrelation = self.weights
        loss = invariance * F.mse_loss(z1, z2)
        for z in (z1, z2):
            loss = loss + spread * F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean() / 2
            loss = loss + decorrelation * covariance(z)
        embedding = own_rows(z1).mean(1)
        return loss, embedding, embedding


def still(augmentation: Augmentation) -> Augmentation:
    """Return the augmentation without its geometric changes."""
    return replace(augmentation, scale=(1.0, 1.0), shift=0.0, rotation=0.0, flip=0.0)


def covariance(z: Tensor) -> Tensor:
    """Covariance term of embeddings z (N, P, D), averaged over patches: squared off-diagonal covariances over D."""
    centred = z - z.mean(0)
    matrix = torch.einsum("npd,npe->pde", centred, centred) / (len(z) - 1)
    off_diagonal = matrix.square().sum((-2, -1)) - matrix.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return off_diagonal.mean() / z.shape[-1]

"""SimCLR: contrast two views of an image with all other images of the batch (Chen et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.global_batch import gathered
from embodia.perception.self_supervision.joint_embedding import JointEmbedding, projector
from embodia.perception.self_supervision.views import Views


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy (NT-Xent).

    Args:
        one: Embeddings of the first views (N, D).
        other: Embeddings of the second views (N, D).
        temperature: Temperature of the softmax.

    Source:
        Chen et al. 2020, section 2.1, equation 1.
    """
    n = len(one)
    z = F.normalize(torch.cat([one, other]), dim=1)
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similarity, partner)


class SimCLR(JointEmbedding):
    """Contrast of two views of an image against all other images of the batch.

    Args:
        encoder: Encoder to train.
        views: How two views of an image are made.
        widths: Widths of the projector's layers.
        temperature: Temperature of the contrastive loss.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        views: Views | None = None,
        widths: tuple[int, ...] = (256, 128),
        temperature: float = 0.2,
    ):
        super().__init__(encoder, views)
        self.projector = projector(encoder.dim, widths)
        self.temperature = temperature

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h1, h2 = self.encoder.summary(one), self.encoder.summary(other)
        z1, z2 = self.projector(h1), self.projector(h2)
        return nt_xent(gathered(z1), gathered(z2), self.temperature), h1, z1

"""SimCLR: a view is nearer to the other view of its picture than to any other picture (Chen et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.joint_embedding import JointEmbedding, projector
from embodia.perception.self_supervision.views import Views


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy of two views (N, D) of N pictures (section 2.1, equation 1)."""
    n = len(one)
    z = F.normalize(torch.cat([one, other]), dim=1)
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similarity, partner)


class SimCLR(JointEmbedding):
    """Contrast of two views against all other pictures of the batch.

    Args:
        encoder: is trained and kept.
        views: what counts as the same picture.
        widths: of the projector's layers.
        temperature: of the contrast.
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
        return nt_xent(z1, z2, self.temperature), h1, z1

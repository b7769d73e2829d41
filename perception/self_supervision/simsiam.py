"""SimSiam: one view predicts the other with a stopped gradient, without negatives or a teacher (Chen & He 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.joint_embedding import JointEmbedding, projector
from embodia.perception.self_supervision.views import Views


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """SimSiam loss of predictions p and targets z (N, D): the mean of -cos(p, z) (equation 1)."""
    return -F.cosine_similarity(p, z, dim=1).mean()


class SimSiam(JointEmbedding):
    """Symmetric prediction between two views (equation 4).

    The predictor's learning rate stays constant, as in the paper, so that it can follow the representation to the end.

    Args:
        encoder: Encoder to train.
        views: How two views of an image are made.
        widths: Widths of the projector's layers.
        bottleneck: Width of the predictor's hidden layer.
        stop_gradient: Stop the target's gradient. Without it the method collapses.
        predict: Use a predictor. Without it the method collapses.
        predictor_rate: Learning rate of the predictor relative to the other layers: the paper's 1 with SGD; use 10 with
            AdamW (see BYOL).
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        views: Views | None = None,
        widths: tuple[int, ...] = (256, 128),
        bottleneck: int = 64,
        stop_gradient: bool = True,
        predict: bool = True,
        predictor_rate: float = 1.0,
    ):
        super().__init__(encoder, views)
        self.projector = projector(encoder.dim, widths, norm_last=True)
        self.predictor: nn.Module = projector(widths[-1], (bottleneck, widths[-1])) if predict else nn.Identity()
        self.stop_gradient = stop_gradient
        self.steady = {"predictor": predictor_rate}

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h1, h2 = self.encoder.summary(one), self.encoder.summary(other)
        z1, z2 = self.projector(h1), self.projector(h2)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        target1, target2 = (z1.detach(), z2.detach()) if self.stop_gradient else (z1, z2)
        return (negative_cosine(p1, target2) + negative_cosine(p2, target1)) / 2, h1, z1

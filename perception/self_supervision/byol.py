"""BYOL: predict what a slowly following teacher makes of the other view; no negatives (Grill et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.joint_embedding import Embedder, JointEmbedding, projector
from embodia.perception.self_supervision.teacher import Teacher
from embodia.perception.self_supervision.views import Views


def regression(p: Tensor, z: Tensor) -> Tensor:
    """2 - 2 cos(p, z), mean over (N, D) (equation 2)."""
    return 2 - 2 * F.cosine_similarity(p, z, dim=1).mean()


class BYOL(JointEmbedding):
    """Online encoder, projector and predictor against an exponential moving average of encoder and projector.

    Two things of its successors keep a small network from the one or two dimensions that are easiest to predict, onto
    which it falls within 100 updates otherwise: a BatchNorm ends the projector (Chen, Xie & He 2021, MoCo v3), and the
    predictor learns `predictor_rate` times as fast, so that it is near optimal for what it predicts (section 5).

    Args:
        encoder: is trained and kept.
        views: what counts as the same picture.
        widths: of the projector's layers.
        hidden: width of the predictor's hidden layer.
        momentum: of the teacher at the start; it rises to 1. The paper's 0.99 and 0.996 are for a hundred times the
            updates.
        steps: updates of the whole training; 0 keeps the momentum.
        predict: without a predictor (and momentum 0) it collapses.
        predictor_rate: learning rate of the predictor, in those of the rest.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        views: Views | None = None,
        widths: tuple[int, ...] = (512, 128),
        hidden: int = 512,
        momentum: float = 0.99,
        steps: int = 0,
        predict: bool = True,
        predictor_rate: float = 10.0,
    ):
        super().__init__(encoder, views)
        self.projector = projector(encoder.dim, widths, norm_last=True)
        self.predictor: nn.Module = projector(widths[-1], (hidden, widths[-1])) if predict else nn.Identity()
        self.teacher = Teacher(Embedder(encoder, self.projector), momentum, steps)
        self.steady = {"predictor": predictor_rate}

    def compare(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h1 = self.encoder.summary(one)
        z1, z2 = self.projector(h1), self.projector(self.encoder.summary(other))
        with torch.no_grad():
            t1, t2 = self.teacher.module(one), self.teacher.module(other)
        return regression(self.predictor(z1), t2) + regression(self.predictor(z2), t1), h1, z1

    def after_update(self) -> None:
        self.teacher.follow(Embedder(self.encoder, self.projector))

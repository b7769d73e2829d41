"""BYOL: predict a momentum teacher's embedding of the other view, without negatives (Grill et al. 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.joint_embedding import Embedder, JointEmbedding, projector
from embodia.perception.self_supervision.teacher import Teacher
from embodia.perception.self_supervision.views import Views


def regression(p: Tensor, z: Tensor) -> Tensor:
    """BYOL loss of predictions p and targets z (N, D): the mean of 2 - 2 cos(p, z) (equation 2)."""
    return 2 - 2 * F.cosine_similarity(p, z, dim=1).mean()


class BYOL(JointEmbedding):
    """Online encoder, projector and predictor, trained against a momentum teacher of encoder and projector.

    A small network collapses to one or two easily predicted dimensions within 100 updates. Two later additions prevent
    this: a BatchNorm at the end of the projector (Chen, Xie & He 2021, MoCo v3), and a predictor with `predictor_rate`
    times the learning rate, which stays near its optimum (section 5).

    Args:
        encoder: Encoder to train.
        views: How two views of an image are made.
        widths: Widths of the projector's layers.
        hidden: Width of the predictor's hidden layer.
        momentum: Initial momentum of the teacher; it rises to 1. The paper's 0.99 and 0.996 are for a hundred times as
            many updates.
        steps: Number of updates of the whole training, over which the momentum rises; 0 keeps it constant.
        predict: Use a predictor. Without a predictor and with momentum 0 the method collapses.
        predictor_rate: Learning rate of the predictor relative to the other layers.
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

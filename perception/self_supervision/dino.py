"""DINO: a student that sees little matches a teacher that sees much (Caron et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception import Encoder
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.scores.collapse import effective_rank, sphere_std
from embodia.perception.self_supervision.joint_embedding import Embedder, JointEmbedding
from embodia.perception.self_supervision.teacher import Teacher
from embodia.perception.self_supervision.views import Views


@dataclass(frozen=True)
class DINOConfig:
    """DINO (Caron et al. 2021, section 3 and table 7)."""

    prototypes: int = 1024
    """Outputs of the head (K)."""
    hidden: int = 256
    """Width of the head's layers."""
    bottleneck: int = 64
    """Width before the prototypes, where vectors have length 1."""
    batch_norm: bool = False
    """In the head's hidden layers: needed behind a ConvNet, whose mean features are all positive and much alike."""
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    centre_momentum: float = 0.9
    centring: Literal["mean", "sinkhorn", "off"] = "mean"
    """mean: of past batches. sinkhorn: each prototype takes an equal share of the batch (SK in table 7; Caron et al.
    2020). Under strong changes the mean lets all fall onto the one dimension easiest to predict; equal shares keep
    several. off: one prototype comes to take everything."""
    momentum: float = 0.996
    """Of the teacher, rising to 1 over `steps` updates."""
    steps: int = 0
    """Updates of the whole training; 0 keeps the momentum."""
    local_crops: int = 2
    """Small views beside the two large ones; only the student sees them."""
    local_scale: tuple[float, float] = (0.25, 0.55)
    """Side of a small view, in sides of the picture."""
    local_size: int | None = None
    """Pixels of a small view; None keeps the picture's size, which encoders of one size need."""
    frozen_updates: int = 100
    """Updates at the start in which the prototypes stand still."""


class DINOHead(nn.Module):
    """MLP, length 1, and cosine similarities to K prototypes, (N, D) -> (N, K)."""

    frozen = False
    """Whether the prototypes take no gradient."""

    def __init__(self, inputs: int, config: DINOConfig):
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, config.hidden):
            layers += [nn.Linear(width, config.hidden)]
            layers += [nn.BatchNorm1d(config.hidden)] if config.batch_norm else []
            layers += [nn.GELU()]
        layers += [nn.Linear(config.hidden, config.bottleneck)]
        layers += [nn.BatchNorm1d(config.bottleneck, affine=False)] if config.batch_norm else []
        self.mlp = nn.Sequential(*layers)
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, config.bottleneck))

    def forward(self, x: Tensor) -> Tensor:
        prototypes = self.prototypes.detach() if self.frozen else self.prototypes
        with torch.autocast(x.device.type, enabled=False):  # cosines at a temperature of 0.04 need their digits
            return F.normalize(self.mlp(x.float()), dim=1) @ F.normalize(prototypes, dim=1).T


class DINO(JointEmbedding):
    """Self-distillation without labels. The teacher's encoder is kept (figure 6: it is the better one).

    In a few hundred updates it lags behind the student instead.

    With a gap in time the first large view is of frame t, the second of frame t + gap, small ones of frame t.
    """

    centre: Tensor
    crops = True
    """Its views have to be changed by an augmentation: small crops are cut."""

    def __init__(
        self, encoder: ImageEncoder, views: Views | None = None, config: DINOConfig | None = None, steps: int = 0
    ):
        """`steps` stands for `config.steps` where this is 0."""
        super().__init__(encoder, views)
        if self.views.augmentation is None:
            raise ValueError("DINO crops its views: give views an augmentation")
        self.config = config or DINOConfig()
        self.head = DINOHead(encoder.dim, self.config)
        self.teacher = Teacher(Embedder(encoder, self.head), self.config.momentum, self.config.steps or steps)
        self.register_buffer("centre", torch.zeros(self.config.prototypes))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        source, later = self.views.sources(self.encoder, batch)
        large = [self.views.change(source), self.views.change(later)]
        small = [self._small(source) for _ in range(self.config.local_crops)]
        self.head.frozen = self.teacher.steps_taken.item() < self.config.frozen_updates
        representations = [self.encoder.summary(view) for view in (*large, *small)]
        scores = [self.head(h) for h in representations]
        logits = self._teacher_scores(large)
        targets = [self.sharpened(one) for one in logits]
        loss = distillation(targets, scores, self.config.student_temperature)
        self._move_centre(torch.cat(logits))
        entropy = torch.special.entr(torch.cat(targets)).sum(1).mean()
        return loss, {
            "loss": loss.detach(),
            "effective_rank": effective_rank(representations[0]),
            "embedding_std": sphere_std(scores[0]),
            "teacher_entropy": entropy,  # 0: one prototype each; log K: all alike
            "kl_to_uniform": torch.tensor(float(self.config.prototypes)).log() - entropy,
        }

    @property
    def kept(self) -> Encoder:
        """The teacher's encoder."""
        embedder = self.teacher.module
        assert isinstance(embedder, Embedder)
        return embedder.encoder

    def _small(self, images: Tensor) -> Tensor:
        assert self.views.augmentation is not None
        crop = replace(self.views.augmentation, scale=self.config.local_scale)
        return crop(images, self.config.local_size)

    @torch.no_grad()
    def _teacher_scores(self, large: list[Tensor]) -> list[Tensor]:
        return [self.teacher.module(view) for view in large]

    def sharpened(self, scores: Tensor) -> Tensor:
        """The teacher's distribution (N, K): at a low temperature, and centred."""
        if self.config.centring == "sinkhorn":
            return sinkhorn(scores / self.config.teacher_temperature)
        centre = self.centre if self.config.centring == "mean" else torch.zeros_like(self.centre)
        return ((scores - centre) / self.config.teacher_temperature).softmax(1)

    @torch.no_grad()
    def _move_centre(self, scores: Tensor) -> None:
        """Towards the mean of this batch, after the loss (equation 4)."""
        self.centre.lerp_(scores.mean(0), 1 - self.config.centre_momentum)

    def after_update(self) -> None:
        self.teacher.follow(Embedder(self.encoder, self.head))


def sinkhorn(logits: Tensor, rounds: int = 3) -> Tensor:
    """(N, K) -> distributions (N, K) of which each of the K has about N / K in all, near the softmax of the logits.

    Columns and rows are normalised in turn, rows last (Cuturi 2013).
    """
    for _ in range(rounds):
        logits = logits - logits.logsumexp(0, keepdim=True)
        logits = logits.log_softmax(1)
    return logits.exp()


def distillation(targets: list[Tensor], scores: list[Tensor], temperature: float) -> Tensor:
    """Mean cross entropy of every target (N, K) with every other view's scores (N, K) (equation 3)."""
    terms = [
        -(target * (score / temperature).log_softmax(1)).sum(1).mean()
        for i, target in enumerate(targets)
        for j, score in enumerate(scores)
        if i != j
    ]
    return torch.stack(terms).mean()

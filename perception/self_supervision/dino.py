"""DINO: a student matches a teacher's output across large and small crops (Caron et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception import Encoder
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.global_batch import gathered, own_rows
from embodia.perception.scores.collapse import effective_rank, sphere_std
from embodia.perception.self_supervision.joint_embedding import Embedder, JointEmbedding
from embodia.perception.self_supervision.teacher import Teacher
from embodia.perception.self_supervision.views import Views


@dataclass(frozen=True)
class DINOConfig:
    """DINO (Caron et al. 2021, section 3 and table 7)."""

    prototypes: int = 1024
    """Number of prototypes, the outputs of the head (K)."""
    hidden: int = 256
    """Width of the head's hidden layers."""
    bottleneck: int = 64
    """Width of the normalised layer before the prototypes."""
    batch_norm: bool = False
    """Use BatchNorm in the head. ConvNet needs it, because its mean features are all positive and very similar."""
    student_temperature: float = 0.1
    """Temperature of the student's softmax."""
    teacher_temperature: float = 0.04
    """Temperature of the teacher's softmax."""
    centre_momentum: float = 0.9
    """Momentum of the centre, the running mean of the teacher's outputs."""
    centring: Literal["mean", "sinkhorn", "off"] = "mean"
    """How to keep the teacher from collapsing. mean: subtract the mean of past batches. sinkhorn: give each prototype
    an equal share of the batch (SK in table 7; Caron et al. 2020). off: no centring; one prototype then wins
    everywhere. Under strong augmentation, mean collapses to the dimension that is easiest to predict, and sinkhorn
    keeps several.
    """
    momentum: float = 0.996
    """Initial momentum of the teacher, which rises to 1 over `steps` updates."""
    steps: int = 0
    """Number of updates of the whole training; 0 keeps the momentum constant."""
    local_crops: int = 2
    """Number of small crops besides the two large ones. Only the student sees them."""
    local_scale: tuple[float, float] = (0.25, 0.55)
    """Range of a small crop's side, as a fraction of the image's side."""
    local_size: int | None = None
    """Side of a small crop [pixels]. None keeps the image's size, as encoders with a fixed input size require."""
    frozen_updates: int = 100
    """Number of initial updates with frozen prototypes."""


class DINOHead(nn.Module):
    """MLP, L2 normalisation and cosine similarity to K prototypes, (N, D) -> (N, K)."""

    frozen = False
    """Whether the prototypes receive no gradient."""

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
        with torch.autocast(x.device.type, enabled=False):  # a temperature of 0.04 needs float32 cosines
            return F.normalize(self.mlp(x.float()), dim=1) @ F.normalize(prototypes, dim=1).T


class DINO(JointEmbedding):
    """Self-distillation without labels. The teacher's encoder is saved, because it performs better (figure 6).

    In runs of a few hundred updates the teacher still lags behind the student. With a time gap, the first large crop is
    of frame t, the second of frame t + gap, and the small crops are of frame t.

    Args:
        encoder: Encoder to train.
        views: How views are made; it needs an augmentation, which crops.
        config: Configuration of the method.
        steps: Number of updates of the whole training, used if `config.steps` is 0.

    Raises:
        ValueError: If `views` has no augmentation.
    """

    centre: Tensor
    crops = True
    """Whether the views need an augmentation; the small crops do."""

    def __init__(
        self, encoder: ImageEncoder, views: Views | None = None, config: DINOConfig | None = None, steps: int = 0
    ):
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
            "effective_rank": effective_rank(gathered(representations[0])),
            "embedding_std": sphere_std(gathered(scores[0])),
            "teacher_entropy": entropy,  # from 0 (one prototype per image) to log K (uniform)
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
            return own_rows(sinkhorn(gathered(scores) / self.config.teacher_temperature))
        centre = self.centre if self.config.centring == "mean" else torch.zeros_like(self.centre)
        return ((scores - centre) / self.config.teacher_temperature).softmax(1)

    @torch.no_grad()
    def _move_centre(self, scores: Tensor) -> None:
        """Update the centre with the batch mean, after the loss (equation 4)."""
        self.centre.lerp_(gathered(scores).mean(0), 1 - self.config.centre_momentum)

    def after_update(self) -> None:
        self.teacher.follow(Embedder(self.encoder, self.head))


def sinkhorn(logits: Tensor, rounds: int = 3) -> Tensor:
    """Turn logits (N, K) into distributions (N, K) in which each of the K classes has a total mass of about N / K.

    Columns and rows are normalised in turn, rows last.

    Source:
        Cuturi 2013.
    """
    for _ in range(rounds):
        logits = logits - logits.logsumexp(0, keepdim=True)
        logits = logits.log_softmax(1)
    return logits.exp()


def distillation(targets: list[Tensor], scores: list[Tensor], temperature: float) -> Tensor:
    """DINO loss: the mean cross entropy between every target and the scores of every other view (equation 3).

    Args:
        targets: The teacher's distributions, one (N, K) for each large crop.
        scores: The student's logits, one (N, K) for each crop, large ones first.
        temperature: Temperature of the student's softmax.
    """
    terms = [
        -(target * (score / temperature).log_softmax(1)).sum(1).mean()
        for i, target in enumerate(targets)
        for j, score in enumerate(scores)
        if i != j
    ]
    return torch.stack(terms).mean()

"""Prediction of a set at once, with a loss after Hungarian matching (DETR, Carion et al. 2020)."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.structured.sets import Elements, Predictor
from embodia.perception.structured.sets.hungarian import match, of_matched

POINT = 5.0
"""Weight of points in the matching cost and in the loss."""


class SetPredictor(Predictor):
    """Learned queries look at the image together; each gives one element or none.

    Args:
        encoder: Encodes an image to tokens.
        classes: Number of classes K.
        most: Number of queries.
        dimensions: Dimensions D of points.
        layers: Number of decoder layers.
        heads: Number of attention heads.
        nothing: Weight of queries without an element in the loss.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        most: int = 10,
        dimensions: int = 2,
        layers: int = 2,
        heads: int = 4,
        nothing: float = 0.3,
    ):
        super().__init__(encoder, classes, most, dimensions)
        dim = encoder.dim
        self.nothing = nothing
        self.queries = nn.Parameter(torch.randn(most, dim))
        layer = nn.TransformerDecoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(dim))
        self.label, self.value = nn.Linear(dim, classes + 1), nn.Linear(dim, dimensions)

    def predict(self, obs: Obs) -> tuple[Tensor, Tensor]:
        """Return the logits (N, Q, K + 1), the last one for no element, and the points (N, Q, D)."""
        tokens = self.tokens(obs)
        found = self.decoder(self.queries.expand(len(tokens), -1, -1), tokens)
        return self.label(found), self.value(found).sigmoid()

    @torch.no_grad()
    def forward(self, obs: Obs) -> list[Elements]:
        logits, values = self.predict(obs)
        labels = logits.argmax(-1)
        return [Elements(label[there], value[there])
                for label, value, there in zip(labels, values, labels < self.classes)]  # fmt: skip

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        self.check(batch["labels"], batch["values"])
        return set_loss(*self.predict(batch["obs"]), batch["labels"], batch["values"], self.nothing)


def set_loss(
    logits: Tensor, values: Tensor, true_labels: Tensor, true_values: Tensor, nothing: float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of predictions after matching. It does not depend on the order of the true elements.

    Args:
        logits: (N, Q, K + 1), the last for no element.
        values: (N, Q, D).
        true_labels: (N, M), padded with -1.
        true_values: (N, M, D).
        nothing: Weight of predictions without an element.
    """
    none, real = logits.shape[-1] - 1, true_labels >= 0
    chance = logits.detach().softmax(-1).gather(-1, true_labels.clamp(min=0)[:, None].expand(-1, logits.shape[1], -1))
    apart = (values.detach()[:, :, None] - true_values[:, None]).abs().sum(-1)
    matched = match(POINT * apart - chance, real)
    there = matched >= 0
    wanted = torch.where(there, of_matched(true_labels, matched), none)
    weight = torch.where(there, 1.0, nothing)
    named = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    label_loss = (weight * named).sum() / weight.sum()
    distance = (values - of_matched(true_values, matched)).abs().sum(-1)
    value_loss = POINT * (distance * there).sum() / there.sum().clamp(min=1)
    return label_loss + value_loss, {"label_loss": label_loss, "value_loss": value_loss}

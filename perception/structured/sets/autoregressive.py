"""Prediction of a set element by element, as a sequence of tokens (Chen et al. 2022, Pix2seq), by teacher forcing.

A sequence needs an order, and the order matters (Vinyals, Bengio & Kudlur 2016): sorted elements are easier to predict
than elements in random order, where each of those left could be next.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception import Encoder, Obs
from embodia.perception.structured.sets import Elements, Predictor

Order = Literal["sorted", "random"]
IGNORE = -100


class AutoregressivePredictor(Predictor):
    """A causal transformer that looks at the image. An element is D tokens of its point, then one of its class.

    Args:
        encoder: Encodes an image to tokens.
        classes: Number of classes K.
        most: Largest number of elements.
        dimensions: Dimensions D of points.
        bins: Number of values that a coordinate can take.
        order: Order of elements in training: "sorted" by the first coordinate, or "random", anew in each batch.
        layers: Number of decoder layers.
        heads: Number of attention heads.
    """

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        most: int = 10,
        dimensions: int = 2,
        bins: int = 24,
        order: Order = "sorted",
        layers: int = 2,
        heads: int = 4,
    ):
        super().__init__(encoder, classes, most, dimensions)
        dim = encoder.dim
        self.bins, self.order, self.span = bins, order, dimensions + 1
        self.end = bins + classes  # tokens: coordinates, classes, end (which also starts a sequence)
        self.length = most * self.span + 1
        self.embed = nn.Embedding(bins + classes + 1, dim)
        self.position = nn.Parameter(0.02 * torch.randn(self.length, dim))
        layer = nn.TransformerDecoderLayer(dim, heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers, nn.LayerNorm(dim))
        self.leave = nn.Linear(dim, bins + classes + 1)
        self.register_buffer("allowed", self._grammar(), persistent=False)

    allowed: Tensor

    def _grammar(self) -> Tensor:
        """Return which tokens (length, vocabulary) may stand where."""
        token, place = torch.arange(self.end + 1), torch.arange(self.length)[:, None] % self.span
        coordinate = (token < self.bins) & (place < self.dimensions)
        label = (token >= self.bins) & (token < self.end) & (place == self.dimensions)
        allowed = coordinate | label | ((token == self.end) & (place == 0))
        allowed[-1] = token == self.end
        return allowed

    def logits(self, tokens: Tensor, before: Tensor) -> Tensor:
        """Return the logits (N, T, vocabulary) of each next token.

        Args:
            tokens: Of the image (N, L, dim).
            before: Tokens (N, T) before each, the first one `end`.
        """
        time = before.shape[1]
        causal = nn.Transformer.generate_square_subsequent_mask(time, device=tokens.device)
        x = self.embed(before) + self.position[:time]
        scores = self.leave(self.decoder(x, tokens, tgt_mask=causal, tgt_is_causal=True))
        return scores.masked_fill(~self.allowed[:time], -torch.inf)

    def sequences(self, labels: Tensor, values: Tensor) -> Tensor:
        """Return the tokens (N, length) of sets in the model's order, padded with IGNORE after the end."""
        n, m = labels.shape
        key = values[..., 0] if self.order == "sorted" else torch.rand(n, m, device=labels.device)
        ranked = key.masked_fill(labels < 0, torch.inf).argsort(1)
        labels = labels.gather(1, ranked)
        values = values.gather(1, ranked[..., None].expand_as(values))
        coordinates = (values * self.bins).long().clamp(0, self.bins - 1)
        elements = torch.cat([coordinates, (labels + self.bins)[..., None]], -1)
        elements = elements.masked_fill((labels < 0)[..., None], IGNORE).flatten(1)
        tokens = F.pad(elements, (0, 1), value=IGNORE)
        tokens = tokens.scatter(1, self.span * (labels >= 0).sum(1, keepdim=True), self.end)
        return F.pad(tokens, (0, self.length - tokens.shape[1]), value=IGNORE)[:, : self.length]

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        self.check(batch["labels"], batch["values"])
        wanted = self.sequences(batch["labels"], batch["values"])
        before = F.pad(wanted[:, :-1], (1, 0), value=self.end).clamp(min=0)
        logits = self.logits(self.tokens(batch["obs"]), before)
        loss = F.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=IGNORE)
        return loss, {"nats": loss}

    @torch.no_grad()
    def forward(self, obs: Obs) -> list[Elements]:
        """Decode greedily."""
        tokens = self.tokens(obs)
        before = torch.full((len(tokens), 1), self.end, device=tokens.device)
        while before.shape[1] <= self.length:
            following = self.logits(tokens, before)[:, -1:].argmax(-1)
            before = torch.cat([before, following], 1)
            if (before[:, 1:] == self.end).any(1).all():
                break
        return [self._elements(each) for each in before[:, 1:]]

    def _elements(self, sequence: Tensor) -> Elements:
        """Return the elements before the end of a sequence (T,)."""
        length = int((sequence == self.end).long().argmax())
        rows = sequence[:length].reshape(-1, self.span)
        return Elements(rows[:, -1] - self.bins, (rows[:, :-1] + 0.5) / self.bins)

"""Sets: one-to-one matching of predictions and truths, and predictors of sets, at once or element by element.

This module defines the contract of the folder. An element has a class and a point, as shares of the image. Predictors
are learners: `agents.training.fit` trains them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from embodia.perception import Encoder, Obs


class Elements(NamedTuple):
    """The set of one image."""

    labels: Tensor  # (n,) int64 classes
    values: Tensor  # (n, D) points, 0 to 1


class BadSet(ValueError):
    """A set cannot be learned; the message says why."""


class Predictor(nn.Module):
    """Base class of predictors of sets from images.

    Args:
        encoder: Encodes an image to tokens; trained with the predictor.
        classes: Number of classes K.
        most: Largest number of elements.
        dimensions: Dimensions D of points.
    """

    def __init__(self, encoder: Encoder, classes: int, most: int, dimensions: int):
        super().__init__()
        self.encoder, self.classes, self.most, self.dimensions = encoder, classes, most, dimensions
        self.places = nn.Parameter(0.02 * _normal(encoder.num_tokens, encoder.dim))

    def tokens(self, obs: Obs) -> Tensor:
        """Return the tokens (N, L, dim) of images, which know their places."""
        return self.encoder(obs) + self.places

    def forward(self, obs: Obs) -> list[Elements]:
        """Return the predicted set of each of N images."""
        raise NotImplementedError("forward(obs) -> list of Elements, one per image")

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the training loss.

        Args:
            batch: "obs"; "labels" (N, M) int64, padded with -1; "values" (N, M, D).

        Raises:
            BadSet: If a label is out of range, a point is not within 0 and 1, or a set is too large.
        """
        raise NotImplementedError("loss(batch) -> (scalar, {name: scalar})")

    def check(self, labels: Tensor, values: Tensor) -> None:
        """Raise BadSet if a batch cannot be learned."""
        real = labels >= 0
        if labels.numel() and (int(labels.max()) >= self.classes or int(labels.min()) < -1):
            wrong = int(labels.max()) if int(labels.max()) >= self.classes else int(labels.min())
            raise BadSet(f"label {wrong} is out of range: classes are 0 to {self.classes - 1}, and -1 is padding")
        if not ((values[real] >= 0) & (values[real] <= 1)).all():
            raise BadSet("a point lies outside of 0 to 1; divide it by the size of the image")
        if (largest := int(real.sum(1).max())) > self.most:
            raise BadSet(f"a set has {largest} elements, but the predictor gives at most {self.most}")


def _normal(*shape: int) -> Tensor:
    return nn.init.normal_(Tensor(*shape))


__all__ = ["BadSet", "Elements", "Predictor"]

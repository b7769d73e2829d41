"""Structured outputs: chains of labels and segmentations, by structured support vector machines and random fields.

This module defines what a structured output problem is. Its score is linear in joint features, w . phi(x, y), and its
`decode` finds the structure with the highest score exactly.
"""

from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]


class Structured(Protocol):
    """A space of outputs with joint features, a loss, and exact inference."""

    size: int
    """Number of weights D."""
    nonnegative: Array
    """Weights (D,) bool that must not be negative for inference to be exact."""

    def features(self, x: Any, y: Any) -> Array:
        """Return the joint features phi(x, y), (D,)."""

    def distance(self, y: Any, other: Any) -> float:
        """Return the loss of an output `other` if the truth is `y`; 0 if they are equal."""

    def decode(self, weights: Array, x: Any, truth: Any = None) -> Any:
        """Return the output with the highest score; with `truth`, the highest sum of score and loss."""


__all__ = ["Structured"]

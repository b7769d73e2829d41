"""Denoising autoencoder: reconstruct the clean sample from a corrupted one (Vincent et al. 2008, 2010)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Corruption:
    """Noise on the input of an autoencoder in training; the target is the clean sample.

    With Gaussian noise of standard deviation s, (reconstruction - input) / s^2 estimates the score of the noised data
    (Vincent 2011).

    Args:
        kind: gaussian adds normal noise; masking sets values to 0.
        level: Standard deviation of the noise, or fraction of masked values.

    Raises:
        ValueError: If the kind is unknown, the level is negative, or a fraction of 1 or more.
    """

    kind: Literal["gaussian", "masking"] = "gaussian"
    level: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in ("gaussian", "masking"):
            raise ValueError(f"unknown corruption {self.kind}; choose gaussian or masking")
        if self.level < 0 or (self.kind == "masking" and self.level >= 1):
            raise ValueError(
                f"{self.kind} corruption cannot have a level of {self.level:g}; choose 0 or more, and below 1 for "
                "masking"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Corrupt samples (N, *event), with torch's global generator."""
        if self.kind == "gaussian":
            return x + self.level * torch.randn_like(x)
        return x * (torch.rand_like(x) >= self.level)

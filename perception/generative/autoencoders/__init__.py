"""Autoencoders: networks that compress samples to short codes and reconstruct them; and the VAE, which can be sampled.

A code is a vector. An autoencoder learns no density of the codes, so it is no generative model by itself.
"""

from typing import Protocol

from torch import Tensor


class Codec(Protocol):
    """Anything that encodes and decodes: PCA, an autoencoder, a VAE."""

    @property
    def event(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @property
    def dim(self) -> int:
        """Length of a code."""

    def encode(self, x: Tensor) -> Tensor:
        """Encode samples (N, *event) as codes (N, dim)."""

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (N, dim) to samples (N, *event)."""


def check_dim(dim: int) -> int:
    """Return the length of a code. Raises ValueError if it is not positive."""
    if dim < 1:
        raise ValueError(f"a code needs at least one dimension; dim is {dim}")
    return dim


def reconstruction_error(codec: Codec, x: Tensor) -> float:
    """Mean squared error of the reconstruction of samples x (N, *event), per value."""
    return (codec.decode(codec.encode(x)) - x).square().mean().item()


__all__ = ["Codec", "check_dim", "reconstruction_error"]

"""Autoencoder: an encoder and a decoder trained together on the squared error of the reconstruction."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from embodia.perception.generative.autoencoders import check_dim
from embodia.perception.generative.autoencoders.denoising import Corruption
from embodia.perception.scores.collapse import effective_rank


class Autoencoder(nn.Module):
    """Minimises E|x - D(E(x))|^2.

    It is a learner, but no `Generative`: nothing says which codes are probable. `code_density.py` fits a density to
    the codes of a trained autoencoder.

    Args:
        encoder: Network from samples (N, *event) to codes (N, dim).
        decoder: Network from codes (N, dim) to samples (N, *event).
        event: Shape of one sample.
        dim: Length of a code.
        corruption: Noise on the encoder's input in training, which makes it a denoising autoencoder.

    Raises:
        ValueError: If `dim` is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        event: Sequence[int],
        dim: int,
        corruption: Corruption | None = None,
    ):
        super().__init__()
        self.encoder, self.decoder, self.event, self.dim = encoder, decoder, tuple(event), check_dim(dim)
        self.corruption = corruption

    def encode(self, x: Tensor) -> Tensor:
        """Encode samples (N, *event) as codes (N, dim)."""
        return self.encoder(x)

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (N, dim) to samples (N, *event)."""
        return self.decoder(codes)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error per value; batch is `{"x": (N, *event)}`."""
        x = batch["x"]
        codes = self.encode(x if self.corruption is None else self.corruption(x))
        loss = F.mse_loss(self.decode(codes).float(), x)
        return loss, {"loss": loss.detach(), "effective_rank": effective_rank(codes)}


def linear_autoencoder(event: Sequence[int], dim: int) -> Autoencoder:
    """Build an autoencoder of one linear layer each way.

    Its best reconstruction is PCA's: the decoder's columns span the subspace of the first `dim` principal axes, though
    they need be neither orthogonal nor in order.

    Source:
        Baldi & Hornik 1989, "Neural networks and principal component analysis".
    """
    size = math.prod(event)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, check_dim(dim)))
    decoder = nn.Sequential(nn.Linear(dim, size), nn.Unflatten(1, tuple(event)))
    return Autoencoder(encoder, decoder, event, dim)

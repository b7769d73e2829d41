"""Which modes of a known mixture samples reach, and how far histograms are apart."""

import torch
from torch import Tensor


def mode_weights(x: Tensor, means: Tensor) -> Tensor:
    """Share of the samples x (N, D) nearest to each mean (K, D), (K,)."""
    nearest = torch.cdist(x, means.to(x.dtype)).argmin(1)
    return torch.bincount(nearest, minlength=len(means)) / len(x)


def near_modes(x: Tensor, means: Tensor, radius: float) -> float:
    """Share of the samples within `radius` of a mean."""
    return (torch.cdist(x, means.to(x.dtype)).amin(1) <= radius).float().mean().item()


def modes_found(x: Tensor, means: Tensor, at_least: float = 0.05) -> int:
    """Number of modes that hold at least this share of the samples."""
    return int((mode_weights(x, means) >= at_least).sum())


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the L1 distance of two histograms (K,) that each sum to 1: from 0 to 1."""
    return 0.5 * (p.double() - q.double()).abs().sum().item()

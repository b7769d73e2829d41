"""Collapse indicators of embeddings: effective rank, and standard deviation on the unit sphere."""

import torch
import torch.nn.functional as F
from torch import Tensor


def effective_rank(x: Tensor) -> Tensor:
    """Effective rank of embeddings x (N, D): exp of the entropy of the normalised covariance spectrum.

    1 if x varies along a line, D if it varies equally in all directions. NaN if x has NaN or infinite values.

    Source:
        Roy & Vetterli 2007, applied to the covariance.
    """
    x = x.detach().float()
    if not x.isfinite().all():
        return x.new_tensor(float("nan"))
    spectrum = torch.linalg.svdvals(x - x.mean(0)).square()
    share = spectrum / spectrum.sum().clamp(min=1e-30)
    return torch.exp(torch.special.entr(share).sum())


def sphere_std(z: Tensor) -> Tensor:
    """Standard deviation of embeddings z (N, D) normalised to length 1, averaged over dimensions, times sqrt(D).

    1 for a uniform distribution on the sphere, 0 if all embeddings are equal (Chen & He 2021, figure 2).
    """
    z = F.normalize(z.detach().float(), dim=1)
    return z.std(0, unbiased=False).mean() * z.shape[1] ** 0.5

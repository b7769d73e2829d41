"""Whether embeddings have collapsed: effective rank, and spread on the sphere."""

import torch
import torch.nn.functional as F
from torch import Tensor


def effective_rank(x: Tensor) -> Tensor:
    """exp of the entropy of the normalised covariance spectrum of x (N, D): 1 for a line, D for a ball.

    Roy & Vetterli 2007 on the covariance. NaN where x holds anything but finite numbers.
    """
    x = x.detach().float()
    if not x.isfinite().all():
        return x.new_tensor(float("nan"))
    spectrum = torch.linalg.svdvals(x - x.mean(0)).square()
    share = spectrum / spectrum.sum().clamp(min=1e-30)
    return torch.exp(torch.special.entr(share).sum())


def sphere_std(z: Tensor) -> Tensor:
    """Mean standard deviation over dimensions of z (N, D) on the unit sphere, times sqrt(D).

    1: spread evenly; 0: all in one point (Chen & He 2021, figure 2).
    """
    z = F.normalize(z.detach().float(), dim=1)
    return z.std(0, unbiased=False).mean() * z.shape[1] ** 0.5

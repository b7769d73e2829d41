"""Maximum mean discrepancy between two sets of samples (Gretton et al. 2012)."""

from collections.abc import Sequence

import torch
from torch import Tensor

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0)


def mmd2(x: Tensor, y: Tensor, bandwidths: Sequence[float] = BANDWIDTHS) -> float:
    """Unbiased estimate of MMD^2 between samples x (N, *event) and y (M, *event).

    The kernel is the mean of Gaussian kernels exp(-|x - y|^2 / (2 h^2)) over the bandwidths h. Two samples of one law
    give about 0, of either sign; the largest possible value is 2.
    """
    x, y = x.flatten(1).float(), y.flatten(1).float()
    n, m = len(x), len(y)
    within_x = (kernel_sum(x, x, bandwidths) - n) / (n * (n - 1))
    within_y = (kernel_sum(y, y, bandwidths) - m) / (m * (m - 1))
    return within_x + within_y - 2 * kernel_sum(x, y, bandwidths) / (n * m)


def kernel_sum(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> float:
    """Sum of the kernel over all pairs, a thousand rows of x at a time."""
    total = 0.0
    for rows in x.split(1000):
        square = torch.cdist(rows, y, compute_mode="donot_use_mm_for_euclid_dist").square()
        total += sum(float((-square / (2 * h**2)).exp().sum(dtype=torch.float64)) for h in bandwidths) / len(bandwidths)
    return total

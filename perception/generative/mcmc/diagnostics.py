"""Whether chains have converged and how much they say: split R-hat and effective sample size (Vehtari et al. 2021).

Draws have the shape (D, C, *event): D draws of each of C chains. Each number of the event is judged by itself.
"""

import torch
from torch import Tensor


def split_r_hat(draws: Tensor) -> Tensor:
    """Potential scale reduction of the chains cut into halves, (*event). 1 is converged; above 1.01 is suspect."""
    halves = split(draws)
    within = halves.var(0).mean(0)
    return (pooled_variance(halves) / within).sqrt()


def effective_sample_size(draws: Tensor) -> Tensor:
    """Number of independent draws that would estimate the mean as well, (*event).

    Autocorrelations of all half chains together, summed by Geyer's initial monotone sequence.
    """
    halves = split(draws)
    n, chains = halves.shape[:2]
    covariance = autocovariance(halves).mean(1)
    within = covariance[0] * n / (n - 1)
    correlation = 1 - (within - covariance) / pooled_variance(halves)
    correlation[0] = 1.0
    pairs = correlation[: n // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    positive = (pairs > 0).cumprod(0)
    monotone = pairs.cummin(0).values * positive
    time = (2 * monotone.sum(0) - 1).clamp(min=1 / torch.tensor(float(n * chains)).log10().item())
    return n * chains / time


def autocovariance(draws: Tensor) -> Tensor:
    """Of each chain at every lag, (D, C, *event), divided by D at all lags."""
    n = len(draws)
    spectrum = torch.fft.rfft(draws - draws.mean(0), 2 * n, dim=0)
    return torch.fft.irfft(spectrum.abs().square(), 2 * n, dim=0)[:n] / n


def split(draws: Tensor) -> Tensor:
    """(D, C, *event) -> the chains' halves, (D // 2, 2 C, *event), in double precision."""
    half = len(draws) // 2
    if half < 2:
        raise ValueError(f"{len(draws)} draws of each chain are too few to judge; give at least 4")
    return torch.cat([draws[:half], draws[-half:]], 1).double()


def pooled_variance(draws: Tensor) -> Tensor:
    """Of the law, estimated from the variances within and between the chains, (*event)."""
    n = len(draws)
    return draws.var(0).mean(0) * (n - 1) / n + draws.mean(0).var(0)

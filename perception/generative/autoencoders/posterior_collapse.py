"""Posterior collapse of a VAE: latent dimensions whose posterior is the prior, so that they say nothing about x."""

from torch import Tensor

LEAST_VARIANCE = 0.01
"""Variance of the posterior means over the data below which a unit is inactive (Burda et al. 2016, section 5.2)."""
LEAST_KL = 0.01
"""Mean KL divergence [nats] below which a dimension is inactive."""


def active_units(means: Tensor, threshold: float = LEAST_VARIANCE) -> Tensor:
    """Return which dimensions (dim,) bool are active: their posterior means (N, dim) vary over the data."""
    return means.var(0, unbiased=False) > threshold


def active_by_kl(divergences: Tensor, threshold: float = LEAST_KL) -> Tensor:
    """Return which dimensions (dim,) bool are active: their KL divergence (N, dim) [nats] is not about 0 on average.

    It agrees with `active_units`, and needs no spread of the data: one example is enough.
    """
    return divergences.mean(0) > threshold


def collapsed(means: Tensor) -> bool:
    """Return whether no dimension of the posterior means (N, dim) is active."""
    return not active_units(means).any()

"""Densities fitted to the codes of an autoencoder afterwards: a normal distribution, or k-means clusters.

An autoencoder is not trained to fill its code space: between the codes of the data, the decoder is unconstrained. A
sample of a density that does not follow the codes closely is decoded to something that is no data.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.perception.generative.noise import normal
from embodia.perception.objects.k_means import k_means


@dataclass(frozen=True)
class Mixture:
    """Mixture of K normal distributions of codes; K = 1 is one normal distribution."""

    weights: Tensor
    """(K,), sum 1."""
    means: Tensor
    """(K, dim)."""
    roots: Tensor
    """(K, dim, dim): a matrix R with covariance R R'."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Sample n codes (n, dim)."""
        chosen = torch.multinomial(self.weights.cpu(), n, replacement=True, generator=generator)
        noise = normal((n, self.means.shape[1], 1), generator, self.means.device).to(self.means)
        return self.means[chosen] + (self.roots[chosen] @ noise)[..., 0]


def fit_clusters(codes: Tensor, k: int = 1, spread: bool = True) -> Mixture:
    """Cluster codes (N, dim) by k-means and fit a normal distribution to each cluster.

    Args:
        codes: Codes of the data.
        k: Number of clusters; 1 fits one normal distribution to all codes.
        spread: Fit the covariances. Without them, samples are the k centres.

    Raises:
        ValueError: If there are fewer codes than clusters, or k is not positive.
    """
    if not 1 <= k <= len(codes):
        raise ValueError(f"{len(codes)} codes cannot form {k} clusters; choose 1 to {len(codes)}")
    labels = k_means(codes[None], k)[0] if k > 1 else torch.zeros(len(codes), dtype=torch.long, device=codes.device)
    clusters = [codes[labels == i] for i in labels.unique().tolist()]
    means = torch.stack([each.mean(0) for each in clusters])
    roots = torch.stack([covariance_root(each) if spread else 0 * codes[:1].T @ codes[:1] for each in clusters])
    return Mixture(torch.tensor([len(each) / len(codes) for each in clusters]), means, roots)


def covariance_root(codes: Tensor) -> Tensor:
    """Return a matrix R (dim, dim) with R R' the covariance of codes (N, dim)."""
    centred = codes - codes.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(codes))
    return axes * variances.clamp(min=0).sqrt()

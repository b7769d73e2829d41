"""Principal component analysis by singular value decomposition, and the angles between two subspaces."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.perception.generative.autoencoders import check_dim
from embodia.perception.generative.noise import normal


@dataclass(frozen=True)
class PCA:
    """The linear code of a given length with the smallest squared reconstruction error."""

    event: tuple[int, ...]
    """Shape of one sample, D numbers."""
    mean: Tensor
    """(D,)."""
    axes: Tensor
    """(D, dim), orthonormal, in order of decreasing variance."""
    variances: Tensor
    """Variance of each entry of the code (dim,): the largest eigenvalues of the covariance (divided by N)."""
    discarded: float
    """Sum of the other eigenvalues, which is the mean squared distance of a sample to its reconstruction."""

    @property
    def dim(self) -> int:
        return self.axes.shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Encode samples (N, *event) as codes (N, dim)."""
        return (x.flatten(1) - self.mean) @ self.axes

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (N, dim) to samples (N, *event)."""
        return (self.mean + codes @ self.axes.T).view(-1, *self.event)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Decode n codes of a normal distribution with the variances of the training codes: (n, *event)."""
        noise = normal((n, self.dim), generator, self.mean.device).to(self.mean)
        return self.decode(noise * self.variances.sqrt())


def fit_pca(x: Tensor, dim: int) -> PCA:
    """Fit PCA to samples x (N, *event).

    Raises:
        ValueError: If `dim` is not between 1 and the smaller of N and the size of a sample.
    """
    flat = x.flatten(1)
    if check_dim(dim) > min(flat.shape):
        raise ValueError(f"{len(flat)} samples of {flat.shape[1]} numbers have no {dim} principal components")
    mean = flat.mean(0)
    _, scale, axes = torch.linalg.svd(flat - mean, full_matrices=False)
    variances = scale.square() / len(flat)
    return PCA(tuple(x.shape[1:]), mean, axes[:dim].T, variances[:dim], variances[dim:].sum().item())


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Principal angles [degrees], smallest first, between the column spaces of a (D, k) and b (D, k).

    Source:
        Björck & Golub 1973.
    """
    bases = [torch.linalg.qr(each.double())[0] for each in (a, b)]
    cosines = torch.linalg.svdvals(bases[0].T @ bases[1])
    return cosines.clamp(max=1).acos() * (180 / math.pi)

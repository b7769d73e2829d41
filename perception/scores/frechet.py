"""Frechet distance between the Gaussians fitted to two sets of features (Heusel et al. 2017)."""

import torch
from torch import Tensor


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) of features x (N, D) and y (M, D).

    The features decide what it measures: with Inception features it is the FID, which is not computed here.
    """
    x, y = x.double(), y.double()
    mean = (x.mean(0) - y.mean(0)).square().sum()
    cov_x, cov_y = (torch.atleast_2d(torch.cov(each.T)) for each in (x, y))
    root = square_root(cov_x)
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return (mean + cov_x.trace() + cov_y.trace() - 2 * cross).item()


def square_root(matrix: Tensor) -> Tensor:
    """Symmetric square root of a positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def principal_features(reference: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the first `dim` principal axes (D, dim) of reference samples (N, *event), D numbers each."""
    flat = reference.flatten(1)
    mean = flat.mean(0)
    return mean, torch.linalg.svd(flat - mean, full_matrices=False)[2][:dim].T


def copies_ratio(samples: Tensor, held_out: Tensor, train: Tensor) -> float:
    """Median distance of samples to their nearest training example, over that of held-out examples.

    1 for samples that are as new as held-out data; near 0 for copies of training data.
    """
    nearest = [torch.cdist(each.flatten(1), train.flatten(1)).amin(1).median() for each in (samples, held_out)]
    return (nearest[0] / nearest[1]).item()

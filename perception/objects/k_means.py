"""Batched k-means with k-means++ initialisation (Lloyd 1982; Arthur & Vassilvitskii 2007)."""

import torch
from torch import Tensor


@torch.no_grad()
def k_means(
    points: Tensor, k: int, weights: Tensor | None = None, restarts: int = 8, iterations: int = 30, seed: int = 0
) -> Tensor:
    """Cluster each set of points independently and keep the best of `restarts` runs.

    Every set uses the same random numbers, so its result does not depend on the rest of the batch.

    Args:
        points: Points (N, P, D).
        k: Number of clusters.
        weights: Weights (N, P), at least 0. Points of weight 0 are labelled but do not move the centres.
        restarts: Number of initialisations.
        iterations: Maximum number of Lloyd iterations.
        seed: Seed of the initialisations.

    Returns:
        Labels (N, P) int64 in 0..k-1, in arbitrary order.

    Raises:
        ValueError: If there are fewer than k points.
    """
    n, p = points.shape[:2]
    if p < k:
        raise ValueError(f"{k} clusters need at least {k} points; got {p}")
    weights = points.new_ones(n, p) if weights is None else weights.to(points.dtype)
    many, heavy = points.repeat_interleave(restarts, 0), weights.repeat_interleave(restarts, 0)
    draws = torch.rand(k, restarts, generator=torch.Generator().manual_seed(seed)).to(points)
    centres = _plus_plus(many, heavy, draws.repeat(1, n))
    for _ in range(iterations):
        nearest = torch.nn.functional.one_hot(_squares(many, centres).argmin(2), k) * heavy[..., None]
        total = nearest.sum(1)  # (N * restarts, k)
        mean = torch.einsum("npk,npd->nkd", nearest, many) / total.clamp(min=1e-12)[..., None]
        moved = torch.where(total[..., None] > 0, mean, centres)  # an empty cluster keeps its centre
        if torch.equal(moved, centres):
            break
        centres = moved
    squares = _squares(many, centres)
    inertia = (squares.amin(2) * heavy).sum(1).view(n, restarts)
    best = torch.arange(n, device=points.device) * restarts + inertia.argmin(1)
    return squares[best].argmin(2)


def _squares(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances: (N, P, D), (N, K, D) -> (N, P, K)."""
    return (points[:, :, None] - centres[:, None]).square().sum(3)


def _plus_plus(points: Tensor, weights: Tensor, draws: Tensor) -> Tensor:
    """Sample initial centres (N, k, D): the first uniformly, the others in proportion to their squared distance.

    draws (k, N) are uniform numbers in [0, 1).
    """
    chance = weights
    centres: list[Tensor] = []
    for draw in draws:
        summed = (chance + 1e-12).cumsum(1)  # identical points get equal probability
        which = torch.searchsorted(summed, (draw * summed[:, -1])[:, None]).clamp(max=points.shape[1] - 1)
        centres.append(points.gather(1, which[..., None].expand(-1, -1, points.shape[2])))
        chance = weights * _squares(points, torch.cat(centres, 1)).amin(2)
    return torch.cat(centres, 1)

"""k-means with k-means++ starts, many sets of points at once (Lloyd 1982; Arthur & Vassilvitskii 2007)."""

import torch
from torch import Tensor


@torch.no_grad()
def k_means(
    points: Tensor, k: int, weights: Tensor | None = None, restarts: int = 8, iterations: int = 30, seed: int = 0
) -> Tensor:
    """Cluster each set by itself; the best of `restarts` starts.

    Every set is dealt the same random numbers of `seed`, so what a set gives does not depend on its neighbours.

    Args:
        points: (N, P, D).
        k: clusters.
        weights: (N, P) of at least 0; points of weight 0 move no centre, but have a nearest one too.

    Returns:
        (N, P) int64 in 0..k-1, in no order.

    Raises:
        ValueError: for fewer than k points.
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
        moved = torch.where(total[..., None] > 0, mean, centres)  # an empty cluster stays where it is
        if torch.equal(moved, centres):
            break
        centres = moved
    squares = _squares(many, centres)
    inertia = (squares.amin(2) * heavy).sum(1).view(n, restarts)
    best = torch.arange(n, device=points.device) * restarts + inertia.argmin(1)
    return squares[best].argmin(2)


def _squares(points: Tensor, centres: Tensor) -> Tensor:
    """(N, P, D), (N, K, D) -> (N, P, K) squared distances."""
    return (points[:, :, None] - centres[:, None]).square().sum(3)


def _plus_plus(points: Tensor, weights: Tensor, draws: Tensor) -> Tensor:
    """(N, k, D): a point at random, then points with probability in proportion to their squared distance.

    draws (k, N) of 0 to 1 choose.
    """
    chance = weights
    centres: list[Tensor] = []
    for draw in draws:
        summed = (chance + 1e-12).cumsum(1)  # where all are alike any will do
        which = torch.searchsorted(summed, (draw * summed[:, -1])[:, None]).clamp(max=points.shape[1] - 1)
        centres.append(points.gather(1, which[..., None].expand(-1, -1, points.shape[2])))
        chance = weights * _squares(points, torch.cat(centres, 1)).amin(2)
    return torch.cat(centres, 1)

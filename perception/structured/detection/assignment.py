"""Which predictions learn which objects: dynamic-k assignment, SimOTA (Ge et al. 2021, YOLOX, section 2.1)."""

import torch
from torch import Tensor


@torch.no_grad()
def dynamic_k(cost: Tensor, overlaps: Tensor, real: Tensor, most: int = 10) -> Tensor:
    """Assign each object to its k cheapest predictions, where k is the sum of its largest overlaps, at least 1.

    A prediction that several objects want goes to the one for which it is cheapest.

    Args:
        cost: (B, M, N) of object m and prediction n; infinite where they must not be assigned.
        overlaps: IoU (B, M, N).
        real: (B, M) bool, False for padding.
        most: largest k.

    Returns:
        (B, N) int64: the index of the object of each prediction, or -1.
    """
    most = min(most, cost.shape[-1])
    cost = cost.masked_fill(~real[..., None], torch.inf)
    k = overlaps.masked_fill(cost.isinf(), 0).topk(most).values.sum(-1).int().clamp(min=1)  # (B, M)
    cheapest, where = cost.topk(most, largest=False)
    taken = cheapest.isfinite() & (torch.arange(most, device=cost.device) < k[..., None])
    chosen = torch.zeros_like(cost, dtype=torch.bool).scatter_(-1, where, taken)
    if not cost.shape[1]:
        return torch.full((len(cost), cost.shape[-1]), -1, device=cost.device)
    best, index = cost.masked_fill(~chosen, torch.inf).min(1)
    return torch.where(best.isfinite(), index, -1)


def of_objects(values: Tensor, assigned: Tensor) -> Tensor:
    """Return the values (B, N, ...) of each prediction's object, from (B, M, ...); those of object 0 where none is."""
    index = assigned.clamp(min=0)
    for _ in values.shape[2:]:
        index = index[..., None]
    return values.gather(1, index.expand(*assigned.shape, *values.shape[2:]))

"""One-to-one matching of predictions and true elements at the lowest cost (Kuhn 1955), by scipy."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@torch.no_grad()
def match(cost: Tensor, real: Tensor) -> Tensor:
    """Return the true element (B, N) int64 of each prediction, or -1; every true element gets one prediction if N >= M.

    Args:
        cost: (B, N, M) of prediction n for true element m.
        real: (B, M) bool, False for padding.

    Raises:
        ValueError: If a cost of a real element is NaN.
    """
    found = np.full(cost.shape[:2], -1, np.int64)
    for row, each, there in zip(found, cost.cpu().numpy(), real.cpu().numpy()):
        columns = np.flatnonzero(there)
        if np.isnan(each[:, columns]).any():
            raise ValueError("a matching cost is NaN; lower the learning rate, or correct the labels")
        prediction, element = linear_sum_assignment(each[:, columns])
        row[prediction] = columns[element]
    return torch.from_numpy(found).to(cost.device)


def of_matched(values: Tensor, matched: Tensor) -> Tensor:
    """Return the values (B, N, ...) of matched elements, from (B, M, ...); those of element 0 where there is none."""
    index = matched.clamp(min=0).reshape(*matched.shape, *[1] * (values.ndim - 2))
    return values.gather(1, index.expand(*matched.shape, *values.shape[2:]))

"""Max-margin learning of costs: the expert must be cheaper than any other trajectory by a margin.

Ratliff, Bagnell, Zinkevich 2006, "Maximum margin planning"; the margin with a collision term is that of the neural
motion planner (Zeng et al. 2019, equation 4).
"""

import torch
from torch import Tensor


def max_margin(expert: Tensor, costs: Tensor, margin: Tensor) -> Tensor:
    """Return the structured hinge loss (N,), zero where the expert is cheaper than every sample by its margin.

    Args:
        expert: cost of the expert's trajectory (N,).
        costs: costs of samples (N, S).
        margin: how bad each sample is (N, S), at least 0.
    """
    return (expert[:, None] - costs + margin).amax(-1).clamp_min(0)


def max_margin_over_time(expert: Tensor, costs: Tensor, margin: Tensor) -> Tensor:
    """As `max_margin`, for costs over time (N, T), (N, S, T): the hinge is taken at every time, then their sum."""
    return (expert[:, None] - costs + margin).clamp_min(0).sum(-1).amax(-1)


def margin_over_time(distance: Tensor, collides: Tensor, weight: float, limit: float = 10.0) -> Tensor:
    """Return margins (N, S, T): the distance [m] from the expert, at most `limit`, plus `weight` where it collides."""
    return distance.clamp_max(limit) + weight * collides.to(distance.dtype)


def best_of_the_rest(costs: Tensor, margin: Tensor) -> Tensor:
    """(N,) index of the sample that violates the margin most."""
    return torch.argmax(margin - costs, -1)

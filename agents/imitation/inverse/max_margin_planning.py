"""Maximum margin planning (Ratliff, Bagnell & Zinkevich 2006): costs under which the expert's path wins by a margin.

For features F of the cells, visits mu and a loss l of cells off the expert's path, the objective is

    lambda / 2 |w|^2 + mean_i [ c_w . mu_i - min_mu (c_w - l_i) . mu ].

Its subgradient pushes down the cost of the expert's path, and up that of the path that a planner finds with the loss
subtracted from the costs. The planner is thus drawn away from the expert's path, which must win by its loss.
"""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from embodia.agents.imitation.inverse.cost_loop import CostLoop, Plan, overlap

LEAST = 0.01
"""Lowest cost of a cell after the loss is subtracted: Dijkstra's algorithm needs positive costs."""


def path_distance(visits: Tensor, shape: tuple[int, int], reach: float = 3.0) -> Tensor:
    """Return the distance of every cell to a path, in units of `reach` cells and at most 1, (cells,): the loss l."""
    away = distance_transform_edt(visits.reshape(shape).numpy() == 0)
    return torch.from_numpy(np.minimum(away / reach, 1.0).ravel()).to(visits.dtype)


class MaxMarginPlanning(CostLoop):
    """Maximum margin planning as a learner. The weight decay of `fit` is the regularizer.

    Args:
        cost: maps features to costs of cells (W, cells).
        plan: the planner.
        margin: weight of the loss; 0 leaves the plain loop without a margin.
    """

    def __init__(self, cost: nn.Module, plan: Plan, margin: float = 1.0):
        super().__init__(cost, plan)
        self.margin = margin

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Take the entries of `CostLoop` and "distance" (W, cells) of `path_distance`."""
        cost = self.cost(batch["features"])
        augmented = cost - self.margin * batch["distance"]
        planned = self.plan(augmented.clamp(min=LEAST), batch)
        slack = (cost * batch["visits"]).sum(-1) - (augmented * planned).sum(-1)
        return (slack / batch["visits"].sum(-1)).mean(), {"overlap": overlap(planned, batch["visits"]).mean()}

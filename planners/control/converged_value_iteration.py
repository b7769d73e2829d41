"""A value iteration network that iterates to convergence and is differentiated implicitly."""

import torch
from torch import Tensor

from embodia.planners.control.implicit_differentiation import FixedPointConfig, fixed_point
from embodia.planners.search.value_iteration_network import ValueIterationNetwork, VINConfig
from embodia.planners.search.value_sweeps import backup

CONVERGED = FixedPointConfig(backward="neumann", tolerance=1e-5)
"""Iterations and backward pass in float32."""


class ConvergedValueIterationNetwork(ValueIterationNetwork):
    """A `ValueIterationNetwork` whose iteration is a contraction, so that its values are a fixed point.

    The weights of the values in each channel Q are positive and sum to the discount. The number of iterations follows
    from the tolerance, and the memory of the backward pass does not depend on it.

    Args:
        channels: Number of input channels C.
        moves: Number of moves in a state.
        directions: Number of states in a cell.
        config: Sizes; `iterations` is not used.
        discount: Sum of the weights, between 0 and 1.
        solver: How the fixed point is found and differentiated.

    Raises:
        ValueError: If the discount is not between 0 and 1, or the weights are untied.
    """

    def __init__(
        self,
        channels: int = 2,
        moves: int = 8,
        directions: int = 1,
        config: VINConfig | None = None,
        discount: float = 0.95,
        solver: FixedPointConfig = CONVERGED,
    ):
        super().__init__(channels, moves, directions, config)
        if not (0 < discount < 1 and self.config.tied):
            raise ValueError(f"discount={discount}, tied={self.config.tied}: iterating to convergence needs a discount "
                             "between 0 and 1 and tied weights")  # fmt: skip
        self.discount, self.solver = discount, solver

    def planned(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        reward = self.q_rewards(maps)[0]
        kernel = self.discount * self.from_value[0].flatten(1).softmax(-1).view_as(self.from_value[0])
        start = torch.zeros_like(reward[:, : self.directions])
        return fixed_point(lambda values: backup(reward, kernel, values), start, self.solver), reward, kernel

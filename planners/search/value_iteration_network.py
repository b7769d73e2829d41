"""Value iteration networks (Tamar et al. 2016): value iteration on a learned reward map, as layers of a policy."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.planners.control.implicit_differentiation import FixedPointConfig, fixed_point
from embodia.planners.search.map_policy import MapPolicy
from embodia.planners.search.value_sweeps import backup, sweep


@dataclass(frozen=True)
class VINConfig:
    """A value iteration network."""

    iterations: int = 20
    """Number of iterations K of value iteration. A state farther than K moves from the goal does not see it. It can be
    changed after training, unless the network is untied."""
    hidden: int = 150
    """Number of channels between the maps and the reward."""
    q_channels: int = 10
    """Number of channels of Q for each direction. They stand for actions, of which the policy may see more or fewer."""
    relu: bool = False
    """Apply a ReLU to the hidden channels. The paper's network has none, so its reward is linear in the maps."""
    tied: bool = True
    """Use the same weights in all iterations. Without it each iteration has its own, the paper's control."""
    discount: float | None = None
    """None iterates K times with free weights, as the paper. Otherwise the weights of an iteration are positive and sum
    to this discount below 1, so that it is a contraction; values are iterated until they converge, and differentiated
    implicitly."""

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.hidden < 1 or not 1 <= self.q_channels <= 255:
            raise ValueError(f"iterations={self.iterations}, hidden={self.hidden}, q_channels={self.q_channels}: give "
                             "at least 1, and at most 255 q_channels")  # fmt: skip
        if self.discount is not None and not (0 < self.discount < 1 and self.tied):
            raise ValueError(f"discount={self.discount}, tied={self.tied}: iterating to convergence needs a discount "
                             "between 0 and 1 and tied weights")  # fmt: skip


CONVERGED = FixedPointConfig(backward="neumann", tolerance=1e-5)
"""How a network with a discount iterates and is differentiated."""


class ValueIterationNetwork(MapPolicy):
    """A policy that plans on maps by value iteration with learned rewards and transitions.

    The maps become a reward map by a 3 x 3 and a 1 x 1 convolution. An iteration is a 3 x 3 convolution of reward and
    values to `q_channels` channels Q, and the maximum over them: the new values. After K iterations a last Q is read
    out linearly at the agent's state. All states of a map are planned in one pass. With several directions, each has
    value maps of its own, and a Q reads those of all directions.

    The read-out has a bias, by which the policy can prefer one of several equally good moves. The paper's has none; it
    needs several times as many updates for the same error.

    Args:
        channels: Number of input channels C.
        moves: Number of moves in a state.
        directions: Number of states in a cell.
        config: Sizes and kind.
        solver: How fixed points are found and differentiated, for a network with a discount.
    """

    def __init__(
        self,
        channels: int = 2,
        moves: int = 8,
        directions: int = 1,
        config: VINConfig | None = None,
        solver: FixedPointConfig = CONVERGED,
    ):
        super().__init__(channels, moves, directions)
        self.config, self.solver = config or VINConfig(), solver
        c = self.config
        self.iterations = c.iterations
        total, sets = directions * c.q_channels, 1 if c.tied else c.iterations
        self.hidden = nn.Conv2d(channels, c.hidden, 3, padding=1)
        self.reward = nn.Conv2d(c.hidden, 1, 1, bias=False)
        self.from_reward = nn.Parameter(0.01 * torch.randn(sets if c.tied else sets + 1, total, 1, 3, 3))
        self.from_value = nn.Parameter(0.01 * torch.randn(sets, total, directions, 3, 3))
        self.read_out = nn.Linear(total, directions * moves)
        for layer in (self.hidden, self.reward, self.read_out):
            nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(self.read_out.bias)

    def forward(self, maps: Tensor) -> Tensor:
        return self.read_out(self.q(maps).movedim(1, -1))

    def rewards(self, maps: Tensor) -> Tensor:
        """Return the reward map (B, 1, H, W) of maps (B, C, H, W)."""
        if self.config.relu:
            return self.reward(F.relu(self.hidden(maps)))
        # Without a nonlinearity both layers are one convolution by the product of their weights, which is faster.
        mix = self.reward.weight.flatten(1)  # (1, hidden)
        assert self.hidden.bias is not None
        kernel = (mix @ self.hidden.weight.flatten(1)).view(1, self.channels, 3, 3)
        return F.conv2d(maps, kernel, mix @ self.hidden.bias, padding=1)

    def kernel(self) -> Tensor:
        """Return the weights (L, Q, D, 3, 3) of the values in each iteration."""
        if self.config.discount is None:
            return self.from_value
        return self.config.discount * self.from_value.flatten(2).softmax(-1).view_as(self.from_value)

    def planned(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the values (B, directions, H, W) of maps, and reward (B, Q, H, W) and kernel of the last Q."""
        kernel, reward = self.kernel(), self.rewards(maps)
        sets, total = self.from_reward.shape[:2]
        rewards = F.conv2d(reward, self.from_reward.flatten(0, 1), padding=1)
        rewards = rewards.unflatten(1, (sets, total)).movedim(1, 0)  # (L, B, Q, H, W)
        if self.config.discount is not None:
            start = torch.zeros_like(rewards[0, :, : self.directions])
            return fixed_point(lambda v: backup(rewards[0], kernel[0], v), start, self.solver), rewards[0], kernel[0]
        if not self.config.tied and self.iterations != len(kernel):
            raise ValueError(f"an untied network has weights for {len(kernel)} iterations, not for {self.iterations}")
        used = rewards if self.config.tied else rewards[:-1]
        return sweep(used, kernel, self.iterations), rewards[-1], kernel[-1]

    def values(self, maps: Tensor) -> Tensor:
        """Return the values (B, directions, H, W) of maps (B, C, H, W)."""
        return self.planned(maps)[0]

    def q(self, maps: Tensor) -> Tensor:
        """Return Q (B, directions * q_channels, H, W) after the last iteration, for maps (B, C, H, W)."""
        values, reward, kernel = self.planned(maps)
        return reward + F.conv2d(values, kernel, padding=1)

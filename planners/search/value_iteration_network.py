"""Value iteration networks (Tamar et al. 2016): value iteration on a learned reward map, as layers of a policy."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.planners.search.map_policy import MapPolicy
from embodia.planners.search.value_sweeps import sweep


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

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.hidden < 1 or not 1 <= self.q_channels <= 255:
            raise ValueError(f"iterations={self.iterations}, hidden={self.hidden}, q_channels={self.q_channels}: give "
                             "at least 1, and at most 255 q_channels")  # fmt: skip


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
    """

    def __init__(self, channels: int = 2, moves: int = 8, directions: int = 1, config: VINConfig | None = None):
        super().__init__(channels, moves, directions)
        self.config = config or VINConfig()
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

    def planned(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the values (B, directions, H, W) of maps, and reward (B, Q, H, W) and kernel of the last Q."""
        kernel, rewards = self.from_value, self.q_rewards(maps)
        if not self.config.tied and self.iterations != len(kernel):
            raise ValueError(f"an untied network has weights for {len(kernel)} iterations, not for {self.iterations}")
        used = rewards if self.config.tied else rewards[:-1]
        return sweep(used, kernel, self.iterations), rewards[-1], kernel[-1]

    def q_rewards(self, maps: Tensor) -> Tensor:
        """Return the share of the reward in Q (L, B, Q, H, W), for each set of weights."""
        sets, total = self.from_reward.shape[:2]
        found = F.conv2d(self.rewards(maps), self.from_reward.flatten(0, 1), padding=1)
        return found.unflatten(1, (sets, total)).movedim(1, 0)

    def values(self, maps: Tensor) -> Tensor:
        """Return the values (B, directions, H, W) of maps (B, C, H, W)."""
        return self.planned(maps)[0]

    def q(self, maps: Tensor) -> Tensor:
        """Return Q (B, directions * q_channels, H, W) after the last iteration, for maps (B, C, H, W)."""
        values, reward, kernel = self.planned(maps)
        return reward + F.conv2d(values, kernel, padding=1)

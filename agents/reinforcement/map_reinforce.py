"""Policy gradient for policies on maps, from the reward of reaching the goal (Williams 1992, REINFORCE)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from embodia.planners.models.grid_map import MOVES
from embodia.planners.search.map_policy import MapPolicy


class MapReinforce(nn.Module):
    """REINFORCE as a learner: trains a `MapPolicy` for cells and eight moves without an expert.

    From each start several paths are sampled. A path that reaches the goal after T moves has the return discount^T,
    any other 0. The baseline of a path is the mean return of the others from its start (Kool et al. 2019). The policy
    plans once per map for all its paths.

    Args:
        policy: The policy.
        paths: Number of paths from each start, at least 2.
        horizon: Maximum number of moves.
        discount: Discount factor per move.

    Raises:
        ValueError: If there are fewer than 2 paths.
    """

    def __init__(self, policy: MapPolicy, paths: int = 4, horizon: int = 20, discount: float = 0.95):
        super().__init__()
        if paths < 2:
            raise ValueError(f"paths is {paths}; the baseline needs at least 2 paths from each start")
        self.policy, self.paths, self.horizon, self.discount = policy, paths, horizon, discount

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus the mean return, with the policy gradient; moves are sampled with torch's global generator.

        Args:
            batch: "maps" (B, C, H, W), "free" (B, H * W) bool, with a border that is not free, "goal" (B,) and "start"
                (B, S) cells.
        """
        maps, free, goal = batch["maps"], batch["free"], batch["goal"]
        answer = self.policy.answer(maps)
        shift = MOVES.to(maps.device) @ torch.tensor([maps.shape[-1], 1], device=maps.device)
        cell = batch["start"].repeat_interleave(self.paths, 1)  # (B, S * paths)
        number = torch.arange(len(maps), device=maps.device)[:, None].expand_as(cell)
        returns, log_probability = torch.zeros(cell.shape, device=maps.device), []
        for step in range(1, self.horizon + 1):
            going = cell != goal[:, None]
            where = number[going], cell[going]
            law = torch.distributions.Categorical(logits=answer(*where))
            move = law.sample()
            log_probability.append(torch.zeros_like(returns).masked_scatter(going, law.log_prob(move)))
            ahead = where[1] + shift[move]
            cell = cell.masked_scatter(going, torch.where(free[where[0], ahead], ahead, where[1]))
            returns[going & (cell == goal[:, None])] = self.discount**step
        grouped = returns.unflatten(1, (-1, self.paths))
        others = (grouped.sum(2, keepdim=True) - grouped) / (self.paths - 1)
        advantage = (grouped - others).flatten(1)
        surrogate = (advantage * torch.stack(log_probability).sum(0)).mean()
        return surrogate.detach() - surrogate - returns.mean(), {"success": (returns > 0).float().mean()}

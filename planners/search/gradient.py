"""Planning by gradient ascent on the actions, through a differentiable model (the GD baseline of DINO-WM, table 4)."""

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.imagination import imagine_plan, world_noise
from embodia.planners.models.state import batch_size, device_of
from embodia.planners.search.cem import bounds, shift


@dataclass(frozen=True)
class GradientPlanner:
    """Adam on the plan itself; actions are kept inside their bounds by projection after each step."""

    action_space: spaces.Space
    horizon: int = 12
    """Steps of a plan."""
    iterations: int = 50
    """Steps of Adam."""
    learning_rate: float = 0.1
    """In halves of the action range."""
    init_std: float = 0.1
    """Spread of the noise that a plan begins with, in halves of the action range."""
    warm_start: bool = True
    """Begin from the last plan, one step later."""
    seed: int = 0
    """Of that noise."""

    def __post_init__(self) -> None:
        if not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"a gradient plan needs continuous actions; for {self.action_space} take CEM or MCTS")

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """state (B, ...) -> locally best plan (B, H, A). Raises TypeError where the model has no gradients."""
        low, high = bounds(self.action_space, device_of(state))
        half, centre = (high - low) / 2, (high + low) / 2
        carry = carry or self.initial_carry(batch_size(state), device_of(state))
        noise = world_noise(self.seed, carry["calls"], tuple(carry["mean"].shape[1:]))
        plan = (carry["mean"] + self.init_std * noise).clamp(-1, 1).requires_grad_()  # in [-1, 1]
        optimizer = torch.optim.Adam([plan], lr=self.learning_rate)
        with torch.enable_grad():
            for _ in range(self.iterations):
                score = objective(imagine_plan(model, state, centre + half * plan), centre + half * plan).sum()
                if not score.requires_grad:
                    raise TypeError(f"{type(model).__name__} gives actions no gradient; take CEM or MPPI")
                (gradient,) = torch.autograd.grad(-score, plan)
                plan.grad = gradient.nan_to_num()
                optimizer.step()
                plan.data.clamp_(-1, 1)
        found = plan.detach()
        kept = shift(found) if self.warm_start else torch.zeros_like(found)
        return centre + half * found, {"mean": kept, "calls": carry["calls"] + 1}

    def initial_carry(self, worlds: int, device: torch.device | None = None) -> Carry:
        """mean (B, H, A) in [-1, 1]."""
        low, _ = bounds(self.action_space)
        mean = torch.zeros(worlds, self.horizon, len(low), device=device)
        return {"mean": mean, "calls": torch.zeros(worlds, dtype=torch.int64, device=device)}

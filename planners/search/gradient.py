"""Planning by gradient ascent on the actions through a differentiable model (GD baseline of DINO-WM, table 4)."""

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
    """Optimise the plan with Adam. After each step the actions are projected into their bounds."""

    action_space: spaces.Space
    """Action space: a bounded Box (A,)."""
    horizon: int = 12
    """Number of steps of a plan."""
    iterations: int = 50
    """Number of Adam steps."""
    learning_rate: float = 0.1
    """Adam's learning rate, as a fraction of half the action range."""
    init_std: float = 0.1
    """Standard deviation of the initial noise on the plan, as a fraction of half the action range."""
    warm_start: bool = True
    """Start from the previous plan, shifted by one step."""
    seed: int = 0
    """Seed of the initial noise."""

    def __post_init__(self) -> None:
        if not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"gradient planning needs continuous actions; for {self.action_space} use CEM or MCTS")

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """Return locally optimal plans (B, H, A) for states (B, ...).

        Raises:
            TypeError: If the model's predictions have no gradient with respect to the actions.
            ValueError: If the action space is unbounded.
        """
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
                    raise TypeError(f"{type(model).__name__} gives no gradient for actions; use CEM or MPPI")
                (gradient,) = torch.autograd.grad(-score, plan)
                plan.grad = gradient.nan_to_num()
                optimizer.step()
                plan.data.clamp_(-1, 1)
        found = plan.detach()
        kept = shift(found) if self.warm_start else torch.zeros_like(found)
        return centre + half * found, {"mean": kept, "calls": carry["calls"] + 1}

    def initial_carry(self, worlds: int, device: torch.device | None = None) -> Carry:
        """Return the initial carry: mean (B, H, A) in [-1, 1], and calls (B,)."""
        low, _ = bounds(self.action_space)
        mean = torch.zeros(worlds, self.horizon, len(low), device=device)
        return {"mean": mean, "calls": torch.zeros(worlds, dtype=torch.int64, device=device)}

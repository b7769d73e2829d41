"""Model predictive path integral control (Williams et al. 2017), with the elites and refit of TD-MPC2 (Hansen 2024)."""

from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.imagination import imagine_plan, world_noise
from embodia.planners.models.state import batch_size, device_of, repeat
from embodia.planners.search.cem import bounds, shift, take_elites


@dataclass(frozen=True)
class MPPI:
    """Plans weighted by exp(score / temperature): u <- sum_k w_k u_k, w ∝ exp((S_k - max S) / temperature).

    A model with a policy (`model.propose(state, horizon, n) -> (B, n, H, A)`) adds its proposals to the samples.
    """

    action_space: spaces.Space
    horizon: int = 30
    """Steps of a plan."""
    samples: int = 256
    """Candidates per iteration."""
    elites: int = 64
    """Only these are weighted; `samples` for the original algorithm."""
    iterations: int = 3
    """Refits."""
    temperature: float = 0.05
    """Of the scores after each call's spread is scaled to one, so that it does not depend on the reward's unit."""
    proposals: int = 0
    """Plans of the model's policy among the candidates."""
    init_std: float = 0.5
    """Spread of the first iteration, in halves of the action range."""
    min_std: float = 0.05
    """Least spread, in the same unit."""
    seed: int = 0
    """Of the candidates' noise."""

    def __post_init__(self) -> None:
        if not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"MPPI averages continuous actions; for {self.action_space} take CEM or MCTS")

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """state (B, ...) -> weighted mean plan (B, H, A)."""
        low, high = bounds(self.action_space, device_of(state))
        half = (high - low) / 2
        carry = carry or self.initial_carry(batch_size(state), device_of(state))
        mean, std = carry["mean"], torch.ones_like(carry["mean"]) * self.init_std * half
        proposed = self.proposed(model, state, mean)  # (B, P, H, A)
        count = self.samples + proposed.shape[1]
        states = repeat(state, count)
        noise = world_noise(self.seed, carry["calls"], (self.iterations, self.samples, *mean.shape[1:]))
        for i in range(self.iterations):
            plans = (mean[:, None] + std[:, None] * noise[:, i]).clamp(low, high)
            plans = torch.cat([plans, proposed], 1)
            score = objective(imagine_plan(model, states, plans.flatten(0, 1)), plans.flatten(0, 1))
            mean, std = self.refit(plans, score.view(-1, count), self.min_std * half)
        return mean, {"mean": shift(mean), "calls": carry["calls"] + 1}

    def refit(self, plans: Tensor, score: Tensor, min_std: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted mean and deviation (B, H, A) of the elites."""
        score = score.nan_to_num(nan=-torch.inf)
        elite = take_elites(plans, score, self.elites)  # (B, E, H, A)
        top = score.topk(self.elites, dim=1).values
        spread = (top - top[:, -1:]).max(1, keepdim=True).values.clamp_min(1e-6)
        weight = ((top - top[:, :1]) / (spread * self.temperature)).softmax(1)[..., None, None]
        mean = (weight * elite).sum(1)
        std = (weight * (elite - mean[:, None]).square()).sum(1).sqrt()
        return mean, std.maximum(min_std)

    def proposed(self, model: WorldModel, state: State, mean: Tensor) -> Tensor:
        if not self.proposals:
            return mean[:, None][:, :0]
        if not hasattr(model, "propose"):
            raise TypeError(f"proposals={self.proposals} needs a model with a policy; {type(model).__name__} has none")
        return model.propose(state, self.horizon, self.proposals)

    def initial_carry(self, worlds: int, device: torch.device | None = None) -> Carry:
        """mean (B, H, A) at the centre of the range."""
        low, high = bounds(self.action_space, device)
        mean = torch.zeros(worlds, self.horizon, len(low), device=device) + (low + high) / 2
        return {"mean": mean, "calls": torch.zeros(worlds, dtype=torch.int64, device=device)}

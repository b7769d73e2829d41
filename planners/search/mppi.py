"""Model predictive path integral control (Williams et al. 2017), with TD-MPC2's elites (Hansen et al. 2024)."""

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
    """Weighted mean of plans: u <- sum_k w_k u_k with w ∝ exp((S_k - max S) / temperature).

    A model with a policy (`model.propose(state, horizon, n) -> (B, n, H, A)`) adds its proposals to the samples.
    """

    action_space: spaces.Space
    """Action space: a bounded Box (A,)."""
    horizon: int = 30
    """Number of steps of a plan."""
    samples: int = 256
    """Number of candidates per iteration."""
    elites: int = 64
    """Number of best candidates that are weighted. The original algorithm weights all `samples`."""
    iterations: int = 3
    """Number of iterations."""
    temperature: float = 0.05
    """Temperature of the weights, for scores scaled to a range of one (independent of the reward's unit)."""
    proposals: int = 0
    """Number of candidates from the model's policy."""
    init_std: float = 0.5
    """Initial standard deviation, as a fraction of half the action range."""
    min_std: float = 0.05
    """Minimum standard deviation, in the same unit."""
    seed: int = 0
    """Seed of the candidates' noise."""

    def __post_init__(self) -> None:
        if not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"MPPI needs continuous actions; for {self.action_space} use CEM or MCTS")

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """Return the weighted mean plans (B, H, A) for states (B, ...).

        Raises:
            TypeError: If `proposals` is above 0 and the model has no policy.
            ValueError: If the action space is unbounded.
        """
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
        """Return the weighted mean and standard deviation (B, H, A) of the elites."""
        score = score.nan_to_num(nan=-torch.inf)
        elite = take_elites(plans, score, self.elites)  # (B, E, H, A)
        top = score.topk(self.elites, dim=1).values
        spread = (top - top[:, -1:]).max(1, keepdim=True).values.clamp_min(1e-6)
        weight = ((top - top[:, :1]) / (spread * self.temperature)).softmax(1)[..., None, None]
        mean = (weight * elite).sum(1)
        std = (weight * (elite - mean[:, None]).square()).sum(1).sqrt()
        return mean, std.maximum(min_std)

    def proposed(self, model: WorldModel, state: State, mean: Tensor) -> Tensor:
        """Return the policy's plans (B, P, H, A)."""
        if not self.proposals:
            return mean[:, None][:, :0]
        if not hasattr(model, "propose"):
            raise TypeError(f"proposals={self.proposals} needs a model with a policy; {type(model).__name__} has none")
        return model.propose(state, self.horizon, self.proposals)

    def initial_carry(self, worlds: int, device: torch.device | None = None) -> Carry:
        """Return the initial carry: mean (B, H, A) at the centre of the range, and calls (B,)."""
        low, high = bounds(self.action_space, device)
        mean = torch.zeros(worlds, self.horizon, len(low), device=device) + (low + high) / 2
        return {"mean": mean, "calls": torch.zeros(worlds, dtype=torch.int64, device=device)}

"""Cross-entropy method (Rubinstein 1999; as a planner: Chua et al. 2018, PETS, section 5).

It samples plans, scores their imagined futures, refits the sampling distribution to the elites, and repeats. Continuous
actions are Gaussian, independent over time; discrete actions are categorical.
"""

from dataclasses import dataclass, field

import torch
from gymnasium import spaces
from torch import Tensor

from embodia.planners import Carry, Objective, State, WorldModel
from embodia.planners.models.actions import action_width
from embodia.planners.models.imagination import imagine_plan, world_noise
from embodia.planners.models.state import batch_size, device_of, repeat


@dataclass(frozen=True)
class CEM:
    """Plan by the cross-entropy method. The plan is the mean of the final distribution (the mode, if discrete)."""

    action_space: spaces.Space
    """Action space: Discrete, or a bounded Box (A,)."""
    horizon: int = 12
    """Number of steps of a plan."""
    samples: int = 256
    """Number of candidates per iteration."""
    elites: int = 32
    """Number of best candidates to which the distribution is refitted."""
    iterations: int = 5
    """Number of iterations."""
    init_std: float = 0.5
    """Initial standard deviation, as a fraction of half the action range."""
    min_std: float = 0.05
    """Minimum standard deviation, in the same unit; keeps the distribution from collapsing early."""
    momentum: float = 0.1
    """Weight of the previous distribution in a refit."""
    warm_start: bool = True
    """Start from the previous plan, shifted by one step."""
    seed: int = 0
    """Seed of the candidates' noise."""
    is_discrete: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_discrete", isinstance(self.action_space, spaces.Discrete))
        if not self.is_discrete and not isinstance(self.action_space, spaces.Box):
            raise TypeError(f"CEM plans in Box or Discrete action spaces, not in {self.action_space}")
        if not 1 < self.elites <= self.samples:
            raise ValueError(f"CEM needs 1 < elites <= samples, got elites={self.elites}, samples={self.samples}")

    def plan(self, model: WorldModel, state: State, objective: Objective, carry: Carry) -> tuple[Tensor, Carry]:
        """Return actions (B, H, A), or (B, H) int64, for states (B, ...).

        The carry holds the last distribution and a call count. Raises ValueError if the action space is unbounded.
        """
        carry = carry or self.initial_carry(batch_size(state), device_of(state))
        noise = world_noise(self.seed, carry["calls"], (self.iterations, self.samples, self.horizon, self.width))
        solve = self.plan_categorical if self.is_discrete else self.plan_gaussian
        actions, mean = solve(model, repeat(state, self.samples), objective, carry["mean"], noise)
        kept = shift(mean) if self.warm_start else self.initial_carry(len(mean), mean.device)["mean"]
        return actions, {"mean": kept, "calls": carry["calls"] + 1}

    @property
    def width(self) -> int:
        """Number of parameters of one step's distribution: A means, or n logits."""
        return action_width(self.action_space)

    def initial_carry(self, worlds: int, device: torch.device | None = None) -> Carry:
        """Return the initial carry: mean (B, H, A), the centre of the range or equal logits, and calls (B,)."""
        mean = torch.zeros(worlds, self.horizon, self.width, device=device)
        if not self.is_discrete:
            low, high = bounds(self.action_space, device)
            mean = mean + (low + high) / 2
        return {"mean": mean, "calls": torch.zeros(worlds, dtype=torch.int64, device=device)}

    def plan_gaussian(
        self, model: WorldModel, states: State, objective: Objective, mean: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refit Gaussians over continuous plans. Returns the plan (B, H, A) twice, as plan and distribution."""
        low, high = bounds(self.action_space, mean.device)
        half = (high - low) / 2
        std = torch.ones_like(mean) * self.init_std * half  # (B, H, A)
        for i in range(self.iterations):
            plans = (mean[:, None] + std[:, None] * noise[:, i]).clamp(low, high)  # (B, K, H, A)
            score = objective(imagine_plan(model, states, plans.flatten(0, 1)), plans.flatten(0, 1))
            elite = take_elites(plans, score.view(plans.shape[:2]), self.elites)  # (B, E, H, A)
            mean = self.momentum * mean + (1 - self.momentum) * elite.mean(1)
            spread = elite.std(1, unbiased=False).maximum(self.min_std * half)
            std = self.momentum * std + (1 - self.momentum) * spread
        return mean, mean

    def plan_categorical(
        self, model: WorldModel, states: State, objective: Objective, mean: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refit categoricals over discrete plans. Returns the plan (B, H) and the logits (B, H, n)."""
        assert isinstance(self.action_space, spaces.Discrete)
        start = int(self.action_space.start)
        logits = mean  # (B, H, n)
        for i in range(self.iterations):
            # Gumbel-max sampling: the distribution functions turn Gaussian noise into Gumbel noise.
            uniform = torch.special.ndtr(noise[:, i].double()).clamp(1e-12, 1 - 1e-12)
            gumbel = -(-uniform.log()).log()
            plans = (logits[:, None] + gumbel).argmax(-1)  # (B, K, H)
            score = objective(imagine_plan(model, states, plans.flatten(0, 1) + start), plans.flatten(0, 1) + start)
            elite = take_elites(plans, score.view(plans.shape[:2]), self.elites)
            frequency = torch.nn.functional.one_hot(elite, self.width).float().mean(1)  # (B, H, n)
            kept = self.momentum * logits.softmax(-1) + (1 - self.momentum) * frequency
            logits = kept.clamp_min(self.min_std / self.width).log()
        return logits.argmax(-1) + start, logits


def bounds(space: spaces.Space, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return low and high (A,) of a bounded Box. Raises ValueError if a bound is infinite."""
    assert isinstance(space, spaces.Box)
    if not space.is_bounded():
        raise ValueError(f"the planner samples within the action bounds, but {space} is unbounded; rescale it first")
    low, high = (torch.as_tensor(end, dtype=torch.float32, device=device) for end in (space.low, space.high))
    return low, high


def take_elites(plans: Tensor, score: Tensor, elites: int) -> Tensor:
    """Return each environment's best plans, best first: (B, K, ...), scores (B, K) -> (B, E, ...); NaN is worst."""
    order = score.nan_to_num(nan=-torch.inf).topk(elites, dim=1).indices
    return plans[torch.arange(len(plans), device=plans.device)[:, None], order]


def shift(mean: Tensor) -> Tensor:
    """Shift a plan (B, H, A) by one step; its last step is repeated."""
    return torch.cat([mean[:, 1:], mean[:, -1:]], 1)

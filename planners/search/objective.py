"""Objectives: scores of imagined futures, higher is better.

`Return` sums predicted rewards. `GoalDistance` compares the last imagined prediction with a goal's, and `ObservedGoal`
makes one of the goal that each world shows. `Quadratic` is the cost of optimal control; it alone offers `stage` and
`final`, which LQR and iLQR need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from embodia.planners import Prediction, WorldModel

HABITAT = {"imagegoal": "rgb"}
"""Goals under Habitat's names, and what they are the goal of."""


@dataclass(frozen=True)
class Return:
    """Discounted sum of predicted rewards, cut where the model ends the episode, plus the value behind it if any."""

    key: ClassVar[str] = "reward"
    """The prediction it scores; `mpc` asks early whether the model has it."""
    discount: float = 1.0

    def __call__(self, futures: Prediction, actions: Tensor) -> Tensor:
        """reward (*B, T), optional cont (*B, T) in [0, 1], optional value (*B,) of the last state -> (*B,)."""
        reward = futures["reward"]
        cont = futures.get("cont", torch.ones_like(reward)) * self.discount
        weight = torch.cat([torch.ones_like(cont[..., :1]), cont[..., :-1].cumprod(-1)], -1)  # (*B, T)
        score = (weight * reward).sum(-1)
        if "value" in futures:
            score = score + weight[..., -1] * cont[..., -1] * futures["value"]
        return score


@dataclass(frozen=True)
class GoalDistance:
    """Minus the mean squared distance of one predicted quantity to a goal (DINO-WM, eq. 3).

    `goal` (B, ...) of the same name and shape as one time step of `futures[key]`; candidates are laid out world by
    world, so a goal of B worlds serves B * K futures. `all_steps` averages over the horizon in place of the last step.
    """

    goal: Tensor
    key: str = "tokens"
    all_steps: bool = False

    def __call__(self, futures: Prediction, actions: Tensor) -> Tensor:
        future = futures[self.key]  # (B * K, T, ...)
        goal = self.goal.repeat_interleave(future.shape[0] // self.goal.shape[0], dim=0)[:, None]
        distance = (future - goal).square().flatten(2).mean(-1)  # (B * K, T)
        return -(distance.mean(-1) if self.all_steps else distance[:, -1])


@dataclass(frozen=True)
class ObservedGoal:
    """Reach what the environment shows as the goal: for each observation `x` of the model, `goal_x` beside it.

    Habitat's name for the goal of its `rgb` is `imagegoal`. The goal is what the model predicts of a state in which it
    had just observed the goal, so any model serves.
    """

    key: str = "tokens"
    all_steps: bool = False

    def given(self, model: WorldModel, obs: Mapping[str, Any], action: Tensor) -> GoalDistance:
        """The objective of worlds that observe `obs` (B, ...). Raises KeyError where no goal is shown."""
        goal = {name.removeprefix("goal_"): value for name, value in obs.items() if name.startswith("goal_")}
        goal |= {HABITAT[name]: value for name, value in obs.items() if name in HABITAT}
        if not goal:
            raise KeyError(
                f"no goal is observed: none of {', '.join(obs)} is imagegoal or begins with goal_; choose another "
                "objective"
            )
        first = torch.ones(len(action), dtype=torch.bool, device=action.device)
        state = model.observe(model.initial(len(action)), goal, torch.zeros_like(action), first)
        return GoalDistance(model.predict(state)[self.key], self.key, self.all_steps)


@dataclass(frozen=True)
class Quadratic:
    """Minus the sum over steps of (x - x*)' Q (x - x*) + u' R u, and (x - x*)' Qf (x - x*) at the end.

    Q, Qf (S, S), R (A, A), target (S,), on `futures["state"]` (*B, T, S). States are those after each action, so the
    first state, which no plan can change, does not count.
    """

    key: ClassVar[str] = "state"
    q: Tensor
    r: Tensor
    qf: Tensor
    target: Tensor

    def stage(self, x: Tensor, u: Tensor) -> Tensor:
        """Running cost (*B,) of state x (*B, S) and action u (*B, A)."""
        return quadratic_form(x - self.target, self.q) + quadratic_form(u, self.r)

    def final(self, x: Tensor) -> Tensor:
        """Cost (*B,) of the last state."""
        return quadratic_form(x - self.target, self.qf)

    def __call__(self, futures: Prediction, actions: Tensor) -> Tensor:
        states, actions = futures["state"].to(self.q.dtype), actions.to(self.q.dtype)
        running = quadratic_form(states[..., :-1, :] - self.target, self.q).sum(-1)
        return -(running + self.final(states[..., -1, :]) + quadratic_form(actions, self.r).sum(-1))


def diagonal(
    state: tuple[float, ...] = (1.0, 1.0, 0.1),
    action: tuple[float, ...] = (0.001,),
    target: tuple[float, ...] = (1.0, 0.0, 0.0),
    final: float = 1.0,
) -> Quadratic:
    """The least quadratic cost, its weights diagonal; the default holds a pendulum upright.

    Args:
        state: weights on the model's features.
        action: weights on the action.
        target: features to be reached.
        final: weight of the last state, as a multiple of the others'.
    """
    q = torch.tensor(state, dtype=torch.float64).diag()
    effort = torch.tensor(action, dtype=torch.float64).diag()
    return Quadratic(q, effort, final * q, torch.tensor(target, dtype=torch.float64))


def quadratic_form(x: Tensor, matrix: Tensor) -> Tensor:
    """x' M x over the last axis: (*B, S) -> (*B,)."""
    return ((x @ matrix) * x).sum(-1)

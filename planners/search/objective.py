"""Objectives: scores of imagined futures, higher is better.

`Return` sums predicted rewards. `GoalDistance` compares the last prediction with a goal, and `ObservedGoal` builds one
from the goal that each environment shows. `Quadratic` is the cost of optimal control; only it has `stage` and `final`,
which LQR and iLQR need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from embodia.planners import Prediction, WorldModel

HABITAT = {"imagegoal": "rgb"}
"""Habitat's goal keys, and the observation that each is a goal for."""


@dataclass(frozen=True)
class Return:
    """Discounted sum of predicted rewards up to the episode's end, plus the value of the last state if predicted."""

    key: ClassVar[str] = "reward"
    """The prediction that it scores. `mpc` checks at construction that the model has it."""
    discount: float = 1.0
    """Discount factor."""

    def __call__(self, futures: Prediction, actions: Tensor) -> Tensor:
        """Return scores (*B,).

        Args:
            futures: reward (*B, T), optional cont (*B, T) in [0, 1], and optional value (*B,) of the last state.
            actions: Not used.
        """
        reward = futures["reward"]
        cont = futures.get("cont", torch.ones_like(reward)) * self.discount
        weight = torch.cat([torch.ones_like(cont[..., :1]), cont[..., :-1].cumprod(-1)], -1)  # (*B, T)
        score = (weight * reward).sum(-1)
        if "value" in futures:
            score = score + weight[..., -1] * cont[..., -1] * futures["value"]
        return score


@dataclass(frozen=True)
class GoalDistance:
    """Minus the mean squared distance of one predicted quantity to a goal (DINO-WM, equation 3).

    Candidates are ordered environment by environment, so a goal of B environments serves B * K futures.
    """

    goal: Tensor
    """Goal (B, ...), with the shape of one time step of `futures[key]`."""
    key: str = "tokens"
    """Prediction to compare."""
    all_steps: bool = False
    """Average the distance over the horizon instead of using the last step."""

    def __call__(self, futures: Prediction, actions: Tensor) -> Tensor:
        future = futures[self.key]  # (B * K, T, ...)
        goal = self.goal.repeat_interleave(future.shape[0] // self.goal.shape[0], dim=0)[:, None]
        distance = (future - goal).square().flatten(2).mean(-1)  # (B * K, T)
        return -(distance.mean(-1) if self.all_steps else distance[:, -1])


@dataclass(frozen=True)
class ObservedGoal:
    """Distance to the goal that the environment shows: observation `goal_x` is the goal for observation `x`.

    Habitat's goal for `rgb` is called `imagegoal`. The goal state is what the model predicts after it has observed the
    goal, so any model works.
    """

    key: str = "tokens"
    """Prediction to compare."""
    all_steps: bool = False
    """Average the distance over the horizon instead of using the last step."""

    def given(self, model: WorldModel, obs: Mapping[str, Any], action: Tensor) -> GoalDistance:
        """Return the objective for observations (B, ...).

        Args:
            model: Model that observes the goal.
            obs: Observations with at least one goal.
            action: Actions (B, A) or (B,), which set the type and device of the model's input.

        Raises:
            KeyError: If the observations contain no goal.
        """
        goal = {name.removeprefix("goal_"): value for name, value in obs.items() if name.startswith("goal_")}
        goal |= {HABITAT[name]: value for name, value in obs.items() if name in HABITAT}
        if not goal:
            raise KeyError(
                f"no goal is observed: none of the keys {', '.join(obs)} is imagegoal or starts with goal_; choose "
                "another objective"
            )
        first = torch.ones(len(action), dtype=torch.bool, device=action.device)
        state = model.observe(model.initial(len(action)), goal, torch.zeros_like(action), first)
        return GoalDistance(model.predict(state)[self.key], self.key, self.all_steps)


@dataclass(frozen=True)
class Quadratic:
    """Minus the sum over steps of (x - x*)' Q (x - x*) + u' R u, and (x - x*)' Qf (x - x*) at the end.

    x is `futures["state"]` (*B, T, S), the states after each action. The first state does not count, because no plan
    can change it.
    """

    key: ClassVar[str] = "state"
    """The prediction that it scores."""
    q: Tensor
    """Weights Q (S, S) of the running state cost."""
    r: Tensor
    """Weights R (A, A) of the action cost."""
    qf: Tensor
    """Weights Qf (S, S) of the final state cost."""
    target: Tensor
    """Target state x* (S,)."""

    def stage(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the running cost (*B,) of states x (*B, S) and actions u (*B, A)."""
        return quadratic_form(x - self.target, self.q) + quadratic_form(u, self.r)

    def final(self, x: Tensor) -> Tensor:
        """Return the cost (*B,) of last states (*B, S)."""
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
    """Quadratic cost with diagonal weights. The default keeps a pendulum upright.

    Args:
        state: Weights of the model's features.
        action: Weights of the action.
        target: Target features.
        final: Weight of the last state, as a multiple of `state`.
    """
    q = torch.tensor(state, dtype=torch.float64).diag()
    effort = torch.tensor(action, dtype=torch.float64).diag()
    return Quadratic(q, effort, final * q, torch.tensor(target, dtype=torch.float64))


def quadratic_form(x: Tensor, matrix: Tensor) -> Tensor:
    """Return x' M x over the last axis: (*B, S) -> (*B,)."""
    return ((x @ matrix) * x).sum(-1)

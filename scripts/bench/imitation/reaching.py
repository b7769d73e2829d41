"""IRL in a continuous space: a point reaches a goal past an obstacle; the weights of its cost are recovered.

Guided cost learning, beside the same estimate from samples of a fixed proposal.
"""

import torch
from torch import Tensor, nn

from embodia.agents.imitation.inverse.sampled_irl import GaussianProposal, SampledIRL
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.scripts.bench.generative.training import Budget, Numbers, seeded

HORIZON = 8
GOAL, OBSTACLE, REACH = torch.tensor([3.0, 0.0]), torch.tensor([1.5, 0.15]), 0.5
TRUTH = torch.tensor([4.0, 10.0, 3.0])
"""Weights of effort, distance to the goal at the end, and closeness to the obstacle."""
DEMONSTRATIONS = 200


def features(actions: Tensor) -> Tensor:
    """Return the features (N, 3) of displacements (N, HORIZON, 2) from the origin."""
    path = actions.cumsum(1)
    close = torch.exp(-(path - OBSTACLE).square().sum(-1) / (2 * REACH**2)).sum(1)
    return torch.stack([actions.square().sum((1, 2)), (path[:, -1] - GOAL).square().sum(-1), close], 1)


class WeightedCost(nn.Module):
    """Cost linear in the features, with weights from 0.05 to 150."""

    def __init__(self) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.zeros(3))

    @property
    def weight(self) -> Tensor:
        return self.log_weight.clamp(-3, 5).exp()

    def forward(self, actions: Tensor) -> Tensor:
        return features(actions) @ self.weight


def demonstrate(n: int, generator: torch.Generator, draws: int = 200_000) -> Tensor:
    """Sample n action sequences with probability proportional to exp(-cost): those without obstacle, reweighted."""
    effort, reach, _ = TRUTH
    # Without the obstacle each coordinate's actions are normal, with precision 2 (effort I + reach 1 1^T).
    precision = 2 * (effort * torch.eye(HORIZON) + reach * torch.ones(HORIZON, HORIZON))
    mean = torch.linalg.solve(precision, 2 * reach * GOAL.expand(HORIZON, 2))
    root = torch.linalg.cholesky(torch.linalg.inv(precision))
    actions = mean + root @ torch.randn(draws, HORIZON, 2, generator=generator)
    weights = (-TRUTH[2] * features(actions)[:, 2]).exp()
    return actions[torch.multinomial(weights, n, replacement=True, generator=generator)]


def reaching(seed: int, budget: Budget) -> Numbers:
    """Relative error of the recovered weights, with a guided proposal and with a fixed one."""
    shown = demonstrate(DEMONSTRATIONS, seeded(seed))
    numbers: Numbers = {}
    paths = {"expert": shown[:50].cumsum(1)}
    for name, guided in (("guided", True), ("fixed proposal", False)):
        torch.manual_seed(seed)
        cost = WeightedCost()
        learner = SampledIRL(cost, GaussianProposal(HORIZON, 2, 0.5), 1000, guided)
        config = FitConfig(
            steps=budget.steps(500), learning_rate=0.05, warmup=1, weight_decay=0.0, clip=None, device="cpu"
        )
        fit(learner, RandomBatches(lambda rng, n: {"actions": shown}), config, logger=Logger(console=False))
        with torch.no_grad():
            found = cost.weight
            samples, log_weights = learner.log_weights(1000)
        numbers[name] = ((found - TRUTH).norm() / TRUTH.norm()).item()
        numbers[f"effective samples, {name}"] = (1 / log_weights.softmax(0).square().sum() / 1000).item()
        paths[name.replace(" ", "_")] = samples[:50].cumsum(1)
    budget.keep(f"reaching-{seed}", **paths)
    return numbers

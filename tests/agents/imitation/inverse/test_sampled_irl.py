"""IRL by sampling: where costs are quadratic, normaliser and gradient are known exactly."""

import math

import pytest
import torch
from torch import nn

from embodia.agents.imitation.inverse.sampled_irl import GaussianProposal, SampledIRL
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches

H, A = 3, 1


class Quadratic(nn.Module):
    """Cost weight / 2 |actions - 1|^2, so actions are normal with mean 1 and variance 1 / weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, actions):
        return self.weight / 2 * (actions - 1).square().flatten(1).sum(1)


def demonstrations(weight, n=2000):
    return 1 + torch.randn(n, H, A, generator=torch.Generator().manual_seed(0)) / math.sqrt(weight)


def test_loss_and_gradient_are_those_of_the_exact_normaliser():
    torch.manual_seed(0)
    learner, shown = SampledIRL(Quadratic(4.0), GaussianProposal(H, A, 1.5), samples=200_000), demonstrations(4.0)
    loss, numbers = learner.loss({"actions": shown})
    assert numbers["log_z"].item() == pytest.approx(H / 2 * math.log(2 * math.pi / 4), abs=0.02)
    (gradient,) = torch.autograd.grad(loss, learner.cost.parameters())
    exact = (shown - 1).square().sum((1, 2)).mean() / 2 - H / (2 * 4)
    assert gradient.item() == pytest.approx(exact.item(), abs=0.005)


def test_a_guided_proposal_finds_the_experts_law_and_its_cost():
    torch.manual_seed(0)
    shown = demonstrations(9.0)
    learner = SampledIRL(Quadratic(1.0), GaussianProposal(H, A, 1.0))
    config = FitConfig(steps=150, learning_rate=0.5, warmup=1, weight_decay=0.0, clip=None, device="cpu")
    fit(learner, RandomBatches(lambda rng, n: {"actions": shown}), config, logger=Logger(console=False))
    assert learner.cost.weight.item() == pytest.approx(9, rel=0.1)
    torch.testing.assert_close(learner.proposal.mean, torch.ones(H), atol=0.05, rtol=0)
    torch.testing.assert_close(learner.proposal.covariance, torch.eye(H) / 9, atol=0.03, rtol=0)


@pytest.mark.parametrize("shown", [torch.zeros(0, H, A), torch.zeros(2, H + 1, A), torch.full((1, H, A), math.nan)])
def test_bad_demonstrations_are_one_clear_error(shown):
    with pytest.raises(ValueError, match=r"demonstrated actions \(.*\) must be finite, of shape \(N, 3, 1\)"):
        SampledIRL(Quadratic(1.0), GaussianProposal(H, A)).loss({"actions": shown})

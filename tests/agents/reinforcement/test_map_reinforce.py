"""REINFORCE for policies on maps: the gradient's expectation on a corridor, learning without an expert, errors."""

import numpy as np
import pytest
import torch
from torch import nn

from embodia.agents.reinforcement.map_reinforce import MapReinforce
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.envs.control.grid_world import RECIPES, follow, grid_worlds
from embodia.planners.search.map_policy import MapPolicy
from embodia.planners.search.value_iteration_network import ValueIterationNetwork, VINConfig
from embodia.scripts.bench.planning.vin_data import Mover, starts_on


class OneNumber(MapPolicy):
    """Moves right with logit w, and does each other move with logit 0."""

    def __init__(self):
        super().__init__(channels=1)
        self.w = nn.Parameter(torch.tensor(0.5))

    def forward(self, maps):
        logits = torch.cat([self.w[None], torch.zeros(7)])
        return logits.expand(len(maps), *maps.shape[2:], 8)


def test_the_gradient_is_that_of_the_expected_return():
    free = torch.zeros(3, 4, dtype=torch.bool)
    free[1, 1:3] = True  # a corridor of two cells: right is the only move that succeeds
    batch = {
        "maps": torch.zeros(4000, 1, 3, 4),
        "free": free.flatten().expand(4000, -1),
        "goal": torch.full((4000,), 6),
        "start": torch.full((4000, 1), 5),
    }
    torch.manual_seed(0)
    learner = MapReinforce(OneNumber(), paths=4, horizon=2, discount=0.9)
    loss, _ = learner.loss(batch)
    loss.backward()
    w = torch.tensor(0.5, requires_grad=True)
    right = w.exp() / (w.exp() + 7)
    (-(0.9 * right + 0.81 * (1 - right) * right)).backward()
    assert learner.policy.w.grad.item() == pytest.approx(w.grad.item(), rel=0.03)
    with torch.no_grad():
        assert loss.item() == pytest.approx(-(0.9 * right + 0.81 * (1 - right) * right).item(), rel=0.03)


def test_reward_of_the_goal_alone_teaches_to_plan():
    worlds = grid_worlds(RECIPES[8], 240)
    train, test = worlds.part(0, 200), worlds.part(200, 240)
    torch.manual_seed(0)
    policy = ValueIterationNetwork(config=VINConfig(8))
    before = follow(test, Mover(policy, test)).success.mean()
    config = FitConfig(steps=80, batch_size=16, learning_rate=1e-2, weight_decay=0.0, device="cpu", warmup=5)
    fit(MapReinforce(policy), RandomBatches(starts_on(train, 8)), config, logger=Logger(console=False))
    assert follow(test, Mover(policy, test)).success.mean() > before + 0.3


def test_starts_can_reach_their_goals():
    worlds = grid_worlds(RECIPES[8], 30)
    batch = starts_on(worlds, 5)(np.random.default_rng(0), 10)
    assert batch["start"].shape == (10, 5)
    assert batch["free"][torch.arange(10)[:, None], batch["start"]].all()
    assert (batch["start"] != batch["goal"][:, None]).all()


def test_one_path_has_no_baseline():
    with pytest.raises(ValueError, match="paths is 1; the baseline needs at least 2"):
        MapReinforce(OneNumber(), paths=1)

"""Dreamer: exact formulas, resume, and learning of a task on which random actions score low."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.reinforcement.actor_critic import lambda_returns
from embodia.agents.reinforcement.dreamer import Dreamer, DreamerConfig
from embodia.agents.reinforcement.laprop import LaProp
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.models.rssm import RSSMConfig
from embodia.tests.corridors import CELL, Corridors, assert_resumes, live

TINY = DreamerConfig(
    model=RSSMConfig(deter=32, stoch=4, classes=4, units=32, blocks=4, free_nats=0.1),
    batch_size=16,
    sequence_length=12,
    learning_starts=100,
    train_ratio=20,
    learning_rate=2e-3,
    warmup=20,
    imagination_horizon=8,
    ent_coef=3e-3,
)


def dreamer(seed=0, config=TINY, actions=None):
    torch.manual_seed(seed)
    return Dreamer(CELL, actions or spaces.Discrete(2), MLPEncoder(CELL), config)


def mean_return(agent, episodes=40):
    env, carry, total = Corridors(episodes), agent.initial(episodes), np.zeros(episodes)
    open_ = np.ones(episodes, bool)
    for _ in range(22):
        row = env.row()
        total += row["reward"] * open_
        open_ &= ~row["last"]
        action, carry, _ = agent.act(row["obs"], carry, row["first"], "eval")
        env.step(action)
    return total.mean()


def test_lambda_returns_are_the_weighted_mixture_of_n_step_returns():
    """By definition: R = (1 - lam) sum_n lam^(n-1) G_n + lam^(H-1) G_H."""
    g = torch.Generator().manual_seed(0)
    horizon, lam = 6, 0.9
    reward, value = torch.randn(2, horizon + 1, 3, generator=g, dtype=torch.float64)
    cont = torch.rand(horizon + 1, 3, generator=g, dtype=torch.float64)

    def n_step(n):
        total, weight = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        for k in range(1, n + 1):
            total, weight = total + weight * reward[k], weight * cont[k]
        return total + weight * value[n]

    expected = sum((1 - lam) * lam ** (n - 1) * n_step(n) for n in range(1, horizon)) + lam ** (horizon - 1) * n_step(
        horizon
    )
    torch.testing.assert_close(lambda_returns(reward, cont, value, lam)[0], expected)
    where = torch.full_like(value, lam).index_fill(0, torch.tensor(3), 0.0)  # no return continues beyond state 3
    cut = lambda_returns(reward, cont, value, where)
    torch.testing.assert_close(cut[:3], lambda_returns(reward[:4], cont[:4], value[:4], lam))
    torch.testing.assert_close(cut[3:], lambda_returns(reward[3:], cont[3:], value[3:], lam))


def test_the_return_scale_never_amplifies():
    agent = dreamer()
    assert float(agent.return_scale(torch.linspace(0, 0.1, 100))) == 1.0
    for _ in range(2000):
        scale = agent.return_scale(torch.linspace(0, 100, 101))
    assert float(scale) == pytest.approx(90.0, rel=1e-3)


def test_laprop_clips_by_the_parameters_own_size_and_normalises_first():
    parameter = torch.nn.Parameter(torch.full((4,), 2.0))  # norm 4
    optimizer = LaProp([parameter], lr=0.1, clip=0.25, warmup=1)
    parameter.grad = torch.full((4,), 1e6)
    optimizer.step()
    torch.testing.assert_close(optimizer.state[parameter]["square"], torch.full((4,), 0.25e-3))  # |g| <= 1, 0.5 each
    torch.testing.assert_close(parameter.detach(), torch.full((4,), 1.9))  # a first step has size lr, whatever g


@pytest.mark.parametrize("space", [spaces.Discrete(3, start=2), spaces.Box(np.float32([-2, 0]), np.float32([2, 1]))])
def test_actions_lie_in_the_space_and_survive_the_way_back(space):
    agent = dreamer(actions=space)
    row = Corridors(50).row()
    action, carry, _ = agent.act(row["obs"], agent.initial(50), row["first"], "train")
    assert all(space.contains(a) for a in action)
    torch.testing.assert_close(agent.from_space(torch.as_tensor(action)).clamp(-1, 2**20), carry["action"].clamp(-1, 1)
                               if action.dtype != np.int64 else carry["action"])  # fmt: skip


def test_learns_the_far_prize():
    agent = dreamer()
    assert mean_return(agent) < 0.9
    env = Corridors(8)
    live(agent, agent.buffer(), env, agent.initial(8), 250)
    assert mean_return(agent) > 0.9


def test_resumes_bit_for_bit(tmp_path):
    assert_resumes(dreamer, lambda agent: agent.nets.state_dict(), tmp_path, before=60, after=30)

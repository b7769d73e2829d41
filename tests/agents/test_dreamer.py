"""Dreamer: its exact parts, its resume, and that it learns where random acting does not get far."""

import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.dreamer import Dreamer, DreamerConfig, lambda_returns
from agents.laprop import LaProp
from perception.mlp import MLPEncoder
from planners.rssm import RSSMConfig

SPACE = spaces.Dict({"cell": spaces.Discrete(7)})
TINY = DreamerConfig(
    model=RSSMConfig(deter=32, stoch=4, classes=4, units=32, blocks=4, free_nats=0.1),
    batch_size=16,
    length=12,
    learning_starts=100,
    train_ratio=20,
    learning_rate=2e-3,
    warmup=20,
    imagine=8,
    entropy=3e-3,
)


def dreamer(seed=0, config=TINY, actions=None):
    torch.manual_seed(seed)
    return Dreamer(SPACE, actions or spaces.Discrete(2), MLPEncoder(SPACE), config)


class Corridors:
    """n corridors of seven cells: start in the middle, the right end pays 1, the left end 0.1; both end the episode."""

    def __init__(self, n, seed=0):
        self.n, self.rng = n, np.random.default_rng(seed)
        self.cell = np.full(n, 3)
        self.first, self.last = np.ones(n, bool), np.zeros(n, bool)
        self.reward, self.steps = np.zeros(n, np.float32), np.zeros(n, int)

    def row(self):
        done = (self.cell == 0) | (self.cell == 6)
        obs = {"cell": self.cell.copy()}
        flags = {"first": self.first, "last": self.last, "terminal": self.last & done}
        return {"obs": obs, "reward": self.reward, **flags, "extras": {}}

    def step(self, action):
        fresh = self.last
        self.cell = np.where(fresh, 3, self.cell + 2 * action - 1)
        self.steps = np.where(fresh, 0, self.steps + 1)
        self.first = fresh
        self.reward = np.where(fresh, 0, np.where(self.cell == 6, 1, np.where(self.cell == 0, 0.1, 0))).astype(
            np.float32
        )
        self.last = (self.cell == 0) | (self.cell == 6) | (self.steps >= 20)


def train(agent, buffer, env, carry, steps):
    for _ in range(steps):
        row = env.row()
        action, carry, _ = agent.act(row["obs"], carry, row["first"], "train")
        buffer.add({**row, "action": action})
        for batch in buffer.batches():
            agent.update(batch)
        env.step(action)
    return carry


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
    train(agent, agent.buffer(), env, agent.initial(8), 250)
    assert mean_return(agent) > 0.9


def test_resumes_bit_for_bit(tmp_path):
    def parts(seed):
        agent = dreamer(seed)
        return agent, agent.buffer(), Corridors(4)

    other, other_buffer, _ = parts(1)
    agent, buffer, env = parts(0)
    carry = train(agent, buffer, env, agent.initial(4), 60)
    agent.save(tmp_path)
    saved = agent.training_state(), buffer.state_dict(), torch.get_rng_state()
    other.load(tmp_path)
    other.set_training_state(copy.deepcopy(saved[0]))
    other_buffer.load_state_dict(copy.deepcopy(saved[1]))
    other_env, other_carry = copy.deepcopy(env), copy.deepcopy(carry)
    train(agent, buffer, env, carry, 30)
    torch.set_rng_state(saved[2])
    train(other, other_buffer, other_env, other_carry, 30)
    for (name, a), b in zip(agent.nets.state_dict().items(), other.nets.state_dict().values(), strict=True):
        assert torch.equal(a, b), name

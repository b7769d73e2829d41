"""SB3's algorithms as agents: they learn, use real transitions only, and refuse unsupported spaces."""

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from torch import nn

from embodia.agents.reinforcement.sb3.a2c import A2C, A2CConfig
from embodia.agents.reinforcement.sb3.dqn import SB3DQN, SB3DQNConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPO, SB3PPOConfig
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.rng import seed_all
from embodia.envs.vector import SyncVector
from embodia.perception import Encoder
from embodia.perception.encoders.combined import CombinedEncoder
from embodia.perception.encoders.conv_net import ConvNet
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.tests.fakes import EverySpaceEnv, IdentityEnv

CPU = {"device": "cpu"}
EAGER = {
    "learning_rate": 2e-3,
    "learning_starts": 200,
    "exploration_rows": 1500,
    "train_freq": 1,
    "target_update_interval": 200,
}


def worlds(n=8, **kwargs):
    return SyncVector([lambda: IdentityEnv(**kwargs)] * n)


def encoder_of(env):
    return MLPEncoder(env.single_observation_space, hidden=(), dim=16)


def mean_return(agent, env, seeds=range(1000, 1020)):
    return np.mean([episode.return_ for episode in evaluate(agent, env, seeds)])


@pytest.mark.parametrize(
    ("agent", "config", "steps"),
    [
        (SB3PPO, SB3PPOConfig(**CPU, n_steps=32, batch_size=64, learning_rate=3e-3), 3000),
        (A2C, A2CConfig(**CPU, learning_rate=3e-3), 3000),
        (SB3DQN, SB3DQNConfig(**CPU, **EAGER), 3000),
    ],
)
def test_discrete_identity_is_solved(agent, config, steps):
    seed_all(0)
    env = worlds()
    learner = agent(encoder_of(env), env.single_action_space, config)
    assert mean_return(learner, env) < 6
    train(learner, env, Schedule(steps=steps))
    assert mean_return(learner, env) == 8.0


def test_continuous_identity_is_learned_and_actions_stay_inside():
    seed_all(0)
    env = worlds(continuous=True)
    config = SB3PPOConfig(**CPU, n_steps=32, batch_size=64, learning_rate=3e-3, ent_coef=0.0)
    learner = SB3PPO(encoder_of(env), env.single_action_space, config)
    before = mean_return(learner, env)
    train(learner, env, Schedule(steps=4000))
    assert mean_return(learner, env) > 0.3 * before
    obs, _ = env.reset(seed=0)
    action, _, extras = learner.act(obs, {}, np.ones(8, bool), "train")
    assert env.action_space.contains(action)
    np.testing.assert_array_equal(action, np.clip(extras["sampled"], -1, 1))


@pytest.mark.slow
def test_ppo_learns_as_plain_sb3_does():
    """With the same problem, hyperparameters and steps, both solve it about equally fast."""

    class Flat(gym.ObservationWrapper):
        def __init__(self):
            super().__init__(IdentityEnv(n=6))
            self.observation_space = self.env.observation_space["shown"]

        def observation(self, obs):
            return obs["shown"]

    config = SB3PPOConfig(**CPU, n_steps=32, batch_size=64, learning_rate=1e-3)
    curves = {"ours": [], "plain": []}
    for seed in range(3):
        seed_all(seed)
        env = SyncVector([lambda: IdentityEnv(n=6)] * 8)
        ours = SB3PPO(MLPEncoder(env.single_observation_space, hidden=(), dim=64), env.single_action_space, config)
        train(ours, env, Schedule(steps=2500, seed=seed))
        curves["ours"].append(mean_return(ours, env))
        plain = stable_baselines3.PPO(
            "MlpPolicy",
            stable_baselines3.common.vec_env.DummyVecEnv([Flat] * 8),
            n_steps=32, batch_size=64, n_epochs=4, learning_rate=1e-3, ent_coef=0.01, seed=seed, device="cpu",
        )  # fmt: skip
        plain.learn(2500)

        def act(obs, plain=plain):
            return plain.predict(obs["shown"], deterministic=True)[0]

        ours.act = lambda obs, carry, first, mode, act=act: (act(obs), carry, {})
        curves["plain"].append(mean_return(ours, env))
    assert abs(np.mean(curves["ours"]) - np.mean(curves["plain"])) < 1.0, curves
    assert min(np.mean(curve) for curve in curves.values()) > 6, curves


def test_minibatches_are_the_transitions_of_the_rollout_once_each():
    seed_all(0)
    env = worlds(3, length=3)
    agent = SB3PPO(encoder_of(env), env.single_action_space, SB3PPOConfig(**CPU, n_steps=14, batch_size=5, gamma=0.9))
    rollouts, learn = [], agent._learn

    def keep():
        rollouts.append(agent.model.rollout_buffer)
        return learn()

    agent._learn = keep
    buffer = agent.buffer()
    agent.buffer = lambda: buffer
    rows, add = [], buffer.add
    buffer.add = lambda row: (rows.append(row), add(row))
    train(agent, env, Schedule(steps=45))
    rollout = rollouts[0]
    # Episodes of 3 actions and a last row: of 14 rows, 11 start a transition.
    parts = list(rollout.get(5))
    assert [len(part.returns) for part in parts] == [5] * 6 + [3]
    joined = torch.cat([part.old_log_prob for part in parts]).sort().values
    expected = np.sort([row["extras"]["log_prob"][w] for row in rows[:14] for w in range(3) if not row["last"][w]])
    np.testing.assert_array_equal(joined.numpy(), expected)
    # Truncated episodes: the advantage of the last action uses the value of the last observation.
    t = next(t for t, row in enumerate(rows) if row["last"][0])
    value = [row["extras"]["value"][0] for row in rows]
    delta = rows[t]["reward"][0] + 0.9 * value[t] - value[t - 1]
    found = [r.item() - v.item() for r, v in zip(rollout.table["return"], rollout.table["value"])]
    assert np.isclose(found, delta, atol=1e-5).any()


@pytest.mark.parametrize(
    "actions",
    [spaces.Discrete(4, start=2), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3), spaces.Box(-1, 1, (2,))],
)
def test_every_observation_and_action_space_goes_round(actions):
    env = SyncVector([lambda: EverySpaceEnv(actions, pair=False)] * 2)
    flat = spaces.Dict({key: env.single_observation_space[key] for key in ("vector", "tokens", "one_of", "bits")})
    encoder = CombinedEncoder(flat, dim=8)
    algorithms = [(SB3PPO, SB3PPOConfig(**CPU, n_steps=6, batch_size=4)), (A2C, A2CConfig(**CPU))]
    if isinstance(actions, spaces.Discrete):
        algorithms = [(SB3DQN, SB3DQNConfig(**CPU, learning_starts=4, train_freq=1))] if actions.start else algorithms
    for algorithm, config in algorithms:
        agent = algorithm(encoder, actions, config)
        assert train(agent, env, Schedule(steps=30)).step >= 30
        assert len(evaluate(agent, env, range(2))) == 2


def test_an_encoder_comes_with_what_it_has_learned_and_goes_on_learning():
    env = worlds()
    for algorithm in (SB3PPO, A2C, SB3DQN):
        encoder = encoder_of(env)
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        agent = algorithm(encoder, env.single_action_space)
        assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
        optimized = {id(p) for group in agent.policy.optimizer.param_groups for p in group["params"]}
        networks = [agent.model.q_net] if algorithm is SB3DQN else [agent.policy]
        mine = [module for net in networks for module in net.modules() if isinstance(module, MLPEncoder)]
        assert mine
        assert all(id(parameter) in optimized for module in mine for parameter in module.parameters())
        assert all(torch.equal(t, before[n]) for module in mine for n, t in module.state_dict().items())


@pytest.mark.parametrize("agent", [SB3PPO, A2C, SB3DQN])
def test_an_encoder_of_channels_last_kernels_and_running_statistics_comes_as_it_is(agent):
    encoder = ConvNet(spaces.Dict(image=spaces.Box(0, 255, (16, 16, 3), np.uint8)), (4, 4), (2, 2))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    configs = {SB3PPO: SB3PPOConfig(**CPU), A2C: A2CConfig(**CPU), SB3DQN: SB3DQNConfig(**CPU)}
    agent(encoder, spaces.Discrete(2), configs[agent])
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_target_network_follows_at_its_pace():
    env = worlds(2)
    agent = SB3DQN(encoder_of(env), env.single_action_space, SB3DQNConfig(**CPU, target_update_interval=10, tau=0.5))
    with torch.no_grad():
        for parameter in agent.model.q_net.parameters():
            parameter.fill_(1.0)
        for parameter in agent.model.q_net_target.parameters():
            parameter.fill_(0.0)
    obs, _ = env.reset(seed=0)
    values = []
    for _ in range(10):
        agent.act(obs, {}, np.zeros(2, bool), "train")
        values.append(next(agent.model.q_net_target.parameters()).flatten()[0].item())
    assert values == [0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.75]
    agent.rows = 0
    assert agent.exploration() == 1
    agent.rows = 5_000
    assert agent.exploration() == pytest.approx(0.525)
    agent.rows = 10**6
    assert agent.exploration() == 0.05


def test_the_learning_rate_falls_where_it_is_told_to():
    env = worlds(2)
    config = SB3PPOConfig(**CPU, n_steps=10, batch_size=8, anneal_rows=40, learning_rate=1e-3)
    agent = SB3PPO(encoder_of(env), env.single_action_space, config)
    train(agent, env, Schedule(steps=20))  # one update, after 11 rows of two worlds
    assert agent.policy.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * (1 - 22 / 40))


def test_the_ecosystem_can_call_it():
    env = worlds(2)
    agent = SB3PPO(encoder_of(env), env.single_action_space, SB3PPOConfig(**CPU))
    obs, _ = env.reset(seed=0)
    action, state = agent.predict(obs, None, np.ones(2, bool), deterministic=True)
    assert action.shape == (2,)
    assert state == {}


def test_what_it_cannot_do_is_said_before_anything_is_built():
    env = worlds(1, continuous=True)
    with pytest.raises(ValueError, match=r"SB3DQN supports Discrete action spaces, not Box"):
        SB3DQN(encoder_of(env), env.single_action_space)
    with pytest.raises(ValueError, match="SB3PPO supports Discrete, MultiDiscrete, MultiBinary, Box"):
        SB3PPO(encoder_of(env), spaces.Tuple([]))
    with pytest.raises(ValueError, match="batch_size must be at least 2"):
        SB3PPO(encoder_of(env), env.single_action_space, SB3PPOConfig(batch_size=1))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='torch finds no CUDA device; use "auto" or "cpu"'):
            SB3PPO(encoder_of(env), env.single_action_space, SB3PPOConfig(device="cuda"))


def test_an_encoder_that_does_not_keep_its_promise_is_named():
    class Wrong(Encoder):
        keys = ("shown",)
        num_tokens, dim = 1, 8

        def __init__(self, space):
            super().__init__(space)
            self.layer = nn.Linear(4, 8)

        def forward(self, obs):
            return self.layer(obs["shown"])

    env = worlds(1)
    with pytest.raises(ValueError, match=r"Wrong returns shape \(2, 8\) for two observations, expected \(2, 1, 8\)"):
        SB3PPO(Wrong(env.single_observation_space), env.single_action_space)

"""Offline learning by `fit`: behaviour cloning, memory and world models, with exact resume."""

import signal

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.imitation.dagger import DAgger, DAggerConfig
from embodia.agents.references.expert import Expert
from embodia.agents.references.random import Random
from embodia.agents.reinforcement.dreamer import Dreamer, DreamerConfig
from embodia.agents.reinforcement.mpc import MPC, MPCSettings
from embodia.agents.reinforcement.sb3.a2c import A2C
from embodia.agents.reinforcement.sb3.dqn import SB3DQN, SB3DQNConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPO
from embodia.agents.reinforcement.td_mpc2 import TDMPC2, TDMPC2Config
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.recorded import RecordedBatches
from embodia.agents.training.rng import seed_all
from embodia.agents.training.rows import stack
from embodia.envs.vector import SyncVector
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.models.pendulum import Pendulum
from embodia.planners.models.rssm import RSSM, RSSMConfig
from embodia.planners.models.td_mpc2 import TDMPC2ModelConfig
from embodia.planners.search.cem import CEM
from embodia.planners.search.objective import Quadratic, Return
from embodia.tests.fakes import CueEnv, IdentityEnv

TINY = RSSMConfig(deter=32, stoch=4, classes=4, units=32, blocks=4, free_nats=0.1)


class Corridor(gym.Env):
    """Seven cells; the reward is 1 at the right end and 0.1 at the left end."""

    observation_space = spaces.Dict({"cell": spaces.Discrete(7)})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell, self.steps = 3, 0
        return {"cell": np.int64(3)}, {}

    def step(self, action):
        self.cell, self.steps = self.cell + 2 * int(action) - 1, self.steps + 1
        reward = {6: 1.0, 0: 0.1}.get(self.cell, 0.0)
        info = {"metrics": {"success": float(self.cell == 6)}}
        return {"cell": np.int64(self.cell)}, reward, reward > 0, self.steps >= 20, info


class Memory:
    """A `Recording` of the agent's episodes, with the noise `spoil` on its actions."""

    name = "memory"

    def __init__(self, agent, env, episodes, spoil=None, advised=True):
        self.advised, rows = advised and "eval" in agent.needs_expert, {}

        def keep(world, seed, row, info, frame):
            rows.setdefault(seed, []).append(row if spoil is None else {**row, "action": spoil(row["action"])})

        evaluate(agent, env, range(episodes), keep)
        self.episodes = [stack(rows[seed]) for seed in range(episodes)]
        if not self.advised:
            self.episodes = [{**episode, "extras": {}} for episode in self.episodes]
        self.lengths = [len(episode["reward"]) for episode in self.episodes]

    def rows(self, number):
        return self.episodes[number]


def worlds(kind=IdentityEnv, n=8, **kwargs):
    return SyncVector([lambda: kind(**kwargs)] * n)


def expert(env):
    return Expert(env.single_observation_space, env.single_action_space)


def success(agent, env, episodes=40):
    played = evaluate(agent, env, range(1000, 1000 + episodes))
    return float(np.mean([episode.metrics["success"] for episode in played]))


def cloner(env, agent=BC, config=BCConfig, **settings):
    seed_all(0)
    chosen = config(**{"device": "cpu", "hidden": (32,), "batch_size": 32, "learning_rate": 3e-3, **settings})
    return agent(MLPEncoder(env.single_observation_space, dim=32, hidden=(32,)), env.single_action_space, chosen)


def learned(agent, recordings, steps, folder=None, capacity=10_000, **how):
    pieces = agent.offline()
    data = RecordedBatches(recordings, pieces, capacity)
    return fit(agent, data, FitConfig(steps=steps, batch_size=pieces.number, log_every=5), folder, **how)


@pytest.mark.parametrize(("agent", "config"), [(BC, BCConfig), (DAgger, DAggerConfig)])
@pytest.mark.parametrize("advised", [True, False])
def test_cloning_does_what_was_done(agent, config, advised):
    env = worlds()
    recorded = Memory(expert(env), env, 40, advised=advised)
    learner = cloner(env, agent, config)
    assert success(learner, env) < 0.6
    learned(learner, [recorded], 150)
    assert success(learner, env) == 1.0


def test_advice_goes_before_what_was_done():
    env, rng = worlds(), np.random.default_rng(0)
    drunk = Memory(expert(env), env, 40, spoil=lambda action: rng.integers(4))
    learner = cloner(env)
    learned(learner, [drunk], 150)
    assert success(learner, env) == 1.0


def test_cloning_of_continuous_actions():
    env = worlds(continuous=True)
    learner = cloner(env)
    learned(learner, [Memory(expert(env), env, 40)], 300)
    assert np.mean([episode.return_ for episode in evaluate(learner, env, range(20))]) > -0.3


def test_memory_is_learned_from_pieces():
    env = worlds(CueEnv)
    recorded = Memory(expert(env), env, 40)
    remembering, without = cloner(env, memory=16, sequence_length=5), cloner(env)
    for learner in (remembering, without):
        learned(learner, [recorded], 100)
    assert success(remembering, env) == 1.0
    assert success(without, env) < 0.8


def mpc(seed=0):
    seed_all(seed)
    cell, actions = Corridor.observation_space, Corridor.action_space
    model = RSSM(cell, actions, MLPEncoder(cell), TINY)
    planner = CEM(actions, horizon=8, samples=64, elites=8, iterations=3)
    settings = MPCSettings(device="cpu", batch_size=16, sequence_length=12, learning_rate=3e-3)
    return MPC(cell, actions, model, planner, Return(0.95), settings)


def test_a_world_model_learned_from_random_acting_is_planned_in():
    env = worlds(Corridor, n=16)
    random = Random(env.single_observation_space, env.single_action_space)
    agent = mpc()
    learned(agent, [Memory(random, env, 60)], 150)
    assert success(random, env) < 0.75
    assert success(agent, env, 16) > 0.9


def test_q_values_learned_from_random_acting_lead_to_the_prize():
    env = worlds(Corridor, n=16)
    random = Random(env.single_observation_space, env.single_action_space)
    agent = dqn()
    learned(agent, [Memory(random, env, 60)], 400)
    assert agent.rows > 400 * 16, "transitions learned from, which move the target network"
    assert success(agent, env, 16) == 1.0


def dqn(seed=0):
    seed_all(seed)
    config = SB3DQNConfig(device="cpu", batch_size=32, learning_rate=3e-3, gamma=0.9, target_update_interval=300)
    return SB3DQN(MLPEncoder(Corridor.observation_space), Corridor.action_space, config)


def dreamer(seed=0):
    seed_all(seed)
    cell = Corridor.observation_space
    config = DreamerConfig(model=TINY, device="cpu", batch_size=8, sequence_length=8, imagination_horizon=4)
    return Dreamer(cell, Corridor.action_space, MLPEncoder(cell), config)


def td_mpc2(seed=0):
    seed_all(seed)
    seen, actions = spaces.Dict({"shown": spaces.Box(-1, 1, (2,), np.float32)}), spaces.Box(-1, 1, (2,), np.float32)
    config = TDMPC2Config(device="cpu", batch_size=16, model=TDMPC2ModelConfig(latent_dim=16, units=32))
    return TDMPC2(seen, actions, MLPEncoder(seen), config)


@pytest.fixture(scope="module")
def recorded():
    """The layout of batches for each agent."""
    corridor, shown, continuous = worlds(Corridor), worlds(), worlds(continuous=True)
    random = Random(corridor.single_observation_space, corridor.single_action_space)
    return {
        mpc: Memory(random, corridor, 20),
        dreamer: Memory(random, corridor, 20),
        dqn: Memory(random, corridor, 20),
        td_mpc2: Memory(expert(continuous), continuous, 20),
        lambda seed: cloner(shown): Memory(expert(shown), shown, 20),
    }


def weights(agent):
    module = next(getattr(agent, name) for name in ("policy", "nets", "model") if hasattr(agent, name))
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


class Interrupted(RecordedBatches):
    """Sends a signal at the fourth batch."""

    def batch(self, n):
        self.given = getattr(self, "given", 0) + 1
        if self.given == 4:
            signal.raise_signal(signal.SIGTERM)
        return super().batch(n)


@pytest.mark.parametrize("number", range(5))
def test_half_a_run_and_the_other_half_are_the_run_bit_for_bit(recorded, number, tmp_path):
    """With memory for a third of the data."""
    make, recording = list(recorded.items())[number]
    whole, config = make(0), FitConfig(steps=12, batch_size=8, log_every=4)
    fit(whole, RecordedBatches([recording], whole.offline(), 60), config, tmp_path / "whole")
    begun = make(0)
    stopped = fit(begun, Interrupted([recording], begun.offline(), 60), config, tmp_path / "parts")
    assert stopped.updates == 4
    resumed = make(1)
    torch.manual_seed(99)
    data = RecordedBatches([recording], resumed.offline(), 60)
    assert fit(resumed, data, config, tmp_path / "parts", resume=True).updates == 12
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(whole), weights(begun))


def test_who_learns_from_its_own_actions_only_says_so():
    env = worlds()
    encoder, actions = MLPEncoder(env.single_observation_space), env.single_action_space
    box, q = spaces.Box(-2, 2, (1,)), torch.eye(3, dtype=torch.float64)
    state = spaces.Dict({"state": spaces.Box(-8, 8, (3,))})
    analytic = MPC(state, box, Pendulum(), CEM(box), Quadratic(q, q[:1, :1], q, torch.zeros(3).double()))
    for agent in (SB3PPO(encoder, actions), A2C(encoder, actions), expert(env), analytic):
        assert agent.offline() is None

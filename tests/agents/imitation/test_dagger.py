"""DAgger: which policy acts when, and why the learner's own states matter."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.imitation.dagger import DAgger, DAggerConfig
from embodia.agents.training.evaluate import evaluate
from embodia.envs.vector import SyncVector
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.tests.agents.imitation.test_bc import train


class RidgeEnv(gym.Env):
    """Stay on a ridge in gusts of wind; five or more steps beside it one falls.

    A gust (-1 or 1) is shown, but one time in five it is not, and then only the expert knows it. So the expert is never
    off the ridge and its episodes do not show how to come back; a learner guesses, slips, and needs just that.
    """

    def __init__(self, length: int = 40):
        self.length = length
        self.observation_space = spaces.Dict(
            {"place": spaces.Discrete(9, start=-4), "gust": spaces.Discrete(3, start=-1)}
        )
        self.action_space = spaces.Discrete(3)

    def _obs(self):
        self.gust = int(self.np_random.choice([-1, 1]))
        hidden = self.np_random.random() < 0.2
        return {"place": np.clip(self.place, -4, 4), "gust": 0 if hidden else self.gust}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.place = 0, 0
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        self.place += self.gust + int(action) - 1
        lost, over = abs(self.place) > 4, self.steps >= self.length
        info = {"metrics": {"success": float(not lost)}} if lost or over else {}
        return self._obs(), float(not lost), lost, over, info

    def expert_action(self):
        return 1 + int(np.clip(-(self.place + self.gust), -1, 1))


def learner(agent, config, env, **settings):
    torch.manual_seed(0)
    encoder = MLPEncoder(env.single_observation_space, dim=32, hidden=(32,))
    shared = {
        "device": "cpu",
        "hidden": (32,),
        "batch_size": 64,
        "learning_starts": 1,
        "train_freq": 64,
        "gradient_steps": 50,
    }
    return agent(encoder, env.single_action_space, config(**{**shared, **settings}))


def test_the_learners_own_states_are_worth_more_than_the_experts():
    env = SyncVector([RidgeEnv] * 8)
    share = {}
    for agent, config in ((BC, BCConfig), (DAgger, DAggerConfig)):
        one = learner(agent, config, env)
        train(one, env, 64 * 5 + 1)
        share[agent] = np.mean([episode.metrics["success"] for episode in evaluate(one, env, range(500, 540))])
    assert share[DAgger] >= 0.9
    assert share[BC] <= 0.5


def test_beta_halves_with_every_round():
    env = SyncVector([RidgeEnv] * 2)
    agent = learner(DAgger, DAggerConfig, env, beta=0.5, gradient_steps=3)
    assert agent.beta == 1.0
    agent.updates = 7
    assert agent.beta == 0.25


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_expert_drives_a_share_beta_of_the_steps(beta):
    env = SyncVector([RidgeEnv] * 2)
    agent = learner(DAgger, DAggerConfig, env, beta=beta, explore=False)
    agent.updates = agent.config.gradient_steps  # round 1
    n = 4000
    obs = {"place": np.zeros(n, int), "gust": np.ones(n, int)}
    own, _, _ = agent.act(obs, {}, np.ones(n, bool), "eval")
    expert = (own + 1) % 3
    action, _, _ = agent.act({**obs, "expert_action": expert}, {}, np.ones(n, bool), "train")
    assert abs((action == expert).mean() - beta) < 0.03
    assert ((action == expert) | (action == own)).all()


def test_the_first_round_is_the_experts():
    env = SyncVector([RidgeEnv] * 2)
    agent = learner(DAgger, DAggerConfig, env, gradient_steps=1)
    obs = {"place": np.zeros(50, int), "gust": np.zeros(50, int), "expert_action": np.full(50, 2)}
    action, _, _ = agent.act(obs, {}, np.ones(50, bool), "train")
    assert (action == 2).all()


def test_labels_are_the_experts_where_the_learner_drove():
    env = SyncVector([RidgeEnv] * 2)
    agent = learner(DAgger, DAggerConfig, env, learning_starts=10**9)
    agent.updates = agent.config.gradient_steps
    buffer, _, _ = train(agent, env, 200)
    batch = next(buffer.epoch())
    assert (batch["action"] != batch["extras"]["expert_action"]).any()
    place, gust, advice = batch["obs"]["place"], batch["obs"]["gust"], batch["extras"]["expert_action"]
    assert (np.abs(place) > 1).any()  # the learner's states: the expert has never been there
    seen = gust != 0
    np.testing.assert_array_equal(advice[seen], 1 + np.clip(-(place + gust), -1, 1)[seen])


def test_a_piece_from_the_middle_of_an_episode_is_learned_with_its_past():
    env = SyncVector([RidgeEnv] * 2)
    settings = {"memory": 8, "sequence_length": 4, "explore": False, "learning_starts": 10**9}
    agent = learner(DAgger, DAggerConfig, env, **settings)
    agent.updates = agent.config.gradient_steps  # the learner acts, without updates
    buffer, _, _ = train(agent, env, 100)
    (batch,) = [batch for _, batch in zip(range(1), buffer.epoch())]
    before = torch.from_numpy(batch["extras"]["memory"][0]).float()
    obs = {key: torch.from_numpy(batch["obs"][key]) for key in agent.policy.encoder.keys}
    features = agent.policy.features(obs, torch.from_numpy(batch["first"]), before)
    remembered = torch.from_numpy(batch["extras"]["memory"][1:]).float()
    again = agent.policy.memory(agent.policy.encoder(obs).flatten(-2), before, torch.from_numpy(batch["first"]))
    kept = batch["mask"][1:]
    torch.testing.assert_close(again[:-1][kept], remembered[kept], atol=2e-3, rtol=0)
    chosen = agent.policy.head.mode(features).numpy()[batch["mask"]]
    assert (chosen == batch["action"][batch["mask"]]).mean() > 0.99


def test_drawn_actions_of_an_evaluation_repeat_whatever_the_number_of_worlds():
    one = learner(DAgger, DAggerConfig, SyncVector([RidgeEnv] * 2), memory=8, temperature=0.5)
    alone, beside = (evaluate(one, SyncVector([RidgeEnv] * n), range(7)) for n in (1, 3))
    assert [each.return_ for each in alone] == [each.return_ for each in beside]
    assert len({each.return_ for each in alone}) > 1


def test_the_temperature_sharpens_what_is_drawn():
    env = SyncVector([RidgeEnv] * 2)
    obs = {"place": np.zeros(1, int), "gust": np.zeros(1, int)}
    share = {}
    for temperature in (1.0, 0.25):
        one = learner(DAgger, DAggerConfig, env, temperature=temperature)
        carry, drawn = one.initial(1), []
        for t in range(2000):
            action, carry, _ = one.act(obs, carry, np.array([t == 0]), "eval")
            drawn.append(int(action[0]))
        seen = {key: torch.as_tensor(value) for key, value in obs.items()}
        (logits,) = one.policy.head.logits(one.policy.step(seen, {}, torch.ones(1, dtype=torch.bool))[0])
        wanted = (logits[0] / temperature).softmax(-1).detach().numpy()
        share[temperature] = np.bincount(drawn, minlength=3) / len(drawn)
        np.testing.assert_allclose(share[temperature], wanted, atol=0.05)
    assert share[0.25].max() > share[1.0].max()

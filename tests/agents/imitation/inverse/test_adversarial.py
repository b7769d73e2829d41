"""Adversarial imitation: its gradient penalty and rewards, learning, resume, bad input."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.imitation.inverse.adversarial import Adversarial, AdversarialConfig, Demonstrations
from embodia.agents.imitation.inverse.demonstrations import DemonstrationError
from embodia.agents.imitation.inverse.discriminator import Discriminator, vector
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Schedule, train
from embodia.envs.vector import SyncVector
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.tests.fakes import IdentityEnv

SMALL = {
    "device": "cpu",
    "demonstrations": 8,
    "n_steps": 32,
    "batch_size": 64,
    "n_epochs": 6,
    "learning_rate": 3e-3,
    "discriminator_learning_rate": 3e-3,
    "discriminator_steps": 16,
    "gradient_penalty": 0.1,
    "ent_coef": 0.0,
    "gamma": 0.0,
}


def built(env, **settings):
    torch.manual_seed(0)
    encoder = MLPEncoder(env.single_observation_space, dim=32, hidden=(32,))
    return Adversarial(encoder, env.single_action_space, AdversarialConfig(**{**SMALL, **settings}))


def worlds(**kwargs):
    return SyncVector([lambda: IdentityEnv(**kwargs)] * 8)


def learn(agent, steps, folder=None, **kwargs):
    train(agent, worlds(), Schedule(steps=steps), folder, logger=Logger(console=False), **kwargs)


def success(agent):
    return np.mean([each.metrics["success"] for each in evaluate(agent, worlds(), range(1000, 1040))])


def test_learns_from_demonstrations_without_the_tasks_reward():
    agent = built(worlds())
    assert success(agent) < 0.6
    learn(agent, 5000)
    assert success(agent) > 0.9
    assert len(agent.demonstrations.episodes) == 8
    assert agent.needs_expert == ()


def test_resumes_exactly(tmp_path):
    found = {}
    for name, parts in (("at once", (600,)), ("while recording", (40, 600)), ("while learning", (400, 600))):
        for steps in parts:
            agent = built(worlds())
            learn(agent, steps, tmp_path / name, resume=True)
        networks = (agent.policy, agent.discriminator.learner)
        found[name] = [value for each in networks for value in each.state_dict().values()]
    for name in ("while recording", "while learning"):
        assert all(torch.equal(one, other) for one, other in zip(found["at once"], found[name], strict=True)), name


def discriminator(penalty=1.0):
    torch.manual_seed(0)
    observed = spaces.Dict({"x": spaces.Box(-1, 1, (2,), np.float32)})
    return Discriminator(observed, ("x",), spaces.Box(-1, 1, (1,), np.float32), (), penalty)


def test_the_gradient_penalty_is_that_of_a_linear_logit():
    network = discriminator()
    gradient = network.last.weight[0]
    found = network.gradient_penalty(torch.randn(5, 3), torch.randn(5, 3))
    assert found.item() == pytest.approx((gradient.norm().item() - 1) ** 2, rel=1e-5)


def test_rewards_are_those_of_the_papers():
    logit = torch.tensor([-2.0, 0.0, 3.0])
    d = torch.sigmoid(logit)
    for name, expected in (("logit", d.log() - (1 - d).log()), ("gail", -(1 - d).log())):
        agent = built(worlds(), reward=name)
        agent.discriminator.learner.forward = lambda inputs: logit
        torch.testing.assert_close(agent.reward(torch.zeros(3, 1)), expected, rtol=1e-4, atol=1e-5)


def test_observations_become_vectors():
    assert vector(torch.tensor([2, 0]), spaces.Discrete(3)).tolist() == [[0, 0, 1], [1, 0, 0]]
    image = torch.full((1, 2, 2, 1), 255, dtype=torch.uint8)
    assert vector(image, spaces.Box(0, 255, (2, 2, 1), np.uint8)).tolist() == [[1, 1, 1, 1]]


def rows(steps, value=0.0):
    return {"reward": np.zeros(steps), "obs": {"x": np.full((steps, 1), value)}, "action": np.arange(steps)}


def test_demonstrations_are_thinned_and_end_before_their_last_row():
    kept = Demonstrations(1, 2, ("x",))
    kept.add(rows(6))
    assert kept.pairs["action"].tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("given", "message"), [(rows(1), "demonstration 0 has no step"), (rows(3, np.nan), "demonstration 0: x is not")]
)
def test_bad_demonstrations_are_named(given, message):
    with pytest.raises(DemonstrationError, match=message):
        Demonstrations(1, 1, ("x",)).add(given)


def test_what_cannot_work_is_refused():
    with pytest.raises(TypeError, match="needs a Discrete or Box action space"):
        Discriminator(spaces.Dict({}), (), spaces.MultiDiscrete([2, 2]))
    settings = AdversarialConfig(demonstrations=0, subsample=0)
    assert [each.split()[0] for each in settings.problems(8)] == ["agent.demonstrations", "agent.subsample"]

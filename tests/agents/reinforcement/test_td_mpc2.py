"""TD-MPC2: exact formulas, gradients of its losses, and learning of the pendulum."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.reinforcement.td_mpc2 import TDMPC2, TDMPC2Config
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.loop import Schedule, train
from embodia.envs.vector import SyncVector, make
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.models.imagination import imagine_plan
from embodia.planners.models.td_mpc2 import SimNorm, TDMPC2Model, TDMPC2ModelConfig
from embodia.planners.search.objective import Return
from embodia.tests.fakes import IdentityEnv

SPACE = spaces.Dict({"state": spaces.Box(-10, 10, (3,), np.float32)})
BOX = spaces.Box(np.float32([-2.0, 0.0]), np.float32([2.0, 1.0]))
TINY = TDMPC2ModelConfig(latent_dim=32, units=64, critics=3)


def model(seed=0):
    torch.manual_seed(seed)
    return TDMPC2Model(BOX, MLPEncoder(SPACE, 32), TINY).eval()


def rows(steps=4, worlds=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    action = torch.rand(steps, worlds, 2, generator=g) * torch.tensor([4.0, 1.0]) - torch.tensor([2.0, 0.0])
    flags = {name: torch.zeros(steps, worlds, dtype=torch.bool) for name in ("first", "last", "terminal")}
    obs = {"state": torch.randn(steps, worlds, 3, generator=g)}
    return {"obs": obs, "action": action, "reward": torch.randn(steps, worlds, generator=g), **flags}


def test_simnorm_gives_simplices():
    x = SimNorm(8)(torch.randn(5, 32) * 10)
    torch.testing.assert_close(x.unflatten(-1, (4, 8)).sum(-1), torch.ones(5, 4))
    assert bool((x >= 0).all())


def test_the_density_of_squashed_actions_integrates_to_one():
    """By quadrature over an interval of one action dimension, against the sampled log-density."""
    net = TDMPC2Model(spaces.Box(-1, 1, (1,)), MLPEncoder(SPACE, 32), TINY)
    torch.nn.init.zeros_(net.policy[1].weight)
    with torch.no_grad():
        net.policy[1].bias.copy_(torch.tensor([0.3, 0.7]))
        action, log_density = net.sample(torch.zeros(20_000, 32))
    mean, log_std = net.act(torch.zeros(1, 32))
    normal = torch.distributions.Normal(mean[0], log_std[0].exp())
    squashed = torch.distributions.TransformedDistribution(normal, torch.distributions.TanhTransform())
    inside = action[:, 0].abs() < 0.99  # torch's inverse tanh loses its digits beyond
    torch.testing.assert_close(
        log_density[inside], squashed.log_prob(action[inside])[:, 0].detach(), atol=1e-3, rtol=1e-3
    )


def test_targets_stop_at_the_end_and_take_the_lower_critic():
    net = model()
    with torch.no_grad():
        for k, critic in enumerate(net.slow_critics):  # critic k predicts 2^k in every state
            critic[1].bias.copy_(50 * net.two_hot.target(torch.tensor([2.0**k]))[0].log().clamp_min(-1))
            critic[1].weight.zero_()
    z, reward = torch.rand(400, 32), torch.arange(400.0)
    terminal = torch.arange(400) % 2 == 0
    target = net.td_target(z, reward, terminal)
    torch.testing.assert_close(target[terminal], reward[terminal])
    rest = (target - reward)[~terminal] / 0.99
    assert {round(float(v)) for v in rest} <= {1, 2}, "the lower of any two"


def test_nothing_is_learned_across_the_border_of_episodes():
    net, batch = model(), rows()
    batch["first"][2] = True
    other = {**batch, "obs": {"state": batch["obs"]["state"].clone()}, "reward": batch["reward"].clone()}
    other["obs"]["state"][2:] += 3
    other["reward"][2:] += 3
    losses = []
    for each in (batch, other):
        torch.manual_seed(1)
        losses.append(net.loss(each)[0])
    torch.testing.assert_close(*losses)


def test_the_policy_learns_without_moving_model_or_critics_latents():
    net, batch = model(), rows()
    _, _, latents, weight = net.loss_of(batch)
    loss, _ = net.policy_loss(latents, weight, torch.ones(()))
    gradients = torch.autograd.grad(loss, [*net.dynamics.parameters(), *net.encoder.parameters()], allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    assert any(g.abs().sum() > 0 for g in torch.autograd.grad(
        net.policy_loss(latents, weight, torch.ones(()))[0], list(net.policy.parameters())))  # fmt: skip


def test_proposals_are_plans_in_the_action_space():
    net = model()
    plans = net.propose(net.initial(3), 4, 5)
    assert plans.shape == (3, 5, 4, 2)
    assert all(BOX.contains(step) for step in plans.reshape(-1, 2).numpy())


def test_a_plan_is_scored_by_its_rewards_and_by_the_value_of_its_end_alone():
    net = model()
    with torch.no_grad():
        for part in (net.reward_net, *net.critics):
            part[1].weight.normal_()  # heads that are initialised to zero would always agree
    asked = []
    net.critics[0].register_forward_hook(lambda *_: asked.append(1))
    state = {"z": net.project(torch.randn(7, 32)), "reward": torch.zeros(7)}
    plans = torch.rand(7, 3, 2) * torch.tensor([4.0, 1.0]) - torch.tensor([2.0, 0.0])
    futures = imagine_plan(net, state, plans)
    assert len(asked) == 1, "critics are asked once a plan, not once a step"
    expected = torch.zeros(7)
    for t in range(3):
        state = net.imagine(state, plans[:, t])
        expected += 0.9**t * state["reward"]
    expected += 0.9**3 * net.value(state)
    torch.testing.assert_close(Return(0.9)(futures, plans), expected)
    assert float(net.value(state).std()) > 0.01


def test_refuses_discrete_actions():
    with pytest.raises(TypeError, match="use dreamer"):
        TDMPC2Model(spaces.Discrete(3), MLPEncoder(SPACE), TINY)


def test_learns_to_do_what_is_shown():
    """The reward is minus the squared distance to the target; random actions get -10.7 per episode, the best 0."""
    torch.manual_seed(0)
    env = SyncVector([lambda: IdentityEnv(continuous=True)] * 4)
    space = env.single_observation_space
    config = TDMPC2Config(
        **{"model": TDMPC2ModelConfig(latent_dim=32, units=48, critics=2), "horizon": 2, "iterations": 3},
        **{"samples": 48, "elites": 8, "proposals": 8, "learning_starts": 200, "batch_size": 64},
        **{"train_ratio": 192, "learning_rate": 2e-3, "exploration_noise": 0.2},
    )
    agent = TDMPC2(space, env.single_action_space, MLPEncoder(space, 32), config)
    train(agent, env, Schedule(steps=700))
    assert agent.updates > 200
    returns = [episode.return_ for episode in evaluate(agent, env, range(12))]
    assert np.mean(returns) > -3.0, returns


@pytest.mark.slow
def test_learns_to_swing_a_pendulum_up():
    torch.manual_seed(0)
    env = make("Pendulum-v1", 4)
    space = env.single_observation_space
    agent = TDMPC2(space, env.single_action_space, MLPEncoder(space, 64), TDMPC2Config())
    train(agent, env, Schedule(steps=10_000))
    returns = [episode.return_ for episode in evaluate(agent, env, range(20))]
    assert np.mean(returns) > -300, returns

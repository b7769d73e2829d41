"""Our PPO: its update is SB3's on the same rollout, it learns, remembers, and obeys action masks."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from embodia.agents.reinforcement.action_distributions import Categorical, DiagonalGaussian, action_distribution
from embodia.agents.reinforcement.dqn import DQN, DQNConfig
from embodia.agents.reinforcement.ppo import PPO, PPOConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPO, SB3PPOConfig
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.rng import seed_all
from embodia.envs.vector import SyncVector
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.trees import index, tree_map
from embodia.tests.fakes import IdentityEnv

CPU = {"device": "cpu"}
FAST = {"n_steps": 32, "batch_size": 64, "learning_rate": 3e-3}


def worlds(make=IdentityEnv, n=8, **kwargs):
    return SyncVector([lambda: make(**kwargs)] * n)


def encoder_of(env, dim=16):
    return MLPEncoder(env.single_observation_space, hidden=(), dim=dim)


def mean_return(agent, env, seeds=range(1000, 1020)):
    return np.mean([episode.return_ for episode in evaluate(agent, env, seeds)])


class Recall(gym.Env):
    """The first observation names the action that is right three steps later; what is between is empty."""

    observation_space = spaces.Dict(shown=spaces.Discrete(3))
    action_space = spaces.Discrete(2)
    metadata = {"scores": {"success": "higher"}}  # noqa: RUF012 (Gymnasium's)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.right = 0, int(self.np_random.integers(2))
        return {"shown": np.int64(self.right)}, {}

    def step(self, action):
        self.t += 1
        over = self.t == 4
        good = float(over and action == self.right)
        info = {"metrics": {"success": good}} if over else {}
        return {"shown": np.int64(2)}, good, over, False, info


class Guarded(IdentityEnv):
    """Allows only the right action and its neighbour; says so in `info["action_mask"]`."""

    def _masked(self, info):
        self.mask = np.zeros(self.n, bool)
        self.mask[[self.target, (self.target + 1) % self.n]] = True
        return {**info, "action_mask": self.mask.copy()}

    def reset(self, **kwargs):
        obs, info = super().reset(**kwargs)
        return obs, self._masked(info)

    def step(self, action):
        assert self.mask[action], "a forbidden action was chosen"
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, self._masked(info)


def rollout(agent, env):
    """The first batch that training would learn from."""
    found = []
    agent.update = lambda batch: found.append(batch) or {}
    train(agent, env, Schedule(steps=env.num_envs * (agent.config.n_steps + 2)))
    del agent.update
    return found[0]


@pytest.mark.parametrize("continuous", [False, True])
def test_an_update_is_that_of_sb3(continuous):
    seed_all(0)
    env = worlds(continuous=continuous)
    shared = {**CPU, "n_steps": 16, "n_epochs": 3, "batch_size": 10_000, "learning_rate": 1e-2}
    theirs = SB3PPO(encoder_of(env), env.single_action_space, SB3PPOConfig(**shared))
    ours = PPO(encoder_of(env), env.single_action_space, PPOConfig(**shared))
    policy, nets = theirs.policy, ours.nets
    nets.encoder.load_state_dict(policy.features_extractor.encoder.state_dict())
    for net, hidden, last in (
        (nets.actor, policy.mlp_extractor.policy_net, policy.action_net),
        (nets.critic, policy.mlp_extractor.value_net, policy.value_net),
    ):
        for mine, its in zip([m for m in net if isinstance(m, torch.nn.Linear)], [*hidden[::2], last], strict=True):
            mine.load_state_dict(its.state_dict())
    batch = rollout(theirs, env)
    extras = batch["extras"]
    flat = tree_map(torch.as_tensor, index(batch["obs"], batch["valid"]))
    value = nets(flat, None, None)[1].detach().numpy()
    np.testing.assert_allclose(value, extras["value"][batch["valid"]], atol=1e-6)  # the same networks
    sampled = extras["sampled"].reshape(*extras["log_prob"].shape, -1)
    ours.update({**batch, "extras": {**extras, "sampled": sampled}})
    theirs.update(batch)
    mine = torch.cat([p.flatten() for p in nets.actor.parameters()])
    parts = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    torch.testing.assert_close(mine, torch.cat([p.flatten() for p in parts]), atol=2e-5, rtol=0)
    if continuous:
        torch.testing.assert_close(nets.distribution.log_std, policy.log_std, atol=1e-5, rtol=0)


def test_initial_networks_are_those_of_sb3():
    env = worlds()
    ours = PPO(encoder_of(env), env.single_action_space, PPOConfig(**CPU)).nets
    hidden, last = ours.actor[0].weight, ours.actor[-1].weight
    torch.testing.assert_close(hidden.T @ hidden, 2 * torch.eye(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(last @ last.T, 1e-4 * torch.eye(len(last)), atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("agent", "config"),
    [
        (PPO, PPOConfig(**CPU, **FAST)),
        (PPO, PPOConfig(**CPU, **FAST, precision="bfloat16")),
        (PPO, PPOConfig(**CPU, **FAST, memory=16)),
        (DQN, DQNConfig(**CPU, learning_rate=2e-3, learning_starts=200, exploration_rows=1500, train_freq=1)),
    ],
    ids=["ppo", "bfloat16", "memory", "dqn"],
)
def test_discrete_identity_is_solved(agent, config):
    seed_all(0)
    env = worlds()
    learner = agent(encoder_of(env), env.single_action_space, config)
    assert mean_return(learner, env) < 6
    train(learner, env, Schedule(steps=3000))
    assert mean_return(learner, env) == 8.0


def test_continuous_identity_is_learned_and_actions_stay_inside():
    seed_all(0)
    env = worlds(continuous=True)
    learner = PPO(encoder_of(env), env.single_action_space, PPOConfig(**CPU, **FAST, ent_coef=0.0))
    before = mean_return(learner, env)
    train(learner, env, Schedule(steps=4000))
    assert mean_return(learner, env) > 0.3 * before
    obs, _ = env.reset(seed=0)
    action, _, extras = learner.act(obs, {}, np.ones(8, bool), "train")
    assert env.action_space.contains(action)
    np.testing.assert_array_equal(action, np.clip(extras["sampled"], -1, 1))


@pytest.mark.parametrize(("memory", "least", "most"), [(16, 0.95, 1.0), (0, 0.2, 0.8)])
def test_what_was_shown_three_steps_ago_is_known_with_a_memory_only(memory, least, most):
    seed_all(0)
    env = worlds(Recall, n=16)
    config = PPOConfig(**CPU, n_steps=16, batch_size=64, learning_rate=5e-3, memory=memory)
    agent = PPO(encoder_of(env), env.single_action_space, config)
    train(agent, env, Schedule(steps=9000))
    success = np.mean([each.metrics["success"] for each in evaluate(agent, env, range(1000, 1064))])
    assert least <= success <= most


def test_memory_in_training_is_that_of_acting():
    """The values of a rollout, computed again in one pass over the rows, are those stored while acting."""
    seed_all(0)
    env = worlds(Recall, n=3)
    agent = PPO(encoder_of(env), env.single_action_space, PPOConfig(**CPU, n_steps=20, batch_size=30, memory=8))
    batch = rollout(agent, env)
    obs, before = tree_map(torch.as_tensor, batch["obs"]), torch.as_tensor(batch["extras"]["memory"][0])
    _, value = agent.nets(obs, torch.as_tensor(batch["first"]), before)
    np.testing.assert_allclose(value.detach().numpy(), batch["extras"]["value"], atol=1e-6)
    assert batch["first"][1:].any(), "the rollout holds several episodes"


def test_forbidden_actions_are_never_chosen_and_their_mask_is_learned_with():
    seed_all(0)
    env = worlds(Guarded, n=4)
    agent = PPO(encoder_of(env), env.single_action_space, PPOConfig(**CPU, **FAST))
    assert mean_return(agent, env) > 2.5  # half of the allowed actions are right, in 8 steps
    train(agent, env, Schedule(steps=3000))
    assert mean_return(agent, env) == 8.0
    batch = rollout(agent, env)
    chosen = np.take_along_axis(batch["extras"]["action_mask"], batch["extras"]["sampled"], -1)
    assert chosen.all()
    assert "action_mask" not in batch["obs"]


SPACES = [
    spaces.Discrete(4, start=3),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiBinary(3),
    spaces.Box(-1, 2, (2,), np.float32),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_distributions_are_those_of_torch(space):
    ours = action_distribution(space)
    parameters = torch.randn(5, ours.parameters_needed, generator=torch.Generator().manual_seed(0))
    sample = ours.sample(parameters, torch.Generator().manual_seed(1))
    if isinstance(ours, DiagonalGaussian):
        ours.log_std.data.uniform_(-1, 1)
        parts = [torch.distributions.Independent(torch.distributions.Normal(parameters, ours.log_std.exp()), 1)]
        columns = [sample]
    else:
        parts = [torch.distributions.Categorical(logits=part) for part in parameters.split(ours.sizes, -1)]
        columns = list(sample.unbind(-1))
    torch.testing.assert_close(
        ours.log_prob(parameters, sample), sum(part.log_prob(x) for part, x in zip(parts, columns))
    )
    torch.testing.assert_close(ours.entropy(parameters), sum(part.entropy() for part in parts))
    for each in (sample, ours.mode(parameters)):
        assert all(space.contains(action) for action in ours.executed(each.detach()).numpy().astype(space.dtype))


def test_samples_have_their_probabilities():
    ours = Categorical(spaces.Discrete(3))
    logits = torch.tensor([0.2, 0.3, 0.5]).log().expand(100_000, 3)
    counts = ours.sample(logits, torch.Generator().manual_seed(0)).flatten().bincount() / 100_000
    torch.testing.assert_close(counts, torch.tensor([0.2, 0.3, 0.5]), atol=0.006, rtol=0)


def test_a_masked_action_has_probability_zero_and_finite_gradients():
    ours = Categorical(spaces.MultiDiscrete([2, 3]))
    parameters = torch.randn(4, 5, requires_grad=True)
    mask = torch.tensor([[1, 0, 1, 1, 0]] * 4, dtype=torch.bool)
    masked = ours.masked(parameters, mask)
    assert ours.log_prob(masked, torch.tensor([[1, 0]] * 4)).exp().max() == 0
    (ours.entropy(masked).sum() + ours.log_prob(masked, torch.tensor([[0, 1]] * 4)).sum()).backward()
    assert parameters.grad.isfinite().all()
    assert (parameters.grad[~mask] == 0).all()


def test_a_rollout_stops_early_when_the_policy_has_moved_too_far():
    seed_all(0)
    env = worlds()
    updates = []
    for target in (None, 1e-4):
        config = PPOConfig(**CPU, n_steps=16, batch_size=32, learning_rate=0.05, n_epochs=10, target_kl=target)
        agent = PPO(encoder_of(env), env.single_action_space, config)
        batch, steps = rollout(agent, env), []
        step = agent.optimizer.step
        agent.optimizer.step = lambda step=step, steps=steps: (steps.append(1), step())
        agent.update(batch)
        updates.append(len(steps))
    assert updates[1] < updates[0]


def test_the_learning_rate_falls_to_zero():
    env = worlds()
    agent = PPO(encoder_of(env), env.single_action_space, PPOConfig(**CPU, anneal_rows=100, learning_rate=1e-2))
    for rows, rate in ((0, 1e-2), (50, 5e-3), (200, 0.0)):
        agent.rows = rows
        agent.set_learning_rate()
        assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_double_q_learning_values_the_online_choice_with_the_target():
    env = worlds()
    agent = DQN(encoder_of(env), env.single_action_space, DQNConfig(**CPU, gamma=0.5, learning_rate=0.0))
    obs = {"shown": np.zeros((1, 4), np.float32)}
    with torch.no_grad():
        agent.nets["online"].net[-1].bias.copy_(torch.tensor([0.0, 5.0, 0.0, 0.0]))
        agent.nets["target"].net[-1].bias.copy_(torch.tensor([9.0, 3.0, 0.0, 0.0]))
        for net in ("online", "target"):
            agent.nets[net].net[-1].weight.zero_()
    action = np.array([1])
    batch = {"obs": obs, "next_obs": obs, "action": action, "reward": np.ones(1, np.float32)}
    loss = agent.update({**batch, "terminal": np.zeros(1, bool)})["loss"]
    assert loss == pytest.approx(abs(1 + 0.5 * 3 - 5) - 0.5)  # Huber; plain Q-learning would take 9
    ended = agent.update({**batch, "terminal": np.ones(1, bool)})["loss"]
    assert ended == pytest.approx(abs(1 - 5) - 0.5)


def test_bad_input_is_named():
    env = worlds()
    with pytest.raises(ValueError, match="PPO supports Discrete, MultiDiscrete, MultiBinary and Box"):
        PPO(encoder_of(env), spaces.Tuple([]))
    with pytest.raises(ValueError, match="batch_size must be at least 2"):
        PPO(encoder_of(env), env.single_action_space, PPOConfig(batch_size=1))
    with pytest.raises(ValueError, match="DQN supports Discrete action spaces, not Box"):
        DQN(encoder_of(env), spaces.Box(0, 1))
    agent = PPO(encoder_of(env), env.single_action_space, PPOConfig(**CPU))
    obs, _ = env.reset(seed=0)
    for mask, message in (
        (np.ones((8, 7), bool), r"action_mask has shape \(8, 7\), expected \(n, 4\)"),
        (np.zeros((8, 4), bool), "action_mask allows no action"),
    ):
        with pytest.raises(ValueError, match=message):
            agent.act({**obs, "action_mask": mask}, {}, np.ones(8, bool), "train")
    assert list(PPOConfig(batch_size=512).problems(num_envs=2))
    box = PPO(encoder_of(env), spaces.Box(-1, 1, (1,)), PPOConfig(**CPU))
    with pytest.raises(ValueError, match="takes no action mask"):
        box.act({**obs, "action_mask": np.ones((8, 1), bool)}, {}, np.ones(8, bool), "eval")


def test_rare_rewards_keep_their_scale_on_request():
    """Without rewards the policy's gradient is as small as the values' noise, instead of that noise at unit scale."""
    env = worlds()
    moved = []
    for normalize in (True, False):
        seed_all(0)
        config = PPOConfig(**CPU, n_steps=16, batch_size=128, ent_coef=0.0, normalize_advantage=normalize)
        agent = PPO(encoder_of(env), env.single_action_space, config)
        batch = rollout(agent, env)
        quiet = {**batch, "advantage": 1e-3 * batch["advantage"]}
        before = torch.cat([p.detach().flatten().clone() for p in agent.nets.actor.parameters()])
        agent.optimizer = torch.optim.SGD(agent.nets.parameters(), 1e-2)
        agent.update(quiet)
        after = torch.cat([p.detach().flatten() for p in agent.nets.actor.parameters()])
        moved.append((after - before).norm().item())
    assert moved[1] < 0.02 * moved[0]

"""Behaviour cloning: learns from the online expert and from recorded rows, uses memory, resumes exactly."""

import numpy as np
import pytest
import torch

from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.imitation.dagger import DAgger, DAggerConfig
from embodia.agents.training.evaluate import after_step, ask, evaluate, make_row
from embodia.envs.vector import SyncVector
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.tests.fakes import CueEnv, IdentityEnv


def train(agent, env, rows, buffer=None, seed=0, start=None):
    """A minimal training loop; returns what is needed to continue it."""
    buffer = buffer if buffer is not None else agent.buffer()
    n = env.num_envs
    if start is None:
        obs, _ = env.reset(seed=seed)
        seen = {key: np.zeros(n, bool) for key in ("last", "terminal")}
        seen |= {"reward": np.zeros(n, np.float32), "first": np.ones(n, bool)}
        start = (obs, seen, agent.initial(n))
    obs, seen, carry = start
    logs = []
    for _ in range(rows):
        action, carry, extras = ask(agent, env, obs, carry, seen["first"], "train")
        buffer.add(make_row(obs, seen, action, extras))
        logs += [agent.update(batch) for batch in buffer.batches()]
        obs, reward, terminated, truncated, _ = env.step(action)
        seen = after_step(seen, reward, terminated, truncated)
    return buffer, (obs, seen, carry), logs


def make(env, agent=BC, config=BCConfig, **settings):
    torch.manual_seed(0)
    chosen = {
        "device": "cpu",
        "hidden": (32,),
        "batch_size": 32,
        "learning_starts": 64,
        "train_freq": 8,
        "gradient_steps": 8,
    }
    return agent(
        MLPEncoder(env.single_observation_space, dim=32, hidden=(32,)),
        env.single_action_space,
        config(**{**chosen, **settings}),
    )


def worlds(kind=IdentityEnv, n=8, **kwargs):
    return SyncVector([lambda: kind(**kwargs)] * n)


def success(agent, env, episodes=40):
    return float(
        np.mean([episode.metrics["success"] for episode in evaluate(agent, env, range(1000, 1000 + episodes))])
    )


@pytest.mark.parametrize(("agent", "config"), [(BC, BCConfig), (DAgger, DAggerConfig)])
def test_learns_what_the_expert_does(agent, config):
    env = worlds()
    learner = make(env, agent, config)
    assert success(learner, env) < 0.6
    train(learner, env, 80)
    assert success(learner, env) == 1.0


@pytest.mark.parametrize(("agent", "config"), [(BC, BCConfig), (DAgger, DAggerConfig)])
def test_learns_continuous_actions(agent, config):
    env = worlds(continuous=True)
    learner = make(env, agent, config)
    train(learner, env, 160)
    returns = [episode.return_ for episode in evaluate(learner, env, range(20))]
    assert np.mean(returns) > -0.3  # 8 steps; random actions cost about 10


@pytest.mark.parametrize(("agent", "config"), [(BC, BCConfig), (DAgger, DAggerConfig)])
def test_memory_is_needed_and_enough(agent, config):
    env = worlds(CueEnv)
    without, remembering = (make(env, agent, config, memory=m, sequence_length=5, learning_rate=3e-3) for m in (0, 16))
    for learner in (without, remembering):
        train(learner, env, 160)
    assert success(remembering, env) == 1.0
    assert success(without, env) < 0.8


def test_the_expert_is_never_asked_in_evaluation():
    env = worlds(n=2)
    learner = make(env)
    env.expert_action = lambda: pytest.fail("asked for the expert in evaluation")
    evaluate(learner, env, range(4))


@pytest.mark.parametrize("memory", [0, 8])
@pytest.mark.parametrize(("agent", "config"), [(BC, BCConfig), (DAgger, DAggerConfig)])
def test_resumes_bit_for_bit(agent, config, memory, tmp_path):
    """40 rows at once equal 20 rows, save, load into new objects, 20 rows."""
    settings = {"memory": memory, "sequence_length": 5 if memory else None}
    env = worlds()
    whole = make(env, agent, config, **settings)
    _, _, expected = train(whole, env, 40)

    env = worlds()
    first = make(env, agent, config, **settings)
    buffer, start, logs = train(first, env, 20)
    first.save(tmp_path)
    torch.save(first.training_state(), tmp_path / "training.pt")

    torch.manual_seed(99)
    second = make(env, agent, config, **settings)
    second.load(tmp_path)
    second.set_training_state(torch.load(tmp_path / "training.pt", weights_only=True))
    restored = second.buffer()
    restored.load_state_dict(buffer.state_dict())
    _, _, more = train(second, env, 20, restored, start=start)
    assert logs + more == expected
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, second.policy.state_dict()[name]), name


def test_padding_behind_a_pieces_end_teaches_nothing():
    env = worlds()
    learner = make(env, memory=8, sequence_length=5)
    buffer, _, _ = train(make(env, memory=8, sequence_length=5, learning_starts=10**9), env, 30)
    batch = buffer.sample()
    assert not batch["mask"].all()
    label = np.where(batch["mask"], batch["extras"]["expert_action"], 0)
    other = {**batch, "extras": {"expert_action": label}}
    torch.manual_seed(0)
    same = make(env, memory=8, sequence_length=5)
    assert learner.update(batch) == same.update(other)


def test_memory_without_sequences_is_refused():
    with pytest.raises(ValueError, match="set sequence_length to 2 or more"):
        make(worlds(n=1), memory=8, sequence_length=1)
    assert make(worlds(n=1), memory=8).buffer().length == 32
    assert make(worlds(n=1)).buffer().length is None


def test_the_learning_rate_rises_at_first_and_falls_in_the_latter_half():
    env = worlds()
    learner = make(env, anneal_rows=800, warmup=10)
    buffer, _, _ = train(learner, env, 20)
    assert learner.rows == 160
    learner.updates = 4
    learner.update(buffer.sample())
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.5e-3)
    learner.updates = 10
    for rows, rate in ((160, 1e-3), (400, 1e-3), (600, 0.5e-3), (800, 0.02e-3)):
        learner.rows = rows
        learner.update(buffer.sample())
        assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(rate)

"""Exact resume: 2n steps equal n steps, a checkpoint and n more steps in new objects, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from embodia.agents.references.random import Random
from embodia.agents.reinforcement.dqn import DQN, DQNConfig
from embodia.agents.reinforcement.ppo import PPO, PPOConfig
from embodia.agents.reinforcement.sb3.a2c import A2C, A2CConfig
from embodia.agents.reinforcement.sb3.dqn import SB3DQN, SB3DQNConfig
from embodia.agents.reinforcement.sb3.ppo import SB3PPO, SB3PPOConfig
from embodia.agents.training import checkpoint
from embodia.agents.training.checkpoint import CheckpointError
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.rng import seed_all
from embodia.agents.training.serialization import encode
from embodia.envs.vector import SyncVector
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.tests.fakes import CountingEnv, IdentityEnv

SMALL = {"hidden": (16,), "device": "cpu"}
LEARNERS = {
    "own-ppo": lambda encoder, actions: PPO(encoder, actions, PPOConfig(**SMALL, n_steps=16, batch_size=24, memory=8)),
    "own-dqn": lambda encoder, actions: DQN(encoder, actions, DQNConfig(**SMALL, learning_starts=50, buffer_size=200)),
    "ppo": lambda encoder, actions: SB3PPO(encoder, actions, SB3PPOConfig(**SMALL, n_steps=16, batch_size=24)),
    "ppo-annealed": lambda encoder, actions: SB3PPO(
        encoder, actions, SB3PPOConfig(**SMALL, n_steps=16, batch_size=24, anneal_rows=400)
    ),
    "a2c": lambda encoder, actions: A2C(encoder, actions, A2CConfig(**SMALL)),
    "dqn": lambda encoder, actions: SB3DQN(
        encoder,
        actions,
        SB3DQNConfig(**SMALL, learning_starts=50, train_freq=1, target_update_interval=60, buffer_size=200),
    ),
}


def worlds():
    return SyncVector([lambda: IdentityEnv(length=7)] * 3)


def build(name, seed=0):
    seed_all(seed)
    env = worlds()
    encoder = MLPEncoder(env.single_observation_space, hidden=(), dim=8)
    return LEARNERS[name](encoder, env.single_action_space), env


def weights(agent, folder):
    folder.mkdir()
    agent.save(folder)
    return (folder / "agent.safetensors").read_bytes()


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


@pytest.mark.parametrize("name", LEARNERS)
def test_two_halves_are_the_whole_bit_for_bit(name, tmp_path):
    whole = tmp_path / "whole"
    agent, env = build(name)
    end = train(agent, env, Schedule(steps=240, log_every=50), whole)

    halves = tmp_path / "halves"
    train(*build(name), Schedule(steps=120, log_every=50, seed=0), halves)
    resumed, worlds_again = build(name, seed=77)  # other weights and generators, which resume must replace
    again = train(resumed, worlds_again, Schedule(steps=240, log_every=50), halves, resume=True)

    assert weights(agent, tmp_path / "a") == weights(resumed, tmp_path / "b")
    state, state_again = agent.training_state(), resumed.training_state()
    assert repr(encode(state)) == repr(encode(state_again))
    assert end.step == again.step >= 240
    np.testing.assert_array_equal(end.return_, again.return_)
    assert str(env.get_state()) == str(worlds_again.get_state())


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_metrics_after_an_interruption_are_those_of_an_uninterrupted_run(name, tmp_path):
    schedule = Schedule(steps=300, log_every=50, save_every=70)
    train(*build(name), schedule, tmp_path / "whole")

    broken = tmp_path / "broken"
    agent, env = build(name)
    row, env_step = 0, env.step

    def failing_step(actions):
        nonlocal row
        row += 1
        if row == 67:
            raise RuntimeError("power cut")
        return env_step(actions)

    env.step = failing_step
    with pytest.raises(RuntimeError, match="power cut"):
        train(agent, env, schedule, broken)
    lost = len(metrics(broken))
    resumed, env = build(name, seed=5)
    train(resumed, env, schedule, broken, resume=True)
    assert metrics(broken) == metrics(tmp_path / "whole")
    assert lost > 0


def test_resume_without_snapshots_warns_and_begins_new_episodes(tmp_path):
    class NoSnapshot(SyncVector):
        def get_state(self):
            raise AttributeError("CountingEnv has no get_state")

    env = NoSnapshot([CountingEnv] * 2)
    agent = Random(env.single_observation_space, env.single_action_space)
    with pytest.warns(UserWarning, match="will start new episodes"):
        train(agent, env, Schedule(steps=10), tmp_path)
    with pytest.warns(UserWarning, match="will start new episodes"):
        result = train(agent, env, Schedule(steps=20), tmp_path, resume=True)
    assert result.step == 20


def test_resume_in_an_empty_folder_is_a_beginning(tmp_path):
    agent, env = build("a2c")
    assert train(agent, env, Schedule(steps=12), tmp_path, resume=True).step == 12
    assert train(agent, env, Schedule(steps=12), tmp_path, resume=True).step == 12, "and a finished run stays finished"


def test_what_does_not_fit_is_named(tmp_path):
    train(*build("a2c"), Schedule(steps=12), tmp_path)

    agent, env = build("ppo")
    with pytest.raises(CheckpointError, match=r"meta\.json: written by A2C, but this agent is SB3PPO"):
        train(agent, env, Schedule(steps=24), tmp_path, resume=True)

    agent, _ = build("a2c")
    with pytest.raises(CheckpointError, match="num_envs was 3; resume with 3 environments"):
        train(agent, SyncVector([IdentityEnv] * 2), Schedule(steps=24), tmp_path, resume=True)

    env = SyncVector([lambda: IdentityEnv(n=5)] * 3)
    other = A2C(MLPEncoder(env.single_observation_space), env.single_action_space, A2CConfig(**SMALL))
    with pytest.raises(CheckpointError, match="observation_space/shown is"):
        train(other, env, Schedule(steps=24), tmp_path, resume=True)

    env = worlds()
    wider = A2C(MLPEncoder(env.single_observation_space, dim=9), env.single_action_space, A2CConfig(**SMALL))
    with pytest.raises(CheckpointError, match=r"agent\.safetensors: .*checkpoint's configuration"):
        train(wider, env, Schedule(steps=24), tmp_path, resume=True)


def test_a_broken_newest_checkpoint_is_passed_over_and_all_broken_is_an_error(tmp_path):
    schedule = Schedule(steps=40, save_every=10, keep=0)
    agent, env = build("a2c")
    train(agent, env, schedule, tmp_path)
    expected = weights(agent, tmp_path / "a")
    paths = checkpoint.list_steps(tmp_path / "checkpoints")
    cut(paths[-1] / "training.pt")
    resumed, env = build("a2c", seed=3)
    with pytest.warns(UserWarning, match="skipped: .*training.pt: truncated or changed"):
        train(resumed, env, schedule, tmp_path, resume=True)
    assert weights(resumed, tmp_path / "b") == expected

    for path in checkpoint.list_steps(tmp_path / "checkpoints"):
        cut(path / "agent.safetensors")
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(CheckpointError, match="no checkpoint here is intact"),
    ):
        train(resumed, env, schedule, tmp_path, resume=True)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


SCRIPT = """
import sys
from embodia.agents.training.loop import train
from embodia.tests.agents.training.test_resume import SCHEDULE, build
train(*build("ppo"), SCHEDULE, sys.argv[1])
"""
SCHEDULE = Schedule(steps=660, log_every=100, save_every=60)


def test_kill_9_loses_only_the_time_since_the_last_checkpoint(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "killed")], env=environment)
    deadline = time.monotonic() + 120
    while len(checkpoint.list_steps(tmp_path / "killed" / "checkpoints")) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    reached = checkpoint.load(checkpoint.latest(tmp_path / "killed" / "checkpoints")).step
    assert 0 < reached < SCHEDULE.steps, "it was killed in mid training"

    resumed, env = build("ppo", seed=1)
    train(resumed, env, SCHEDULE, tmp_path / "killed", resume=True)
    agent, env = build("ppo")
    train(agent, env, SCHEDULE, tmp_path / "whole")
    assert weights(resumed, tmp_path / "a") == weights(agent, tmp_path / "b")
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_is_not_logged_twice(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 100, "loss": 1}\n{"step": 200, "lo')
    agent, env = build("ppo")
    train(agent, env, SCHEDULE, tmp_path, resume=True)
    again, env = build("ppo")
    train(again, env, SCHEDULE, tmp_path / "whole")
    assert metrics(tmp_path) == metrics(tmp_path / "whole")


def test_a_resumed_run_computes_with_as_many_threads(tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        agent, env = build("ppo")
        train(agent, env, Schedule(steps=60, save_every=60), tmp_path)
        torch.set_num_threads(1)
        agent, env = build("ppo")
        train(agent, env, Schedule(steps=60), tmp_path, resume=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_new_run_has_a_checkpoint_at_once(tmp_path):
    agent, env = build("ppo")
    train(agent, env, Schedule(steps=60, keep=0), tmp_path)
    assert checkpoint.load(checkpoint.list_steps(tmp_path / "checkpoints")[0]).step == 0

"""The training loop: memory, counting of steps, logging, evaluation, checkpoints, stopping."""

import json
import os
import signal

import numpy as np
import pytest

from embodia.agents.references.expert import Expert
from embodia.agents.references.random import Random
from embodia.agents.training import checkpoint
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.rows import NonFinite
from embodia.envs.vector import SyncVector
from embodia.tests.fakes import CountingAgent, CountingEnv, IdentityEnv


def counting(n=3, **kwargs):
    env = SyncVector([lambda: CountingEnv(**kwargs)] * n)
    return CountingAgent(env.single_observation_space, env.single_action_space), env


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_carry_is_the_worlds_memory_and_steps_are_actions_carried_out():
    agent, env = counting(3, length=5)
    result = train(agent, env, Schedule(steps=60))
    # Six rows per episode, five of them with an executed action; the last three rows are not processed yet.
    assert result.step == 60
    assert agent.rows == 60 // 5 * 6 - 3


def test_metrics_hold_the_means_of_finished_episodes(tmp_path):
    agent, env = counting(2, length=4)
    train(agent, env, Schedule(steps=64, log_every=16), tmp_path)
    written = lines(tmp_path)
    assert [line["step"] for line in written] == [16, 32, 48, 64]
    assert all(line["episode/return"] == 10 and line["episode/length"] == 4 for line in written)
    assert all(0.5 <= line["episode/success"] <= 1 and line["time/steps_per_second"] > 0 for line in written)


def test_evaluation_is_called_when_due_and_at_the_end_and_changes_nothing(tmp_path):
    def run(folder, **kwargs):
        env = SyncVector([IdentityEnv] * 2)
        train(Random(env.single_observation_space, env.single_action_space), env,
              Schedule(steps=50, eval_every=20, log_every=10), folder, **kwargs)  # fmt: skip
        return [{k: v for k, v in line.items() if "time" not in k} for line in lines(folder)]

    def score():
        np.random.random(3)  # noqa: NPY002 (an evaluation that draws from the global generators)
        return {"success": 0.25}

    plain, scored = run(tmp_path / "a"), run(tmp_path / "b", evaluate=score)
    assert [line["step"] for line in scored if "eval/success" in line] == [20, 40, 50]
    assert [line for line in scored if "eval/success" not in line] == plain


def test_checkpoints_keep_the_newest_and_the_best(tmp_path):
    agent, env = counting(2)
    scores = iter([0.1, 0.9, 0.9, 0.2, 0.3, 0.4, 0.5, 0.6])
    schedule = Schedule(steps=80, eval_every=10, keep=2)
    train(agent, env, schedule, tmp_path, evaluate=lambda: {"success": next(scores)}, config={"preset": "x"})
    folder = tmp_path / "checkpoints"
    assert [path.name for path in checkpoint.list_steps(folder)] == ["000000030", "000000070", "000000080"]
    assert checkpoint.best(folder).name == "000000030"
    assert checkpoint.load(checkpoint.best(folder)).meta["config"] == {"preset": "x"}


def test_a_run_is_not_overwritten(tmp_path):
    agent, env = counting()
    train(agent, env, Schedule(steps=10), tmp_path)
    with pytest.raises(FileExistsError, match="resume it or choose another folder"):
        train(agent, env, Schedule(steps=10), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_between_rows_with_a_checkpoint(tmp_path, number):
    class Interrupted(CountingAgent):
        def act(self, obs, carry, first, mode):
            if self.rows == 30:
                os.kill(os.getpid(), number)
            return super().act(obs, carry, first, mode)

    _, env = counting()
    before = signal.getsignal(number)
    result = train(Interrupted(env.single_observation_space, env.single_action_space), env, Schedule(), tmp_path)
    assert result.step == checkpoint.load(checkpoint.latest(tmp_path / "checkpoints")).step < 40
    assert signal.getsignal(number) is before


def test_a_signal_during_evaluation_gives_the_evaluation_up(tmp_path):
    agent, env = counting()

    def score():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("goes on after the signal")

    result = train(agent, env, Schedule(steps=100, eval_every=15), tmp_path, evaluate=score)
    assert result.step == checkpoint.load(checkpoint.latest(tmp_path / "checkpoints")).step == 15
    assert result.evaluated == 0, "it is made up for on resume"


def test_nan_names_env_world_seed_and_step():
    agent, env = counting(2, broken="nan_reward", broken_seed=8)
    with pytest.raises(NonFinite, match="SyncVector, world 1, seed 8, step 3"):
        train(agent, env, Schedule(seed=7))


def test_nan_of_an_agent_is_not_handed_to_the_worlds():
    class Broken(CountingAgent):
        def act(self, obs, carry, first, mode):
            return np.full((len(first), 2), np.nan, np.float32), carry, {}

    env = SyncVector([lambda: IdentityEnv(continuous=True)] * 2)
    agent = Broken(env.single_observation_space, env.single_action_space)
    with pytest.raises(NonFinite, match="Broken chose action"):
        train(agent, env, Schedule())
    with pytest.raises(NonFinite, match="Broken chose action"):
        evaluate(agent, env, [0])


def test_the_expert_is_the_bar_and_random_is_the_floor():
    env = SyncVector([lambda: IdentityEnv(n=4, length=8)] * 4)
    spaces = env.single_observation_space, env.single_action_space
    expert, random = (evaluate(agent, env, range(40)) for agent in (Expert(*spaces), Random(*spaces, seed=1)))
    assert all(episode.return_ == 8 for episode in expert)
    assert 1.5 < np.mean([episode.return_ for episode in random]) < 2.5


def test_plain_lines_without_a_terminal(capsys):
    agent, env = counting(2)
    logger = Logger(console_seconds=0)
    train(agent, env, Schedule(steps=40, log_every=20), logger=logger)
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("step 40 of 40")
    assert "steps/s" in said[-1]
    assert "episode/return" in said[-1]

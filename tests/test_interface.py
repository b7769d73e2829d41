"""Tests of `import embodia`: make, load, evaluate, record, and agents with SB3's `predict`."""

import json
import shutil
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import embodia
from embodia.agents.references.random import Random
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake
from embodia.scripts.report import video

TASK = "MiniGrid-Empty-5x5-v0"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training run of a recurrent behaviour cloning agent."""
    folder = tmp_path_factory.mktemp("runs") / "cloner"
    flags = "--env.id embodia/MiniGrid-Empty-5x5-v0 --agent.memory 8 --agent.sequence-length 8 --agent.batch-size 4"
    small = "--steps 400 --evaluation.episodes 4 --evaluation.during 4 --evaluation.films 0 --agent.learning-starts 100"
    assert main(["train", "bc-doorkey", *flags.split(), *small.split(), "--out", str(folder)]) == 0
    return folder


def test_make_gives_one_world_or_many():
    one, four = embodia.make(TASK), embodia.make(f"embodia/{TASK}", num_envs=4, observation="symbolic_full")
    assert isinstance(one, gym.Env)
    assert four.num_envs == 4
    assert four.reset(seed=0)[0]["symbolic"].shape[0] == 4
    with pytest.raises(Mistake, match="Did you mean MiniGrid-Empty-5x5-v0"):
        embodia.make("MiniGrid-Empty5x5-v0")


def test_one_observation_gives_what_a_batch_gives(run):
    agent = embodia.load(run)
    env = embodia.make(TASK, observation="symbolic_full", split="test")
    alone, together = [], []
    obs, _ = env.reset(seed=0)
    memory = batch_memory = None
    for _ in range(6):
        action, memory = agent.predict(obs, memory)
        batch = {key: np.stack([value, value]) for key, value in obs.items()}
        actions, batch_memory = agent.predict(batch, batch_memory)
        assert np.shape(action) == agent.action_space.shape
        assert actions.shape == (2, *agent.action_space.shape)
        alone.append(int(action))
        together.append(actions.tolist())
        obs, *_ = env.step(action)
    assert together == [[action, action] for action in alone]


def test_memory_is_kept_between_calls_and_forgotten_where_an_episode_starts(run):
    agent = embodia.load(run)
    obs, _ = embodia.make(TASK, observation="symbolic_full").reset(seed=0)
    _, memory = agent.predict(obs)
    _, kept = agent.predict(obs, memory)
    _, forgotten = agent.predict(obs, memory, np.array([True]))
    first, second, third = (np.asarray(each["memory"]) for each in (memory, kept, forgotten))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(first, third)


def test_a_loaded_agent_is_evaluated_where_it_was_trained_and_filmed(run, tmp_path):
    agent = embodia.load(run)
    by_agent, by_path = embodia.evaluate(agent, episodes=5), embodia.evaluate(run, episodes=5)
    assert by_agent.scores == by_path.scores
    assert by_agent.scores["success"].low <= by_agent.scores["success"].value <= by_agent.scores["success"].high
    assert "5 episodes, 1 distinct levels\n" in str(by_agent)
    (film,) = embodia.record(agent, seeds=(3,), out=tmp_path / "films")
    assert len(video.read(film)) > by_agent.episodes[3].length


def test_any_agent_is_evaluated_in_an_environment_of_ones_own():
    env = embodia.make(TASK, num_envs=2)
    random = Random(env.single_observation_space, env.single_action_space)
    assert len(embodia.evaluate(random, env, seeds=[7, 8, 9]).episodes) == 3
    assert len(embodia.evaluate(random, embodia.make(TASK), seeds=[7]).episodes) == 1
    with pytest.raises(Mistake, match="not loaded from a run"):
        embodia.evaluate(random)


def test_no_such_run_and_no_such_checkpoint(run, tmp_path):
    with pytest.raises(Mistake, match="is not a run"):
        embodia.load(tmp_path / "nowhere")
    with pytest.raises(Mistake, match="no checkpoint 77"):
        embodia.load(run, checkpoint="77")


def test_runs_made_before_the_one_import_name_still_evaluate(run, tmp_path):
    """The configurations of old runs name the module `envs`."""
    old = tmp_path / "old"
    shutil.copytree(run, old)
    config = json.loads((old / "config.json").read_text())
    config["config"]["env"]["id"] = f"envs:embodia/{TASK}"
    (old / "config.json").write_text(json.dumps(config))
    assert embodia.evaluate(old, episodes=3).scores == embodia.evaluate(run, episodes=3).scores


def test_the_version_is_the_distribution_s():
    assert embodia.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = embodia.nothing


def test_python_m_embodia_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "embodia", "list", "agents"], capture_output=True, text=True, check=True
    )
    assert "agents (" in done.stdout


def test_folders_of_a_research_repository_disturb_nothing(tmp_path):
    """A project with its own `envs`, `agents` and `scripts`, in the current folder and first on the path."""
    for name in ("agents", "envs", "perception", "planners", "scripts", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemError('somebody else')")
    program = "import sys; sys.path.insert(0, ''); import embodia; embodia.make('MiniGrid-Empty-5x5-v0').reset(seed=0)"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "embodia", "list", "envs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

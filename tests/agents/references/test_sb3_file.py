"""A .zip of Stable-Baselines3: evaluated by the command; a file that does not fit is named."""

import json

import gymnasium as gym
import pytest
import stable_baselines3

from embodia.scripts.main import main


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A user's own policy on CartPole, hardly trained."""
    path = tmp_path_factory.mktemp("sb3") / "mine.zip"
    model = stable_baselines3.PPO("MlpPolicy", gym.make("CartPole-v1"), n_steps=64, batch_size=64, seed=0, device="cpu")
    model.learn(64)
    model.save(path)
    return path


def test_it_is_judged_as_it_acts(mine, tmp_path, capsys):
    model, world = stable_baselines3.PPO.load(mine, device="cpu"), gym.make("CartPole-v1")
    (obs, _), total, over = world.reset(seed=3), 0.0, False
    while not over:
        obs, reward, terminated, truncated, _ = world.step(model.predict(obs, deterministic=True)[0])
        total, over = total + reward, terminated or truncated
    out = tmp_path / "judged"
    command = ["eval", str(mine), "--algo", "ppo", "--env", "CartPole-v1", "--seeds", "3", "--films", "0"]
    assert main([*command, "--out", str(out)]) == 0
    lines = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    (own,) = (line for line in lines if line["policy"] == "agent")
    assert own["return"] == total
    assert main([*command, "--runs", str(tmp_path / "runs")]) == 0
    assert (tmp_path / "runs" / "mine-CartPole-v1-test" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{}", "--env", "CartPole-v1"], "name the algorithm"),
        (["none.zip", "--algo", "ppo", "--env", "CartPole-v1"], "there is no file none.zip"),
        (["{}", "--algo", "ppo"], "needs an environment"),
        (["{}", "--algo", "dqn", "--env", "CartPole-v1"], "cannot be read as DQN"),
        (["{}", "--algo", "ppo", "--env", "MiniGrid-Empty-5x5-v0"], "observations are like that"),
        (["random", "--algo", "ppo", "--env", "CartPole-v1"], "--algo is of a .zip"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(mine, capsys, words, says):
    assert main(["eval", *(word.format(mine) for word in words), "--episodes", "1", "--films", "0"]) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_no_zip(tmp_path, capsys):
    path = tmp_path / "x.zip"
    path.write_text("nothing")
    assert main(["eval", str(path), "--algo", "ppo", "--env", "CartPole-v1", "--episodes", "1"]) == 2
    assert "it is no .zip file" in capsys.readouterr().err

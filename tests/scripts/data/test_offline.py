"""`embodia train PRESET --data`: training, evaluation, resume, and one-line errors."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from embodia.agents.training.rows import EpisodeWriter, episode_files, read_episode
from embodia.scripts.assembly import runs
from embodia.scripts.data.offline import remembered
from embodia.scripts.main import main

WORLD = [
    *("--env.id", "MiniGrid-Empty-5x5-v0", "--env.options.observation", "symbolic"),
    *("--encoder.keys", "symbolic", "direction", "--encoder.dim", "32", "--encoder.channels", "8"),
    *("--encoder.depth", "2", "--evaluation.during", "3", "--evaluation.episodes", "6", "--evaluation.films", "0"),
]
CLONER = [*WORLD, "--agent.hidden", "32", "--agent.batch-size", "64", "--agent.learning-rate", "3e-3"]


def train(data, *arguments, preset="bc-doorkey", settings=CLONER):
    named = [part for each in data for part in ("--data", str(each))]
    return main(["train", preset, *named, *settings, *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two data sets of the expert's episodes, one of them also as Minari and LeRobotDataset."""
    place = tmp_path_factory.mktemp("data")
    exports = ["--to", "minari", "lerobot", "--name", "toy/a-v0"]
    for name, arguments in {"a": ["--episodes", "12", *exports], "b": ["--episodes", "6", "--first-seed", "9"]}.items():
        assert main(["collect", "expert", "--env", "dreamer-empty", *arguments, "--out", str(place / name)]) == 0
    return place


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    place = tmp_path_factory.mktemp("runs") / "run"
    code = train([data / "a", data / "b" / "rows"], "--steps", 80, "--schedule.eval-every", 40, "--out", place)
    assert code == 0
    return place


def test_it_learns_without_stepping_a_world_and_is_judged_in_one(run, data):
    made = json.loads((run / "report.json").read_text())
    assert made["scores"]["agent"]["success"]["value"] == 1.0
    assert made["scores"]["random"]["success"]["value"] < 1.0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval/success" in line] == [40, 80], "a step is an update"
    assert not any(name.startswith("episode/") for line in lines for name in line)
    meta = json.loads((runs.weights(run) / "meta.json").read_text())
    assert (meta["agent"], meta["score"]) == ("BC", meta["scores"]["success"])


def test_the_report_says_what_it_learned_from(run, data):
    made = json.loads((run / "report.json").read_text())["learned_from"]
    assert list(made) == [str(data / "a" / "rows"), str(data / "b" / "rows")]
    rows = sum(len(read_episode(file)) for file in episode_files(data / "a" / "rows"))
    assert made[str(data / "a" / "rows")].startswith(f"12 episodes, {rows} rows, fingerprint ")
    assert made[str(data / "a" / "rows")] in (run / "report.html").read_text()


@pytest.mark.parametrize("kind", ["minari", "lerobot"])
def test_exports_teach_the_same(run, data, kind, tmp_path, monkeypatch):
    """The same rows in the same order, so the same weights."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(data / "a" / "minari"))
    export = "toy/a-v0" if kind == "minari" else data / "a" / "lerobot"
    found = []
    for name in (data / "a", export):
        place = tmp_path / str(len(found))
        assert train([name], "--steps", 6, "--no-report", "--out", place) == 0
        found.append((runs.weights(place, "last") / "agent.safetensors").read_bytes())
    assert found[0] == found[1]


def test_half_a_run_and_the_other_half_are_the_run_bit_for_bit(run, data, tmp_path):
    place = tmp_path / "run"
    both, schedule = [data / "a", data / "b" / "rows"], ["--schedule.eval-every", 40, "--no-report"]
    assert train(both, "--steps", 40, *schedule, "--out", place) == 0
    assert main(["train", "--resume", str(place), "--steps", "80", "--no-report"]) == 0
    straight, halves = (runs.weights(each, "last") for each in (run, place))
    assert halves.name == straight.name == "000000080"
    assert (halves / "agent.safetensors").read_bytes() == (straight / "agent.safetensors").read_bytes()


def test_a_stopped_run_goes_on(data, tmp_path):
    place = tmp_path / "run"
    command = ["train", "bc-doorkey", "--data", str(data / "a"), *CLONER, "--steps", "100000", "--out", str(place)]
    process = subprocess.Popen(
        [sys.executable, "-m", "embodia.scripts.main", *command], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (place / "metrics.jsonl").exists() or not (place / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "embodia train --resume" in said
    stopped = int(runs.weights(place, "last").name)
    assert main(["eval", str(place), "--episodes", "2", "--films", "0", "--checkpoint", "last"]) == 0
    assert main(["train", "--resume", str(place), "--steps", str(stopped + 5), "--no-report"]) == 0
    assert int(runs.weights(place, "last").name) == stopped + 5


def test_moved_and_changed_data_are_one_line(data, tmp_path, capsys):
    here, there, place = tmp_path / "here", tmp_path / "there", tmp_path / "run"
    shutil.copytree(data / "b" / "rows", here)
    assert train([here], "--steps", 2, "--no-report", "--out", place) == 0
    again = ["train", "--resume", str(place), "--steps", "4", "--no-report"]
    here.rename(there)
    assert main(again) == 2
    assert f"embodia: {here}: {place} learns from it, but it is missing" in capsys.readouterr().err
    assert main([*again, "--data", str(data / "a")]) == 2
    assert "started with other data, 6 episodes" in capsys.readouterr().err
    assert main([*again, "--data", str(there)]) == 0
    assert remembered(place).sets[0].path == str(there)
    first = episode_files(there)[0]
    first.unlink()
    assert main([*again[:-2], "6", "--no-report"]) == 2
    said = capsys.readouterr().err
    assert "fingerprint" in said
    assert "this is 5 episodes" in said


def test_a_world_model_learns_offline_and_is_planned_in(tmp_path):
    """A few updates test the path from data to report; `tests/agents/training/test_offline.py` tests learning."""
    collected = tmp_path / "random"
    assert main(["collect", "random", "--env", "mpc-rssm-empty", "--episodes", "6", "--out", str(collected)]) == 0
    small = [
        *WORLD[:2],
        *WORLD[4:-2],
        "--agent.rssm.deter",
        "32",
        "--agent.rssm.units",
        "32",
        "--agent.sequence-length",
        "8",
    ]
    search = ["--agent.search.samples", "4", "--agent.search.elites", "2", "--agent.search.iterations", "1"]
    episodes = ["--evaluation.episodes", "2", "--evaluation.during", "2", "--env.options.max-steps", "10"]
    place = tmp_path / "run"
    arguments = [*search, *episodes, "--steps", 4, "--out", place, "--evaluation.films", "0"]
    assert train([collected], *arguments, preset="mpc-rssm-empty", settings=small) == 0
    lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    assert any("loss/rew" in line for line in lines)
    assert (place / "report.html").exists()


# Bad input --------------------------------------------------------------------------------------------------------


def test_who_cannot_learn_from_data_is_told_who_can(data, tmp_path, capsys):
    assert train([data / "a"], "--out", tmp_path / "run", preset="ppo-empty", settings=WORLD) == 2
    told = capsys.readouterr().err
    assert "PPO learns from its own actions only" in told
    for name in ("BC", "DAgger", "Dreamer", "MPC", "TDMPC2"):
        assert name in told
    assert not (tmp_path / "run").exists(), "nothing is left of a run that cannot be"


def test_what_does_not_fit_leaves_no_run(data, tmp_path, capsys):
    def refused(said, sets, *arguments, **how):
        assert train(sets, *arguments, "--out", tmp_path / "run", **how) == 2
        told = capsys.readouterr().err
        assert said in told
        assert "Traceback" not in told
        assert not (tmp_path / "run").exists()

    refused("--data nowhere: there is no such path", ["nowhere"])
    whole = ["--env.options.observation", "symbolic_full"]
    refused("symbolic: shape (7, 7, 3), but the environment's is (5, 5, 3)", [data / "a"], *whole)
    mission = ["--encoder.keys", "symbolic", "mission"]
    refused("mission: shape (20,), but the environment's", [data / "a"], *mission, "--env.id", "BabyAI-GoToRedBall-v0")
    refused("seen was not recorded", [data / "a"], "--columns", "symbolic=seen")
    refused("--data-memory is 0.0; it must be positive", [data / "a"], "--data-memory", 0)
    refused("--columns rgb: give KEY=NAME", [data / "a"], "--columns", "rgb")
    refused("the environment has no observation rgb", [data / "a"], "--columns", "rgb=symbolic")
    broken = tmp_path / "broken"
    shutil.copytree(data / "b" / "rows", broken)
    first = episode_files(broken)[0]
    first.write_bytes(first.read_bytes()[:-50])
    refused(f"{first}: header: truncated or corrupt", [broken])


def test_nan_amid_the_data_names_the_file_and_the_row(data, tmp_path, capsys):
    place = tmp_path / "data"
    shutil.copytree(data / "b" / "rows", place)
    good = read_episode(episode_files(place)[0])
    rows = {**good.rows, "reward": np.full_like(good.rows["reward"], np.nan)}
    EpisodeWriter(place, good.env_id, good.observation_space, good.action_space).write(rows)
    assert train([place], "--steps", 50, "--out", tmp_path / "run") == 2
    assert "episode-000006.npz: reward: not a finite number in row 0" in capsys.readouterr().err


def test_workers_read_the_episodes_and_a_run_resumes_exactly(data, tmp_path):
    """Two workers share the episodes of two data sets; half of a run and the other half are the run."""
    settings = ["--data-workers", 2, "--schedule.eval-every", 0, "--no-report"]
    for name, steps in {"whole": 6, "half": 3}.items():
        assert train([data / "a", data / "b" / "rows"], "--steps", steps, *settings, "--out", tmp_path / name) == 0
    assert main(["train", "--resume", str(tmp_path / "half"), "--steps", "6", "--no-report"]) == 0
    whole, half = (load_file(runs.weights(tmp_path / name, "last") / "agent.safetensors") for name in ("whole", "half"))
    assert all((whole[name] == half[name]).all() for name in whole)


def test_more_workers_than_episodes_are_refused(data, tmp_path, capsys):
    assert train([data / "b" / "rows"], "--data-workers", 8, "--out", tmp_path / "run") == 2
    assert "--data-workers is 8, but there are only 6 episodes to share; use at most 6" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()

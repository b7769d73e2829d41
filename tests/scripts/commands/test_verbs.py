"""The commands on a small run: train, eval, record, collect, compare, resume, and bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

from embodia.agents.training.rows import read_episodes
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.locks import LOCK, locked
from embodia.scripts.data.to_minari import dataset_name
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake
from embodia.scripts.report import video

TINY = [
    *("dagger-doorkey", "--env.id", "MiniGrid-Empty-5x5-v0", "--env.num-envs", "4", "--steps", "400"),
    *("--encoder.dim", "32", "--encoder.channels", "8", "--encoder.depth", "2", "--agent.hidden", "32"),
    *(
        "--agent.learning-starts",
        "64",
        "--agent.train-freq",
        "16",
        "--agent.gradient-steps",
        "24",
        "--agent.batch-size",
        "64",
    ),
    *("--schedule.eval-every", "200", "--schedule.log-every", "100"),
    *("--evaluation.during", "3", "--evaluation.episodes", "6", "--evaluation.films", "1"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of runs, with one run of TINY: six test levels, all solved."""
    place = tmp_path_factory.mktemp("runs")
    assert main(["train", *TINY, "--runs", str(place)]) == 0
    return place


@pytest.fixture(scope="module")
def run(folder):
    return folder / "dagger-doorkey-seed0"


def test_a_run_is_a_folder_anyone_can_read(run):
    assert json.loads((run / "config.json").read_text())["preset"] == "dagger-doorkey"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("loss" in line for line in lines)
    assert any("eval/success" in line for line in lines)
    assert list(run.glob("events.out.tfevents*"))
    assert {path.name for path in runs.weights(run).iterdir()} == {"agent.safetensors", "training.pt", "meta.json"}
    episodes = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    assert [each["policy"] for each in episodes] == ["agent"] * 6 + ["random"] * 6 + ["expert"] * 6
    assert not (run / LOCK).exists()


def test_the_report_card_shows_the_bar_and_the_films_play(run):
    made = json.loads((run / "report.json").read_text())
    assert made["scores"]["expert"]["success"]["value"] == 1.0
    assert made["scores"]["agent"]["success"]["value"] == 1.0
    assert made["scores"]["agent"]["success"]["low"] < 0.65, "six successes prove little"
    assert made["seeds"] == list(range(6))
    assert made["cpu_minutes"] > 0
    assert any(line["name"] == "eval/success" and line["low"] for line in made["curves"])
    for clip in made["videos"]:
        assert len(video.read(run / clip["path"])) > 3
    page = (run / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == len(made["videos"])


def test_reports_say_whether_test_levels_were_held_out(run, folder, tmp_path, capsys):
    """Empty-5x5 has one level, so training met it; DoorKey's levels it never saw."""
    assert json.loads((run / "report.json").read_text())["levels"]["met_in_training"] == 1
    out = tmp_path / "elsewhere"
    flags = ("--runs", str(folder), "--episodes", "4", "--films", "0", "--out", str(out))
    assert main(["eval", "dagger-doorkey", "--env", "MiniGrid-Empty-Random-5x5-v0", *flags]) == 0
    made = json.loads((out / "report.json").read_text())["levels"]
    assert (made["met_in_training"], made["named"]) == (0, True)
    assert "held out: none of them occurred in training" in capsys.readouterr().out


def test_a_run_is_never_overwritten(folder, run, capsys):
    assert runs.fresh(run).name == "dagger-doorkey-seed0-2"
    assert main(["train", *TINY, "--out", str(run)]) == 2
    assert "never overwritten" in capsys.readouterr().err


def test_evaluation_and_report_agree(run, folder, tmp_path, capsys):
    out = tmp_path / "eval"
    assert (
        main(["eval", "dagger-doorkey", "--runs", str(folder), "--episodes", "4", "--films", "0", "--out", str(out)])
        == 0
    )
    again = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()[:4]]
    before = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()[:4]]
    for one, other in zip(again, before):
        assert one["seed"] == other["seed"]
        assert one["length"] == other["length"], "one evaluate function: training's report and eval cannot disagree"
    assert main(["compare", str(run), str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["seeds"] == 4
    assert said["scores"]["success"]["p_value"] == 1.0


def test_the_expert_beats_random_and_compare_says_so(tmp_path, capsys):
    for policy in ("expert", "random"):
        arguments = [
            "--env",
            "MiniGrid-Empty-8x8-v0",
            "--episodes",
            "12",
            "--films",
            "0",
            "--out",
            str(tmp_path / policy),
        ]
        assert main(["eval", policy, *arguments]) == 0
    assert main(["compare", str(tmp_path / "expert"), str(tmp_path / "random"), "--json"]) == 0
    out = capsys.readouterr().out
    assert "success: A is better" in out
    assert json.loads(out.splitlines()[-1])["scores"]["success"]["difference"]["low"] > 0


def test_compare_refuses_other_levels(run, tmp_path, capsys):
    out = tmp_path / "train-split"
    assert main(["eval", str(run), "--split", "train", "--episodes", "2", "--films", "0", "--out", str(out)]) == 0
    assert main(["compare", str(run), str(out)]) == 2
    assert "split is test in" in capsys.readouterr().err


def test_record_films_each_seed(run, tmp_path, capsys):
    assert main(["record", str(run), "--seeds", "3", "5", "--out", str(tmp_path / "films")]) == 0
    films = sorted((tmp_path / "films").iterdir())
    assert [film.name for film in films] == ["test-seed-3.mp4", "test-seed-5.mp4"]
    frames = video.read(films[0])
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 1, "something moves"
    assert "success 1" in capsys.readouterr().out


def test_collect_writes_rows_that_others_open(tmp_path, capsys):
    minari = pytest.importorskip("minari")
    from embodia.scripts.data.to_minari import dataset_root

    out = tmp_path / "data"
    arguments = [
        "--env",
        "MiniGrid-Empty-5x5-v0",
        "--episodes",
        "3",
        "--to",
        "minari",
        "lerobot",
        "--name",
        "toy/empty-v0",
    ]
    assert main(["collect", "expert", *arguments, "--out", str(out)]) == 0
    stored = list(read_episodes(out / "rows"))
    assert [episode.seed for episode in stored] == [0, 1, 2]
    assert all((episode.rows["action"] == episode.rows["extras"]["expert_action"])[:-1].all() for episode in stored)
    with dataset_root(out / "minari"):
        data = minari.load_dataset("toy/empty-v0")
        assert data.total_episodes == 3
        again = data.recover_environment()
    observation, _ = again.reset(seed=0)
    assert (observation["symbolic"] == stored[0].rows["obs"]["symbolic"][0]).all(), "Minari makes the same world again"
    again.close()
    assert json.loads((out / "lerobot/meta/info.json").read_text())["total_episodes"] == 3


def test_list_names_everything_and_says_who_has_no_expert(capsys):
    assert main(["list", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "ppo-empty" in said["presets"]
    assert said["envs"]["embodia/MiniGrid-FourRooms-v0"] == "expert"
    assert said["envs"]["embodia/MiniGrid-Playground-v0"].startswith("no expert")
    assert {"ppo", "dqn", "bc", "dagger", "random", "expert"} <= set(said["agents"])


# Stopping and going on -----------------------------------------------------------------------------------------


def test_half_a_run_and_the_other_half_are_the_run_bit_for_bit(run, tmp_path):
    place = tmp_path / "run"
    assert main(["train", *TINY, "--steps", "200", "--no-report", "--out", str(place)]) == 0
    first = (place / "metrics.jsonl").read_text()
    assert main(["train", "--resume", str(place), "--steps", "400", "--no-report"]) == 0
    assert (place / "metrics.jsonl").read_text().startswith(first)
    straight, halves = (runs.weights(each, "last") for each in (run, place))
    assert halves.name == straight.name
    assert (halves / "agent.safetensors").read_bytes() == (straight / "agent.safetensors").read_bytes()


def test_a_stopped_run_says_how_to_go_on_and_goes_on(tmp_path):
    place = tmp_path / "a run"
    process = subprocess.Popen(
        [sys.executable, "-m", "embodia.scripts.main", "train", *TINY, "--steps", "100000", "--out", str(place)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (place / "metrics.jsonl").exists() or not (place / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "embodia train --resume" in said
    stopped = int(runs.weights(place, "last").name)
    assert main(["train", "--resume", str(place), "--steps", str(stopped + 8), "--no-report"]) == 0
    assert int(runs.weights(place, "last").name) >= stopped + 8


def test_two_processes_do_not_train_one_run(tmp_path):
    code = "import sys; from pathlib import Path; from embodia.scripts.assembly.locks import locked\n"
    code += "with locked(Path(sys.argv[1]), 'trained'): print('locked', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "locked\n"
        said = f"being trained by process {other.pid}; wait for it"
        with pytest.raises(Mistake, match=said), locked(tmp_path, "trained"):
            pass
        with pytest.raises(Mistake, match=f"being written by process {other.pid}"), runs.filled(tmp_path, tmp_path):
            pass
        other.kill()
    with locked(tmp_path, "trained"):
        assert (tmp_path / LOCK).read_text() == str(os.getpid()), "the lock of a dead process is free"
    assert not (tmp_path / LOCK).exists()


# Bad input: one message, exit code 2 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "ppo-emtpy"], "unknown preset ppo-emtpy. Did you mean ppo-empty"),
        (["train", "idm"], "idm needs no training; use embodia eval idm"),
        (
            ["eval", "idm", "--env", "MiniGrid-Empty-5x5-v0"],
            "idm needs a driving environment, not MiniGrid-Empty-5x5-v0",
        ),
        (["train", "ppo-empty", "--env.id", "MiniGrid-Empty-8x9-v0"], "Did you mean MiniGrid-Empty-8x8-v0"),
        (["train", "ppo-empty", "--encoder.keys", "smell"], "encoder.keys: smell is not observed"),
        (["train", "ppo-empty", "--agent.batch-size", "4000"], "a rollout is agent.n_steps x env.num_envs = 1024"),
        (["train", "ppo-empty", "--device", "cuda:7"], "no CUDA device"),
        (
            ["eval", "random", "--env", "MiniGrid-Empty-5x5-v0", "--device", "gpu"],
            'device is "gpu", which torch cannot use',
        ),
        (["eval", "random", "--env", "MiniGrid-Empty-5x5-v0", "--device", "meta"], 'device is "meta", which torch'),
        (["collect", "random", "--env", "MiniGrid-Empty-5x5-v0", "--episodes", "0"], "--episodes is 0; it must be at"),
        (["collect", "random", "--env", "MiniGrid-Empty-5x5-v0", "--fps", "0"], "--fps is 0"),
        (["record", "random", "--env", "MiniGrid-Empty-5x5-v0", "--fps", "-2"], "--fps is -2"),
        (["imagine", "random", "--context", "0"], "--context is 0"),
        (["train", "--resume", "no-such-run"], "no-such-run is not a run"),
        (["eval", "no-such-run"], "no-such-run is not a run"),
        (["eval", "expert"], "expert needs an environment: --env ID"),
        (["eval", "expert", "--env", "MiniGrid-Playground-v0", "--episodes", "2"], "Playground"),
        (["compare", "a", "b"], "a is not a run"),
        (["record", "random", "--env", "BabyAI-GoToRedBal-v0"], "Did you mean BabyAI-GoToRedBall-v0"),
    ],
)
def test_a_mistake_is_one_clear_message(arguments, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_a_truncated_checkpoint_is_named(run, folder, tmp_path, capsys):
    import shutil

    place = tmp_path / "run"
    shutil.copytree(run, place)
    weights = runs.weights(place, "last") / "agent.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    step = weights.parent.name
    assert main(["eval", str(place), "--checkpoint", step, "--episodes", "2"]) == 2
    told = capsys.readouterr().err
    assert "agent.safetensors: truncated or changed" in told


def test_a_damaged_episodes_file_is_named(run, tmp_path, capsys):
    import shutil

    place = tmp_path / "run"
    shutil.copytree(run, place)
    lines = (place / "episodes.jsonl").read_text().splitlines()
    (place / "episodes.jsonl").write_text("\n".join([*lines[:2], lines[2][:20]]))
    assert main(["compare", str(run), str(place)]) == 2
    assert "episodes.jsonl line 3 is invalid" in capsys.readouterr().err


def test_a_report_folder_stays_when_it_holds_something_or_was_there_before(tmp_path):
    def stopped(out, *files):
        with suppress(KeyboardInterrupt), runs.filled(out, tmp_path / "runs" / "a") as folder:
            for name in files:
                (folder / name).touch()
            raise KeyboardInterrupt

    stopped(None)
    stopped(tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []
    stopped(None, "episodes.jsonl")
    assert (tmp_path / "runs" / "a" / "episodes.jsonl").exists()
    stopped(None)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]
    (tmp_path / "mine").mkdir()
    stopped(tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


SICK = """
import gymnasium as gym, numpy as np
from gymnasium import spaces
class Sick(gym.Env):
    observation_space, action_space = spaces.Dict(x=spaces.Box(-9, 9, (2,), np.float32)), spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return {"x": np.zeros(2, np.float32)}, {}
    def step(self, action):
        self.t += 1
        x = np.array([0, np.nan if self.t == 5 else 1], np.float32)
        return {"x": x}, 0.0, self.t == 9, False, {"metrics": {"success": 0.0}}
gym.register("Sick-v0", Sick)
"""


def test_an_observation_without_names_is_refused_by_its_environment(tmp_path, monkeypatch, capsys):
    paired = "spaces.Dict(x=spaces.Box(-9, 9, (2,), np.float32), two=spaces.Tuple([spaces.Discrete(3)]))"
    (tmp_path / "paired_world.py").write_text(
        SICK.replace("spaces.Dict(x=spaces.Box(-9, 9, (2,), np.float32))", paired).replace("Sick", "Paired")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["eval", "random", "--env", "paired_world:Paired-v0", "--episodes", "1"]) == 2
    assert "paired_world:Paired-v0: its observation space has a Tuple" in capsys.readouterr().err


def test_nan_is_named_with_environment_seed_and_step(tmp_path, monkeypatch, capsys):
    (tmp_path / "sick_world.py").write_text(SICK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["eval", "random", "--env", "sick_world:Sick-v0", "--seeds", "3", "--episodes", "1"]) == 2
    told = capsys.readouterr().err
    for part in ('"x" is NaN', "Sick-v0", "seed 3", "step 5"):
        assert part in told
    assert not (tmp_path / "runs").exists(), "an evaluation that failed leaves nothing"
    assert main(["collect", "random", "--env", "sick_world:Sick-v0", "--out", "a/data"]) == 2
    assert not (tmp_path / "a").exists(), "and so does a collection"
    capsys.readouterr()
    arguments = ["--env.id", "sick_world:Sick-v0", "--encoder.keys", "x", "--steps", "50", "--seed", "11"]
    assert main(["train", "ppo-empty", *arguments, "--env.num-envs", "2"]) == 2
    told = capsys.readouterr().err
    for part in ('"x" is NaN', "Sick-v0", "seed 11", "step 5"):
        assert part in told


def test_collect_to_minari_from_a_relative_folder(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.chdir(tmp_path)
    flags = ("--env", "MiniGrid-Empty-5x5-v0", "--episodes", "2", "--to", "minari", "--out", "data")
    assert main(["collect", "random", *flags]) == 0
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data" / "minari"))
    assert minari.load_dataset("embodia/minigrid-empty-5x5-random-v0").total_episodes == 2


@pytest.mark.parametrize("name", ["../../x", "a/../../b-v0", "/tmp/x-v0", "x/toy-v0", "spaced name-v0", "no-version"])
def test_a_data_set_name_that_leads_elsewhere_is_refused_before_anything_is_recorded(name, tmp_path, capsys):
    flags = ("--env", "MiniGrid-Empty-5x5-v0", "--to", "minari", "--out", str(tmp_path / "data"))
    assert main(["collect", "random", *flags, "--name", name]) == 2
    assert f"--name {name}: a Minari data set is called" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_users_environments_have_names_that_minari_takes():
    assert dataset_name("random", "corridor:Corridor-v3") == "embodia/corridor-random-v0"
    assert dataset_name("runs/ppo seed0", "embodia/PointNav-v0") == "embodia/pointnav-ppo-seed0-v0"


def test_a_device_that_does_not_exist_is_named_for_random_too(tmp_path, capsys):
    flags = ("--env", "MiniGrid-Empty-5x5-v0", "--episodes", "1", "--device", "cuda:7", "--out", str(tmp_path / "out"))
    assert main(["eval", "random", *flags]) == 2
    assert "no CUDA device" in capsys.readouterr().err

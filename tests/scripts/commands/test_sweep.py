"""`embodia sweep`: its cells, what it runs again, how it ranks; and a small sweep on this machine and on Ray."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from embodia.scripts.commands import sweep as command
from embodia.scripts.mistake import Mistake
from embodia.scripts.sweep import Ended, Job, cells, local, results

TINY = ("--steps", "300", "--evaluation.episodes", "4", "--evaluation.during", "2", "--evaluation.films", "0")


def test_every_combination_and_seed_is_a_run(tmp_path):
    rest, over = cells.taken(
        ["--seeds", "0", "1", "--over", "agent.gamma", "0.9", "0.99", "--over", "agent.hidden", "8,8"]
    )
    assert rest == ["--seeds", "0", "1"]
    sweep = cells.Sweep("ppo-empty", over, (0, 1), ("--steps", "300"))
    jobs = sweep.jobs(tmp_path)
    assert [job.folder.name for job in jobs] == [
        "gamma=0.9,hidden=8,8-seed0",
        "gamma=0.99,hidden=8,8-seed0",
        "gamma=0.9,hidden=8,8-seed1",
        "gamma=0.99,hidden=8,8-seed1",
    ]
    assert jobs[0].flags == ("--steps", "300", "--agent.gamma", "0.9", "--agent.hidden", "8", "8")
    cells.write(sweep, tmp_path)
    assert cells.read(tmp_path) == sweep


def test_negative_values_are_values():
    assert cells.taken(["--over", "agent.x", "-1", "-0.5", "--json"]) == (["--json"], (("agent.x", ("-1", "-0.5")),))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["ppo-empty", "--over", "agent.learning-rat", "1"],
            "no field learning_rat. Did you mean learning_rate",
        ),
        (["ppo-empty", "--over", "agnet.gamma", "1"], "a preset has no field agnet"),
        (["ppo-empty", "--over", "agent.gamma"], "give a flag and its values"),
        (["ppo-empty", "--over", "agent.gamma", "1", "--over", "agent.gamma", "2"], "given twice"),
        (["ppo-empty", "--seeds", "1", "1"], "different seeds"),
        (["--over", "agent.gamma", "1"], "name a preset"),
        (["ppo-empty", "--address", "ray://head:10001"], "--engine ray"),
        (["ppo-empty", "--jobs", "0"], "--jobs is 0"),
        (["--resume", "nowhere"], "nowhere"),
        (["idm", "--over", "schedule.steps", "1"], "needs no training"),
    ],
)
def test_mistakes_are_named_before_anything_runs(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((Mistake, OSError), match=said):
        command.main(arguments)
    assert not list(tmp_path.rglob("*.json"))


def scripted(monkeypatch, script):
    """Let every job run a Python script with its folder and the number of the attempt."""
    attempts: dict[Job, int] = {}

    def started(job):
        attempts[job] = attempts.get(job, 0) + 1
        return subprocess.Popen([sys.executable, "-c", script, str(job.folder), str(attempts[job])])

    monkeypatch.setattr(local, "started", started)
    return attempts


def jobs_in(folder, n):
    return [Job("ppo-empty", (), seed, folder / f"ppo-empty-seed{seed}") for seed in range(n)]


def test_a_killed_process_is_run_again_and_a_mistake_is_not(tmp_path, monkeypatch):
    killed = "import os, signal, sys\nif sys.argv[2] == '1': os.kill(os.getpid(), signal.SIGKILL)"
    attempts = scripted(monkeypatch, killed)
    assert [ended.code for ended in local.Local(2).run(jobs_in(tmp_path, 3))] == [0, 0, 0]
    assert set(attempts.values()) == {2}
    attempts = scripted(monkeypatch, "raise SystemExit(2)")
    assert [ended.code for ended in local.Local(2).run(jobs_in(tmp_path, 2))] == [2, 2]
    assert set(attempts.values()) == {1}


def test_a_process_that_is_always_killed_is_given_up(tmp_path, monkeypatch):
    attempts = scripted(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    (ended,) = local.Local(1).run(jobs_in(tmp_path, 1))
    assert ended.code == -signal.SIGKILL
    assert set(attempts.values()) == {1 + local.RETRIES}


def test_when_it_is_stopped_its_processes_are_interrupted(tmp_path, monkeypatch):
    script = (
        "import pathlib, sys, time\np = pathlib.Path(sys.argv[1])\np.touch()\n"
        "try: time.sleep(60)\nexcept KeyboardInterrupt: p.with_suffix('.saved').touch()"
    )
    scripted(monkeypatch, script)
    engine = local.Local(1)
    (job,) = jobs_in(tmp_path, 1)
    process = local.started(job)
    engine.running[job] = process
    while not job.folder.exists():
        time.sleep(0.05)
    engine.stop()
    assert process.poll() is not None
    assert job.folder.with_suffix(".saved").exists()


def finished(job, values, score, validation):
    """Write what a finished run leaves: a report with test scores, and checkpoints with validation scores."""
    job.folder.mkdir(parents=True)
    report = {"headline": score, "better": {score: "lower" if score == "error" else "higher"}, "cpu_minutes": 1.0}
    (job.folder / "report.json").write_text(json.dumps({**report, "episodes": [{score: value} for value in values]}))
    for step, value in enumerate(validation):
        there = job.folder / "checkpoints" / f"{step:09d}"
        there.mkdir(parents=True)
        (there / "meta.json").write_text(json.dumps({"score": value, "better": report["better"][score]}))


def test_the_best_cell_is_chosen_by_validation_and_not_by_test_scores(tmp_path):
    sweep = cells.Sweep("ppo-empty", (("agent.gamma", ("0.9", "0.99")),), (0, 1))
    jobs = sweep.jobs(tmp_path)
    for job, values, validation in zip(jobs, ([1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1]), (0.2, 0.7, 0.4, 0.9)):
        finished(job, values, "success", (0.1, validation, 0.0))
    found = results.cells(sweep, jobs)
    assert [each.name for each in found] == ["gamma=0.99", "gamma=0.9"]
    assert found[0].validation == pytest.approx(0.8)
    assert found[1].validation == pytest.approx(0.3)
    assert found[0].test.value == pytest.approx(4 / 6)
    assert found[0].seeds == 2
    assert found[0].cpu_minutes == 2.0
    made = results.written(sweep, found, cells.RULE, tmp_path)
    assert made["best"] == "gamma=0.99"
    assert (tmp_path / "sweep.png").stat().st_size > 5_000
    assert "gamma=0.99" in results.table(found, 2)


def test_where_lower_is_better_the_lowest_error_wins(tmp_path):
    sweep = cells.Sweep("ppo-empty", (("agent.gamma", ("0.9", "0.99")),), (0,))
    jobs = sweep.jobs(tmp_path)
    for job, error in zip(jobs, (0.5, 2.0)):
        finished(job, [error], "error", (error,))
    assert results.cells(sweep, jobs)[0].name == "gamma=0.9"


def test_numbers_have_their_place_on_the_axis():
    assert results.positions(["1e-4", "1e-2"]) == ({"1e-4": 1e-4, "1e-2": 1e-2}, "log")
    assert results.positions(["1", "2"])[1] == "linear"
    assert results.positions(["a", "b"]) == ({"a": 0.0, "b": 1.0}, "linear")


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_and_ray_finds_the_same(tmp_path):
    """Two cells of one preset; the sweep is killed in the middle, resumed, and repeated on Ray."""
    begin = [sys.executable, "-m", "embodia", "sweep", "ppo-empty", "--over", "agent.gamma", "0.9", "0.99", *TINY]
    here = [*begin, "--jobs", "1", "--out", str(tmp_path / "local")]
    process = subprocess.Popen(here, cwd=tmp_path)
    while not list(tmp_path.glob("local/*/report.json")):
        time.sleep(0.2)
    process.kill()
    process.wait()
    time.sleep(5.0)  # the kernel interrupts the run that was going on
    again = [sys.executable, "-m", "embodia", "sweep", "--resume", str(tmp_path / "local"), "--jobs", "1"]
    assert subprocess.run(again, cwd=tmp_path).returncode == 0
    on_ray = [*begin, "--engine", "ray", "--out", str(tmp_path / "ray")]
    assert subprocess.run(on_ray, cwd=tmp_path, env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}).returncode == 0
    local_, ray_ = (json.loads((tmp_path / name / "results.json").read_text())["cells"] for name in ("local", "ray"))
    assert [(each["name"], each["test"]) for each in local_] == [(each["name"], each["test"]) for each in ray_]


def test_a_job_resumes_what_was_begun(tmp_path):
    job = Job("ppo-empty", ("--steps", "9"), 3, tmp_path / "a-seed3")
    assert job.arguments() == ["train", "ppo-empty", "--steps", "9", "--seed", "3", "--out", str(job.folder)]
    job.folder.mkdir()
    (job.folder / "config.json").write_text("{}")
    assert job.arguments() == ["train", "--resume", str(job.folder)]
    assert not job.finished
    assert Ended(job, 0).job is job

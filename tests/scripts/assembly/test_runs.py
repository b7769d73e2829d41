"""Run folders: what counts as a run, which one a name means, and what a failed or killed training leaves."""

import json
import os

import numpy as np
import pytest

from embodia.agents.training import checkpoint
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.json_lines import read_lines
from embodia.scripts.commands import train
from embodia.scripts.mistake import Mistake


class Weightless:
    """A thing that can be saved."""

    def save(self, folder):
        (folder / "agent.safetensors").write_bytes(b"")


def run(place, name, steps, wanted=100, age=0):
    """A run folder of `wanted` steps that has been trained for `steps`."""
    folder = place / name
    folder.mkdir()
    (folder / runs.CONFIG).write_text(json.dumps({"config": {"schedule": {"steps": wanted}}}))
    os.utime(folder / runs.CONFIG, (1e9 - age, 1e9 - age))
    if steps is not None:
        checkpoint.save(folder / "checkpoints", steps, Weightless(), {})
    return folder


def test_a_preset_means_its_newest_finished_run(tmp_path, capsys):
    old = run(tmp_path, "ppo-empty-seed0", 100, age=50)
    new = run(tmp_path, "ppo-empty-seed0-2", 100, age=30)
    run(tmp_path, "ppo-empty-seed0-3", 40, age=20)  # interrupted
    run(tmp_path, "ppo-empty-seed0-4", 0, age=10)  # failed at once
    run(tmp_path, "ppo-empty-seed0-5", None)  # killed before its first checkpoint
    assert runs.find("ppo-empty", tmp_path) == new
    assert runs.find(old.name, tmp_path) == old, "a name means that run"
    assert str(new) in capsys.readouterr().err


def test_an_unfinished_run_is_taken_only_if_there_is_no_other_and_says_so(tmp_path, capsys):
    run(tmp_path, "ppo-empty-seed0-2", 0)
    with pytest.raises(Mistake, match="ppo-empty is not a run"):
        runs.find("ppo-empty", tmp_path)
    begun = run(tmp_path, "ppo-empty-seed0", 40)
    assert runs.find("ppo-empty", tmp_path) == begun
    assert "its training stopped at step 40" in capsys.readouterr().err


def test_a_new_run_that_fails_before_its_first_update_leaves_nothing(tmp_path):
    folder = run(tmp_path, "new", 0)
    with pytest.raises(ValueError, match="broken"), runs.discarded_on_failure(folder):
        raise ValueError("broken")
    assert not folder.exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_run_that_learned_something_stays(tmp_path, error):
    folder = run(tmp_path, "new", 40)
    with pytest.raises(error), runs.discarded_on_failure(folder):
        raise error
    assert folder.exists()


def test_torn_lines_are_skipped_and_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo\n[3]\n{"step": 4}\n')
    with pytest.warns(UserWarning, match="line 2 is torn"):
        assert read_lines(path) == [{"step": 1}, {"step": 4}]
    assert read_lines(tmp_path / "none.jsonl") == []


def test_cpu_minutes_of_a_killed_process_count(tmp_path):
    """The killed process left no line in sessions.jsonl; the log, which a resumed run goes on with, has its time."""
    lines = [{"step": 10, "time/cpu_seconds": 60.0}, {"step": 20, "time/cpu_seconds": 240.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "sessions.jsonl").write_text(json.dumps({"cpu_minutes": 3.0}) + "\n")
    assert train.minutes(tmp_path) == 4.0
    (tmp_path / "sessions.jsonl").write_text(json.dumps({"cpu_minutes": 6.0}) + "\n")
    assert train.minutes(tmp_path) == 6.0, "with its child processes"


def test_levels_of_a_training_are_kept(tmp_path):
    train.write_levels(tmp_path, set())
    assert not list(tmp_path.iterdir())
    train.write_levels(tmp_path, {3, 2**64 - 1})
    np.testing.assert_array_equal(np.load(tmp_path / "levels.npy"), np.array([3, 2**64 - 1], np.uint64))


def test_weights_from_before_training_are_refused_unless_they_are_asked_for(tmp_path):
    folder = run(tmp_path, "begun", 0)
    with pytest.raises(Mistake, match="stopped before the first update"):
        runs.trained(folder)
    assert runs.trained(folder, "0") == folder / "checkpoints" / "000000000"

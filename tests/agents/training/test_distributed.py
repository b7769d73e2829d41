"""Training in two processes of torchrun equals training in one; it resumes exactly, and names a lost process.

Sums of float32 gradients in another order differ in the last bits. Weights and logged numbers agree to 1e-5 here; for
Dreamer, whose optimizer divides by the size of even tiny gradients, this holds for the first updates only.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from embodia.agents.training import checkpoint
from embodia.tests.agents.training.several_processes import AGENTS, HALF, LEARNERS, learn

NAMES = [*AGENTS, *LEARNERS]
FIRST_UPDATES = 60
"""Dreamer's environment steps to compare, five updates after the first 40."""


def torchrun(*arguments, fails=False, **environment):
    """Run a module in two processes; return its standard error."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The trainings of one process, and after it those of two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for name in NAMES:
        learn(name, one / "whole")
    for name in LEARNERS.keys() & HALF.keys():
        learn(name, one / "half", HALF[name])
    torchrun("embodia.tests.agents.training.several_processes", two, one)
    return one, two


@pytest.fixture
def one(runs):
    return runs[0] / "whole"


@pytest.fixture
def two(runs):
    return runs[1] / "whole"


def lines(folder):
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "time" not in key} for line in found]


def weights(folder):
    newest = checkpoint.latest(folder / "checkpoints")
    return load_file(next(path for path in newest.glob("*.safetensors")))


def assert_equal(a, b, tolerance=1e-5):
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("name", [name for name in NAMES if "dreamer" not in name])
def test_two_processes_train_as_one(name, one, two):
    assert_equal(one / name, two / name)
    ours, theirs = lines(one / name), lines(two / name)
    assert [line.keys() for line in ours] == [line.keys() for line in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for key in mine.keys() - {"embedding_std", "effective_rank"}:  # of projections whose offset does not matter
            assert mine[key] == pytest.approx(other[key], rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize("name", ["dreamer", "dreamer continuous"])
def test_two_processes_take_dreamers_first_updates_as_one(name, one, two):
    ours, theirs = ([line for line in lines(run / name) if line["step"] <= FIRST_UPDATES] for run in (one, two))
    assert sum("loss/rew" in line for line in ours) >= 4
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-4, abs=1e-4)


def test_one_process_writes_for_all(two):
    run = two / "ppo"
    assert [line["step"] for line in lines(run) if "eval/success" in line] == [100, 161]
    meta = checkpoint.load(checkpoint.latest(run / "checkpoints")).meta
    assert (meta["num_envs"], meta["processes"], meta["score"]) == (4, 2, 0.5)


@pytest.mark.parametrize("name", HALF)
def test_two_processes_resume_exactly(name, runs, two):
    assert_equal(runs[1] / "half" / name, two / name, 0)
    resumed, whole = (
        [line for line in lines(run) if not any(key.startswith("eval/") for key in line)]
        for run in (runs[1] / "half" / name, two / name)
    )
    assert resumed == whole


@pytest.mark.parametrize("name", [name for name in HALF if name in LEARNERS])
def test_training_on_data_is_resumed_by_another_number_of_processes(name, runs, one):
    assert_equal(runs[0] / "half" / name, one / name)
    learn(name, runs[1] / "handed over", resume=True)
    assert_equal(runs[1] / "handed over" / name, one / name)


def test_environments_are_resumed_by_as_many_processes(runs):
    with pytest.raises(checkpoint.CheckpointError, match="by 2 processes; resume with torchrun --nproc-per-node 2"):
        learn("ppo", runs[1] / "handed over", resume=True)

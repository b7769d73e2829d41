"""`torchrun -m embodia train|pretrain`: one run folder for all processes, a lost process, refusals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

from embodia.agents.training import checkpoint, distributed
from embodia.perception.pictures.shapes10 import shapes10
from embodia.scripts.commands.train import check_shares
from embodia.scripts.main import main
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import preset

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "embodia"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SMALL = [
    *("--encoder", "conv", "--encoder.width", "8", "--encoder.dim", "16", "--data.size", "32", "--data.workers", "2"),
    *("--training.batch-size", "8", "--training.warmup", "2", "--training.log-every", "2", "--data.pool", "16"),
]


def weights(run):
    return load_file(checkpoint.latest(run / "checkpoints") / "encoder.safetensors")


def test_pretraining_in_two_processes_is_that_of_one_and_one_resumes_it(tmp_path):
    """Each of two workers reads every second image; a process has one or both of them."""
    (tmp_path / "images").mkdir()
    for number, image in enumerate(shapes10(40, 0)[0].numpy()):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
    command = ["pretrain", "vicreg", "--data", str(tmp_path / "images"), *SMALL, "--steps", "4"]
    done = subprocess.run(
        [*TORCHRUN, *command, "--out", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stderr.count("pretraining in"), done.stdout.count("update 4: ")) == (1, 1)
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    for steps in (4, 6):
        if steps == 6:
            for run in ("one", "two"):
                assert main(["pretrain", "--resume", str(tmp_path / run), "--steps", "6"]) == 0
        one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
        for name in one:
            np.testing.assert_allclose(one[name], two[name], atol=2e-5, err_msg=name)
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]


def child(parent, rank):
    """Return the process of a rank below torchrun."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            if f"RANK={rank}".encode() in path.joinpath("environ").read_bytes().split(b"\0"):
                return int(path.name)
        except OSError:
            continue
    raise AssertionError(f"no process of rank {rank}")


def test_a_lost_process_ends_all_and_is_named_with_the_last_checkpoint(tmp_path):
    run = tmp_path / "run"
    settings = ["--env.num-envs", "4", "--schedule.save-every", "64", "--steps", "1000000", "--agent.batch-size", "64"]
    with open(tmp_path / "errors", "w") as errors:
        process = subprocess.Popen(
            [*TORCHRUN, "train", "fast-ppo-empty", *settings, "--out", str(run)], stderr=errors, env=ENVIRONMENT
        )
        try:
            until = time.monotonic() + 240
            while len(checkpoint.list_steps(run / "checkpoints")) < 3:
                assert process.poll() is None, (tmp_path / "errors").read_text()
                assert time.monotonic() < until
                time.sleep(0.1)
            lost = child(process.pid, 1)
            os.kill(lost, signal.SIGKILL)
            assert process.wait(60) != 0
        finally:
            process.kill()
    said = (tmp_path / "errors").read_text()
    ours = [line for line in said.splitlines() if line.startswith("embodia: ")]
    assert len(ours) == 1
    assert re.match(
        rf"embodia: rank 1 \(host \S+, pid {lost}\) ended during training; .*The last checkpoint is ", ours[0]
    )
    named = re.search(r"The last checkpoint is (\S+);", ours[0])[1]
    assert checkpoint.load(named).path == checkpoint.latest(run / "checkpoints")
    assert ours[0].endswith(f"start torchrun again with --resume {run}")
    assert re.search(r"rank\s*: 1 .*\n\s*exitcode\s*: -9", said), "torchrun names it, too"
    assert said.count("training in") == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fast-ppo-empty", "agent.batch_size is 512, which 3 processes cannot share; use a multiple of 3"),
        (
            "td-mpc2-pendulum",
            "td-mpc2 is trained by one process; start it without torchrun. Several processes train ppo",
        ),
    ],
)
def test_training_that_cannot_be_shared_is_refused(name, says, monkeypatch):
    monkeypatch.setattr(distributed, "processes", lambda: 3)
    config = preset(name)
    with pytest.raises(Mistake) as error:
        check_shares(config, learns=True)
    assert str(error.value).startswith(says)


def test_other_commands_are_started_without_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "_store", None)
    assert main(["list"]) == 2
    assert capsys.readouterr().err == (
        "embodia: torchrun starts train and pretrain in several processes; start list without it\n"
    )

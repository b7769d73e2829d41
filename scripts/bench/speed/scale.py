"""How much faster several processes are than one. Each part is a line of PARTS."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2

from embodia.perception.pictures.shapes10 import shapes10
from embodia.scripts.assembly.json_lines import read_lines
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Scale
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import timing
from embodia.scripts.mistake import Mistake

IMAGES, BATCH, UPDATES, WARM = 512, 128, 24, 4
"""Images of 64 x 64 pixels, images per batch, updates of a run, and how many of them are not timed."""


def measure(options: Scale) -> list[Row]:
    """Run the parts that are asked for."""
    wanted = options.only or tuple(PARTS)
    if unknown := set(wanted) - set(PARTS):
        raise Mistake(f"--only {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    return [row for name in wanted for row in PARTS[name](options)]


def torchrun(options: Scale) -> list[Row]:
    """Samples per second of `pretrain` in two processes, with one thread each, over those of one process."""
    folder = options.folder()
    draw(folder / "images", 64 if options.smoke else IMAGES)
    jobs = [
        (f"{processes} processes, seed {seed}", partial(pretrain, folder, processes, options.smoke))
        for seed in range(options.seeds)
        for processes in (1, 2)
    ]
    lines = once(folder / "torchrun.jsonl", jobs)
    one, two = (
        [line["samples_per_s"] for line in by_seed(lines)[f"{number} processes"]][: options.seeds] for number in (1, 2)
    )
    unit, spent = "samples/s", minutes(lines)
    ratio = timing("torchrun 2", [b / a for a, b in zip(one, two)], "times one process's samples/s")
    rates = timing("torchrun 2", two, unit, [timing("one process", one, unit)])
    return [replace(row, cpu_minutes=spent) for row in (ratio, rates)]


def pretrain(folder: Path, processes: int, smoke: bool) -> Line:
    """Pretrain an encoder in so many processes, from images in memory; return samples per second after a warm-up."""
    run = folder / f"pretrain-{processes}"
    shutil.rmtree(run, ignore_errors=True)
    updates, warm = (4, 2) if smoke else (UPDATES, WARM)
    start = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *start, "-m", "embodia", "pretrain", "vicreg", "--data", str(folder / "images")]
    settings = ["--training.batch-size", str(BATCH), "--training.log-every", str(warm), "--steps", str(updates)]
    done = subprocess.run(
        [*command, *settings, "--device", "cpu", "--out", str(run)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Mistake(f"pretrain in {processes} processes failed:\n{done.stderr}")
    lines = [line for line in read_lines(run / "metrics.jsonl") if "loss" in line]
    first, last = lines[0], lines[-1]
    seconds = last["time/seconds"] - first["time/seconds"]
    return {"samples_per_s": (last["step"] - first["step"]) * BATCH / seconds}


def draw(folder: Path, count: int) -> None:
    """Write images of shapes, unless they are there."""
    folder.mkdir(exist_ok=True)
    if len(list(folder.glob("*.png"))) < count:
        for number, image in enumerate(shapes10(count, 0, size=64)[0].numpy()):
            cv2.imwrite(str(folder / f"{number:04d}.png"), image)


PARTS: dict[str, Callable[[Scale], list[Row]]] = {"torchrun": torchrun}
"""Name of a part -> the function that measures it."""

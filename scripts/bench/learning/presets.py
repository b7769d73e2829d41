"""Scores of presets on held-out levels, on several seeds: `embodia train PRESET --seed S` for each of them.

Runs lie in `runs/presets/PRESET-seedS`. Finished runs are only read; interrupted runs are resumed.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embodia.scripts.assembly import runs
from embodia.scripts.bench.harness.options import Presets
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.commands.train import main as train
from embodia.scripts.report.progress import over

HEADLINE = (
    "ppo-empty",
    "dagger-doorkey",
    "bc-doorkey",
    "dagger-fourrooms",
    "bc-fourrooms",
    "dagger-pointnav",
    "blind-pointnav",
    "dreamer-empty",
    "mpc-rssm-empty",
    "ppo-driving",
)
TINY = ("--steps", "600", "--evaluation.episodes", "4", "--evaluation.during", "4", "--evaluation.films", "0")


def measure(options: Presets) -> list[Row]:
    """Train and evaluate what is missing; one row per preset."""
    out, flags = options.folder(), TINY if options.smoke else ()
    presets = options.only or HEADLINE
    jobs = over([(name, seed) for name in presets for seed in range(options.seeds)], "presets", "runs")
    found = {job: judged(*job, out, flags) for job in jobs}
    return [preset_row(name, [found[name, seed] for seed in range(options.seeds)]) for name in presets]


def judged(preset: str, seed: int, out: Path, flags: Sequence[str]) -> dict[str, Any]:
    """The report of one run, which is trained first if it is not finished."""
    folder = out / f"{preset}-seed{seed}"
    if not (folder / "report.json").exists():
        print(f"{preset}, seed {seed}", file=sys.stderr)
        if (folder / runs.CONFIG).exists():
            code = train(["--resume", str(folder)])
        else:
            code = train([preset, "--seed", str(seed), *flags, "--out", str(folder)])
        if code:
            raise KeyboardInterrupt
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def preset_row(preset: str, reports: Sequence[dict[str, Any]]) -> Row:
    """The headline score of a preset, beside those of random and of the expert on the same levels."""
    score = reports[0]["headline"]
    others = [name for name, scores in reports[0]["scores"].items() if name != "agent" and score in scores]
    return row(
        preset,
        [[episode[score] for episode in report["episodes"]] for report in reports],
        unit=score,
        cpu_minutes=round(sum(report["cpu_minutes"] for report in reports), 1),
        # Random and the expert play the same levels beside every seed: once is enough.
        controls=[
            row(name, [[each[f"{name} {score}"] for each in reports[0]["episodes"]]], unit=score) for name in others
        ],
    )

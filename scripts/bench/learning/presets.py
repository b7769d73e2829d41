"""What presets reach on levels they never saw, on several seeds: `embodia train PRESET --seed S`, again and again.

Runs lie in `runs/presets/PRESET-seedS`; what is finished is not run twice, what was interrupted goes on.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embodia.scripts.assembly import runs
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.commands.train import main as train
from embodia.scripts.report.chart import span

OUT = Path("runs/presets")
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


def measure(seeds: int, smoke: bool = False, only: Sequence[str] = (), out: Path = OUT) -> dict[str, Any]:
    """Train and judge what is missing; the reports of all."""
    flags = TINY if smoke else ()
    out = out / "smoke" if smoke else out
    reports = {preset: [judged(preset, seed, out, flags) for seed in range(seeds)] for preset in only or HEADLINE}
    for each in rows({"reports": reports}):
        print(f"{each.name:<24} {spelled(each)}   " + "   ".join(f"{c.name} {spelled(c)}" for c in each.controls))
    return {"reports": reports}


def judged(preset: str, seed: int, out: Path, flags: Sequence[str]) -> dict[str, Any]:
    """The report of one run, trained first where it is not finished."""
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


def rows(measured: dict[str, Any]) -> list[Row]:
    """A row a preset: its headline score beside random's and the expert's on the same levels."""
    return [preset_row(preset, reports) for preset, reports in measured["reports"].items()]


def preset_row(preset: str, reports: Sequence[dict[str, Any]]) -> Row:
    score = reports[0]["headline"]
    others = [name for name, scores in reports[0]["scores"].items() if name != "agent" and score in scores]
    return row(
        preset,
        [[episode[score] for episode in report["episodes"]] for report in reports],
        unit=score,
        cpu_minutes=round(sum(report["cpu_minutes"] for report in reports), 1),
        # Random and the expert play the same levels beside every seed: once is enough.
        controls=tuple(row(name, [[each[f"{name} {score}"] for each in reports[0]["episodes"]]]) for name in others),
    )


def spelled(row: Row) -> str:
    return span(row.value, row.low, row.high)

"""`embodia demo`: train, evaluate and record an agent in a few minutes, without network or display."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from embodia.scripts.assembly import runs
from embodia.scripts.assembly.config import Config, check
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.assembly.stored import write
from embodia.scripts.commands.train import carry_out
from embodia.scripts.presets.table import preset
from embodia.scripts.report import video


@dataclass(frozen=True)
class Args:
    """Train DAgger on MiniGrid-DoorKey-8x8, evaluate it on held-out levels, record videos, write a report card."""

    steps: int = 4_000
    """Number of training steps, each labelled by the expert."""
    episodes: int = 100
    """Number of test levels."""
    seed: int = 0
    """Random seed."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia demo")
    began = time.monotonic()
    config = shortened(preset("dagger-doorkey"), args)
    check(config, learns=True)
    run = runs.fresh(args.runs / "demo")
    write(config, run / runs.CONFIG, preset="demo", config_hash=config_hash(config))
    print(f"An agent learns from an expert to fetch a key, open a door and reach the goal ({config.env.id}).")
    if code := carry_out(config, run, "demo"):
        return code
    made = report(run)
    failures = list(broken(made, run))
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    if not failures:
        print("the agent is better than random: their 95 % confidence intervals do not overlap")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes; open {run / 'report.html'}")
    return 1 if failures else 0


def shortened(config: Config, args: Args) -> Config:
    """Shorten the preset for the demo."""
    return replace(
        config,
        schedule=replace(config.schedule, steps=args.steps, seed=args.seed, eval_every=args.steps // 4, log_every=256),
        agent=replace(config.agent, seed=args.seed),
        evaluation=replace(config.evaluation, episodes=args.episodes, during=20),
    )


def report(run: Path) -> Mapping[str, Any]:
    return json.loads((run / "report.json").read_text())


def broken(made: Mapping[str, Any], run: Path) -> Iterator[str]:
    """Yield what went wrong in the demo."""
    success = {name: scores["success"] for name, scores in made["scores"].items()}
    if success["agent"]["low"] <= success["random"]["high"]:
        yield "the confidence intervals of the agent's and random's success overlap; train longer with --steps"
    if "expert" not in success:
        yield "the expert's scores are missing"
    films = [run / clip["path"] for clip in made["videos"]]
    if len(films) < 3:
        yield f"only {len(films)} videos"
    for path in films:
        try:
            video.read(path)
        except (OSError, ValueError) as error:
            yield str(error)
    if not (run / "report.html").is_file():
        yield "the report is missing"

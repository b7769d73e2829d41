"""`embodia demo`: train, evaluate against random and the expert, record; minutes, no network, no display."""

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
    """Train DAgger on DoorKey-8x8, judge it on levels it has never seen, film it, write the report card."""

    steps: int = 4_000
    """Training steps, each labelled by the expert."""
    episodes: int = 100
    """Test levels."""
    seed: int = 0
    """Of everything."""
    runs: Path = Path("runs")
    """Where the run folder goes."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia demo")
    began = time.monotonic()
    config = shortened(preset("dagger-doorkey"), args)
    check(config, learns=True)
    run = runs.fresh(args.runs / "demo")
    write(config, run / runs.CONFIG, preset="demo", config_hash=config_hash(config))
    print(f"An agent learns to fetch a key, open a door and reach the goal ({config.env.id}) by asking an expert.")
    if code := carry_out(config, run, "demo"):
        return code
    made = report(run)
    failures = list(broken(made, run))
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    if not failures:
        print("the agent beats random: their 95 % intervals do not meet")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes; open {run / 'report.html'}")
    return 1 if failures else 0


def shortened(config: Config, args: Args) -> Config:
    """The preset, short enough for a demonstration."""
    return replace(
        config,
        schedule=replace(config.schedule, steps=args.steps, seed=args.seed, eval_every=args.steps // 4, log_every=256),
        agent=replace(config.agent, seed=args.seed),
        evaluation=replace(config.evaluation, episodes=args.episodes, during=20),
    )


def report(run: Path) -> Mapping[str, Any]:
    return json.loads((run / "report.json").read_text())


def broken(made: Mapping[str, Any], run: Path) -> Iterator[str]:
    """What the demonstration promised and did not keep."""
    success = {name: scores["success"] for name, scores in made["scores"].items()}
    if success["agent"]["low"] <= success["random"]["high"]:
        yield "the agent's interval of success meets random's; train longer with --steps"
    if "expert" not in success:
        yield "the expert's bar is missing"
    films = [run / clip["path"] for clip in made["videos"]]
    if len(films) < 3:
        yield f"only {len(films)} films"
    for path in films:
        try:
            video.read(path)
        except (OSError, ValueError) as error:
            yield str(error)
    if not (run / "report.html").is_file():
        yield "the report is missing"

"""`embodia demo`: three worlds in a few minutes, without network or display.

An agent is trained, evaluated and recorded in a grid; an expert walks through a home; a planner drives on a road.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from embodia.envs.homes.options import HomesOptions
from embodia.scripts.assembly import build, runs
from embodia.scripts.assembly.config import Config, check
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.parts import put
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.assembly.stored import write
from embodia.scripts.commands.train import carry_out
from embodia.scripts.presets.table import preset
from embodia.scripts.report import video
from embodia.scripts.report.evaluation import film
from embodia.scripts.report.progress import patience
from embodia.scripts.report.report import Clip

HOME_SEED, ROAD_SEED = 1, 0
FPS = 10  # roads are simulated at 10 Hz
COMPILING = "  (at first use, kernels are compiled, which takes one to two minutes per world; later they are loaded)"


@dataclass(frozen=True)
class Args:
    """Train DAgger on MiniGrid-DoorKey-8x8, evaluate it on held-out levels, record videos, write a report card; also
    record an expert in a home and PDM-Closed on a road."""

    steps: int = 4_000
    """Number of training steps, each labelled by the expert."""
    episodes: int = 100
    """Number of test levels."""
    seed: int = 0
    """Random seed."""
    worlds: bool = True
    """Also record a home and a road."""
    runs: Path = Path("runs")
    """Folder in which the run folder is created."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia demo")
    began = time.monotonic()
    config = shortened(preset("dagger-doorkey"), args)
    check(config, learns=True)
    run = runs.fresh(args.runs / "demo")
    with runs.discarded_on_failure(run):
        write(config, run / runs.CONFIG, preset="demo", config_hash=config_hash(config))
        clips = [home(run), road(run)] if args.worlds else []
        print(f"Grid: an agent learns from an expert to fetch a key, open a door and reach the goal ({config.env.id}).")
        if code := carry_out(config, run, "demo", more=clips):
            return code
    made = report(run)
    failures = list(broken(made, run, at_least=3 + len(clips)))
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


def home(run: Path) -> Clip:
    """Record an expert that walks through a home to an object."""
    options = HomesOptions(num_scenes=8)
    config = Config(EnvConfig("embodia/ObjectNav-v0", options), "expert")
    return recorded(run, config, HOME_SEED, "home", "Home: an expert looks for an object (ObjectNav)")


def road(run: Path) -> Clip:
    """Record PDM-Closed on a road."""
    config = put(preset("pdm-closed"), "env.options.num_test_scenarios", 8)
    return recorded(run, config, ROAD_SEED, "road", "Road: PDM-Closed drives (Dauner et al. 2023)")


def recorded(run: Path, config: Config, seed: int, name: str, title: str) -> Clip:
    """Record a policy that needs no training on one test level."""
    print(f"{title}.", flush=True)
    with patience(COMPILING):
        env = build.worlds(config.env, "test", 1, evaluation=True)
        agent = build.agent(config, env)
        env.close()
        (path,), (episode,) = film(agent, config.env, [seed], "test", run / "videos", name, FPS)
    return Clip(path, f"{title}, seed {seed}, {episode.length} steps", seed)


def report(run: Path) -> Mapping[str, Any]:
    return json.loads((run / "report.json").read_text())


def broken(made: Mapping[str, Any], run: Path, at_least: int) -> Iterator[str]:
    """Yield what went wrong in the demo, which should have `at_least` so many videos."""
    success = {name: scores["success"] for name, scores in made["scores"].items()}
    if success["agent"]["low"] <= success["random"]["high"]:
        yield "the confidence intervals of the agent's and random's success overlap; train longer with --steps"
    if "expert" not in success:
        yield "the expert's scores are missing"
    films = [run / clip["path"] for clip in made["videos"]]
    if len(films) < at_least:
        yield f"only {len(films)} videos"
    for path in films:
        try:
            video.read(path)
        except (OSError, ValueError) as error:
            yield str(error)
    if not (run / "report.html").is_file():
        yield "the report is missing"

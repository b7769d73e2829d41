"""`embodia record`: record videos of a policy on chosen levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from embodia.envs import Split
from embodia.scripts.assembly import build, runs
from embodia.scripts.assembly.config import check
from embodia.scripts.assembly.parts import names
from embodia.scripts.commands.eval import Policy, load, resolve
from embodia.scripts.mistake import Mistake, at_least_one
from embodia.scripts.report.evaluation import draws, film
from embodia.scripts.report.joined_video import Layout, join
from embodia.scripts.report.progress import over


@dataclass(frozen=True)
class Args:
    """Record one video (.mp4) per seed: the agent's view, the whole map, the action, the reward and the scores."""

    who: Annotated[Policy, tyro.conf.arg(name="")]
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the episodes."""
    split: Split = "test"
    """Set of levels; train and test are disjoint."""
    fps: int = 8
    """Steps per second of video."""
    together: bool = False
    """Also write one video of all episodes, together.mp4."""
    layout: Layout = "turns"
    """With --together: one episode after another, each after a title card (turns), or side by side (grid)."""
    seconds: float = 120.0
    """With --together: maximum duration in seconds; longer episodes are sped up to fit."""
    out: Path | None = None
    """Output folder; by default a new folder in the run, or in --runs."""


def main(arguments: Sequence[str]) -> int:
    rest, named = names(arguments)
    args = tyro.cli(Args, args=rest, prog="embodia record")
    at_least_one(fps=args.fps)
    config, run = resolve(args.who, named)
    check(config)
    if args.seconds <= 0 or args.fps < 1:
        raise Mistake(f"--seconds is {args.seconds:g} and --fps {args.fps}; both must be above 0")
    env = build.worlds(config.env, args.split, 1, evaluation=True)
    agent, _ = load(args.who, config, run, env)
    env.close()
    if not draws(config.env, args.split):
        raise Mistake(f"{config.env.id} cannot be rendered; it needs the render mode rgb_array and a render()")
    home = run / "records" if run else args.who.runs / f"{args.who.policy}-{config.env.id.split('/')[-1]}-films"
    with runs.filled(args.out, home) as folder:
        paths, titles = [], []
        for number, seed in enumerate(over(args.seeds, "recording", "episodes"), start=1):
            (path,), (episode,) = film(agent, config.env, [seed], args.split, folder, args.split, args.fps)
            scores = [f"{name} {value:.3g}" for name, value in episode.metrics.items()]
            scores = scores or [f"return {episode.return_:.3g}"]
            print(f"{path}  {episode.length} steps  {'  '.join(scores)}", flush=True)
            paths.append(path)
            which = f"episode {number} of {len(args.seeds)}: seed {seed}"
            titles.append([which, config.env.id.split("/")[-1], f"{episode.length} steps", scores[0]])
        if args.together:
            joined = folder / "together.mp4"
            faster = join(paths, titles, joined, args.layout, args.seconds, args.fps)
            print(f"{joined}  {len(paths)} episodes" + (f", {faster} times as fast" if faster > 1 else ""))
    return 0

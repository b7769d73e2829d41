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
    out: Path | None = None
    """Output folder; by default a new folder in the run, or in --runs."""


def main(arguments: Sequence[str]) -> int:
    rest, named = names(arguments)
    args = tyro.cli(Args, args=rest, prog="embodia record")
    at_least_one(fps=args.fps)
    config, run = resolve(args.who, named)
    check(config)
    env = build.worlds(config.env, args.split, 1, evaluation=True)
    agent, _ = load(args.who, config, run, env)
    env.close()
    if not draws(config.env, args.split):
        raise Mistake(f"{config.env.id} cannot be rendered; it needs the render mode rgb_array and a render()")
    home = run / "records" if run else args.who.runs / f"{args.who.policy}-{config.env.id.split('/')[-1]}-films"
    with runs.filled(args.out, home) as folder:
        for seed in args.seeds:
            (path,), (episode,) = film(agent, config.env, [seed], args.split, folder, args.split, args.fps)
            said = "  ".join(f"{name} {value:.3g}" for name, value in episode.metrics.items())
            print(f"{path}  {episode.length} steps  {said or f'return {episode.return_:.3g}'}")
    return 0

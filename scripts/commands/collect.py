"""`embodia collect`: record a policy's episodes to disk; export them to Minari and LeRobotDataset v3."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from embodia.agents import Row
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.rows import EpisodeWriter, episode_files
from embodia.envs import Split
from embodia.scripts.assembly import build, environments, runs
from embodia.scripts.assembly.config import check
from embodia.scripts.assembly.parts import names
from embodia.scripts.commands.eval import Policy, load, number, resolve
from embodia.scripts.data.coco import CocoWriter
from embodia.scripts.data.to_lerobot import to_lerobot
from embodia.scripts.data.to_minari import check_name, dataset_name, need, to_minari
from embodia.scripts.mistake import Mistake, at_least_one
from embodia.scripts.report.evaluation import Ticker


@dataclass(frozen=True)
class Args:
    """Run a policy on seeded levels and write every row to disk; optionally export to other formats."""

    who: Annotated[Policy, tyro.conf.arg(name="")]
    episodes: int | None = None
    """Number of episodes. By default 100, or all scenarios of --logs or --scenarios."""
    first_seed: int = 0
    """Seed of the first episode; the next episodes have the next seeds."""
    split: Split = "train"
    """Set of levels; train and test are disjoint."""
    to: tuple[Literal["minari", "lerobot"], ...] = ()
    """Additional formats to export to."""
    name: str | None = None
    """Name of the Minari data set, such as grid/empty-v0; by default made from policy and environment."""
    labels: bool = False
    """Write labelled images too, in homes and on roads: COCO boxes and masks, 3-D boxes, depth, poses, optical flow."""
    labels_every: int = 1
    """Label every this many steps."""
    fps: int = 10
    """Steps per second, for formats with time stamps in seconds."""
    out: Path | None = None
    """Output folder; by default a new folder in datasets/."""


def main(arguments: Sequence[str]) -> int:
    rest, named = names(arguments)
    args = tyro.cli(Args, args=rest, prog="embodia collect")
    at_least_one(episodes=args.episodes, fps=args.fps, labels_every=args.labels_every)
    config, run = resolve(args.who, named)
    check(config)
    for each in args.to:  # check before recording, which may take an hour
        need({"minari": "minari", "lerobot": "pyarrow"}[each], {"minari": "0.5.4", "lerobot": "15"}[each])
    name = args.name or dataset_name(args.who.policy, config.env.id)
    check_name(name)
    task = config.env.id.split("/")[-1]
    policy = args.who.policy if run is None else run.name
    seeds = range(args.first_seed, args.first_seed + number(args.episodes, config, 100))
    env = build.worlds(config.env, args.split, min(config.evaluation.num_envs, len(seeds)), evaluation=True)
    agent, _ = load(args.who, config, run, env)
    if hasattr(agent, "driving_planner"):  # the environments call it
        env.close()
        env = build.worlds(config.env, args.split, env.num_envs, evaluation=True, agent=agent)
    if args.labels and not hasattr(env.unwrapped, "labels"):
        env.close()
        raise Mistake(f"--labels: {config.env.id} has no labelled images; use an environment of homes or roads")
    options = environments.arguments(config.env, args.split)
    options = {name: value for name, value in options.items() if not callable(value)}
    header = {"agent": policy, "split": args.split, "env_options": options}
    if config.env.wrap is not None:
        header["wrap"] = config.env.wrap
    env_id = env.spec.id if env.spec else config.env.id
    with runs.filled(args.out, Path("datasets") / f"{policy}-{task}") as folder:
        writer = EpisodeWriter(folder / "rows", env_id, env.single_observation_space, env.single_action_space, **header)
        labels = Labels(env.unwrapped, CocoWriter(folder / "labels"), args.labels_every) if args.labels else None
        try:
            evaluate(agent, env, seeds, Keep(writer, Ticker(policy, len(seeds)), labels))
        finally:
            if labels is not None:
                print(f"{labels.writer.num_images} labelled images: {labels.writer.close()}")
            env.close()
        files = episode_files(folder / "rows")
        print(f"{len(files)} episodes of {env_id} in {folder / 'rows'}")
        if "minari" in args.to:
            print(f"Minari data set {name}: {to_minari(files, folder / 'minari', name)}")
        if "lerobot" in args.to:
            print(f"LeRobotDataset v3.0: {to_lerobot(files, folder / 'lerobot', args.fps)}")
    return 0


class Keep:
    """A `Watch` that writes each episode when it ends, and labelled images as they come."""

    def __init__(self, writer: EpisodeWriter, ticker: Ticker, labels: "Labels | None" = None):
        self.writer, self.ticker, self.labels = writer, ticker, labels

    def __call__(self, world: int, seed: int, row: Row, info: dict[str, Any], frame: Callable[[], Any]) -> None:
        self.writer.add(row, world, seed)
        if self.labels is not None:
            self.labels.add(world, seed, bool(row["first"]))
        self.ticker(world, seed, row, info, frame)


class Labels:
    """Labels the views of an environment's worlds every few steps of their episodes."""

    def __init__(self, env: Any, writer: CocoWriter, every: int):
        self.env, self.writer, self.every = env, writer, every
        self.step: dict[int, int] = {}  # of each world's episode

    def add(self, world: int, seed: int, first: bool) -> None:
        """Count a step of a world, and write its view if it is time."""
        step = self.step[world] = 0 if first else self.step[world] + 1
        if step % self.every == 0:
            self.writer.add(self.env.labels([world])[0], world, first, seed=seed, step=step)

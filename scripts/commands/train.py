"""`embodia train PRESET`: train, then judge on test levels; the run folder holds everything."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from embodia.agents import Agent
from embodia.agents.references.untrained import Untrained
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.levels import as_array, digest
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import train
from embodia.agents.training.rows import EpisodeWriter
from embodia.agents.training.scores import declared_scores
from embodia.scripts.assembly import build, runs
from embodia.scripts.assembly.config import Config, check
from embodia.scripts.assembly.earlier import flags
from embodia.scripts.assembly.environments import fitting
from embodia.scripts.assembly.kinds import AGENT
from embodia.scripts.assembly.parts import chosen, help_of, names, take
from embodia.scripts.assembly.provenance import config_hash, cpu_minutes
from embodia.scripts.assembly.stored import Named
from embodia.scripts.assembly.stored import write as write_config
from embodia.scripts.commands.collect import Keep
from embodia.scripts.data import offline
from embodia.scripts.data.offline import DataOptions, Remembered
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import PRESETS, preset
from embodia.scripts.report.evaluation import LEVELS, Ticker, judge, say, scores

HELP = """usage: embodia train PRESET [--flags]      embodia train PRESET --help names every flag
       embodia train PRESET --agent NAME [--encoder.image NAME] [--agent.model NAME] ...
       embodia train PRESET --data PATH [--data PATH]
       embodia train --resume RUN [--steps N]

Train a preset and judge it on test levels against random and the expert. The run folder, runs/PRESET-seedN unless
--out names another, holds config.json, metrics.jsonl, TensorBoard events, checkpoints, episodes.jsonl, films and
report.html. Ctrl-C leaves a checkpoint from which --resume goes on, on a CPU bit for bit.

A preset's parts are exchanged by name (`embodia list agents`), or for a class of your own, module:Class, whose module
is found from the current folder. --resume, eval, record and collect then want the same flag again, for a run never
imports code by itself.

With --data an agent learns from recorded rows without stepping a world, and is judged in the preset's: cloning does as
the recorded expert did (or as was done, where nobody advised), world models learn what actions led to. PATH is a
folder of `embodia collect`, a Minari data set (or its name) or a LeRobotDataset v3 folder. A step is then one update,
of which 2,000 are made unless --steps says otherwise. Dreamer, TD-MPC2 and DQN improve on what was done, but believe
in actions that nobody recorded: give them data of many kinds of behaviour.

presets:
{presets}"""


@dataclass(frozen=True)
class Args:
    """Train, then judge on test levels against random and the expert."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    seed: int | None = None
    """Seed of everything: sets schedule.seed and agent.seed."""
    steps: int | None = None
    """Sets schedule.steps."""
    device: str | None = None
    """Sets agent.device."""
    out: Path | None = None
    """The run folder; by default runs/PRESET-seedN, or the next free name."""
    runs: Path = Path("runs")
    """Where run folders lie."""
    report: bool = True
    """Judge the trained agent and write the report card."""
    recorded: Annotated[DataOptions, tyro.conf.arg(name="")] = DataOptions()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest whole checkpoint. A class of your own is named again: --agent module:Class."""

    resume: str
    """The run: its folder, its name, or its preset."""
    steps: int | None = None
    """Train for so many steps in all; by default as many as the run was made for."""
    runs: Path = Path("runs")
    """Where run folders lie."""
    report: bool = True
    """Judge the trained agent and write the report card."""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Where the recorded sets it learns from lie now, if they were moved; all of them, in the same order."""


def main(arguments: Sequence[str]) -> int:
    arguments = list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(len(each.name) for each in PRESETS)
        print(HELP.format(presets="\n".join(f"  {each.name:<{width}}  {each.says}" for each in PRESETS)))
        return 0 if arguments else 2
    if arguments[0].startswith("-"):
        rest, named = names(arguments)
        return resume(tyro.cli(Resume, args=rest, prog="embodia train"), named)
    name = arguments[0]
    rest, default = composed(arguments[1:], preset(name))
    if offline.asked(rest) or collects(default):
        default = offline.defaults(default)
    args = tyro.cli(
        Args,
        args=rest,
        default=Args(default),
        prog=f"embodia train {name}",
        description=f"{Args.__doc__}\n\n{help_of(default)}",
        config=(tyro.conf.AvoidSubcommands,),
    )
    config = shortened(args)
    if issubclass(AGENT.made(config.agent), Untrained):
        raise Mistake(f"{name} has nothing to learn; embodia eval {name} judges it, embodia record {name} films it")
    check(config, learns=not args.recorded.data)
    data = recorded(config, args.recorded)
    if collects(config):
        check_learns(config)
    run = runs.exactly(args.out) if args.out else runs.fresh(args.runs / f"{name}-seed{config.schedule.seed}")
    write_config(config, run / runs.CONFIG, preset=name, config_hash=config_hash(config))
    runs.carry(config, run)
    if data is not None:
        offline.remember(data, run)
    return carry_out(config, run, name, args.report)


def composed(arguments: Sequence[str], config: Config) -> tuple[list[str], Config]:
    """Take out of the arguments which world and which parts they name: the rest, and the configuration of these."""
    rest = flags(arguments)
    if found := take(rest, "env.id"):
        name, rest = found
        config = replace(config, env=fitting(replace(config.env, id=name)))
    return chosen(rest, config)


def shortened(args: Args) -> Config:
    """The configuration with what --seed, --steps and --device say, its options those of its world."""
    config = args.config
    given = {name: value for name in ("seed", "steps", "device") if (value := getattr(args, name)) is not None}
    schedule, agent = (
        replace(part, **{name: value for name, value in given.items() if hasattr(part, name)})
        for part in (config.schedule, config.agent)
    )
    config = replace(config, schedule=schedule, agent=agent)
    return replace(config, env=fitting(config.env))


def recorded(config: Config, options: DataOptions) -> Remembered | None:
    """The data to learn from, opened and held against the agent; None where it learns in worlds."""
    if not options.data:
        return None
    env = build.worlds(config.env, "train", 1)
    try:
        return offline.check(build.agent(config, env), options)
    finally:
        env.close()


def collects(config: Config) -> bool:
    """Whether the agent learns from drives of the expert that are recorded first."""
    return hasattr(config.agent, "drives")


def check_learns(config: Config) -> None:
    """Raises Mistake where the agent's planner has nothing to learn, or there are no roads."""
    env = build.worlds(config.env, "train", 1)
    agent = build.agent(config, env)
    env.close()
    if agent.offline() is None:
        raise Mistake(f"{type(getattr(agent, 'driving_planner', agent)).__name__} has no weights to learn")
    build.worlds(config.env, "train", 1, True, agent).close()


def drives(config: Config, run: Path) -> Remembered:
    """Drives of the expert on training levels, recorded in the run folder."""
    folder, number = run / "drives", config.agent.drives
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was stopped while it recorded
    env = build.worlds(config.env, "train", min(config.evaluation.num_envs, number), evaluation=True)
    try:
        spaces = env.single_observation_space, env.single_action_space
        writer = EpisodeWriter(folder, config.env.id, *spaces, agent="expert")
        driven = evaluate(build.reference("expert", env), env, range(number), Keep(writer, Ticker("recording", number)))
        found = offline.check(build.agent(config, env), DataOptions((str(folder),)))
    finally:
        env.close()
    write_levels(run, {digest(episode.level) for episode in driven if episode.level})
    offline.remember(found, run)
    return found


def resume(args: Resume, named: Named) -> int:
    run = runs.find(args.resume, args.runs)
    config = runs.config(run, named)
    if args.steps is not None:
        config = replace(config, schedule=replace(config.schedule, steps=args.steps))
    if args.data:
        offline.moved(run, args.data)
    check(config, learns=offline.remembered(run) is None)
    return carry_out(config, run, run.name, args.report, again=True)


def carry_out(config: Config, run: Path, title: str, wanted: bool = True, again: bool = False) -> int:
    """Train into `run`, then judge; 130 if somebody interrupted it."""
    print(f"{'resuming' if again else 'training'} in {run}", file=sys.stderr)
    with one_at_a_time(run):
        data = offline.remembered(run) or (drives(config, run) if collects(config) else None)
        env = build.worlds(config.env, "train", 1 if data else None)
        agent = build.agent(config, env)
        try:
            learn(agent, env, config, run, again, data)
            steps = int(json.loads((runs.weights(run, "last") / "meta.json").read_text())["step"])
        finally:
            env.close()
        if steps < config.schedule.steps:
            print(f"stopped at step {steps:,}; embodia train --resume {run} goes on", file=sys.stderr)
            return 130
        if wanted:
            report(agent, config, run, title)
    return 0


def learn(agent: Agent, env: Any, config: Config, run: Path, again: bool, data: Remembered | None = None) -> None:
    """The training loop, in worlds or on `data`, with this run's log, checkpoints and evaluations."""
    logger = Logger(run)
    count = min(config.evaluation.num_envs, config.evaluation.during)
    judges = build.worlds(config.env, "train", count, True, agent)
    began, used = time.time(), cpu_minutes()

    def judged() -> dict[str, float]:
        return validate(agent, judges, config)

    try:
        if data is not None:
            offline.learn(agent, data, config, run, logger, judged, declared_scores(judges), again)
        else:
            about = {"hash": config_hash(config)}
            done = train(agent, env, config.schedule, run, logger=logger, evaluate=judged, resume=again, config=about)
            write_levels(run, done.levels)
    finally:
        logger.close()
        judges.close()
        spent = {"began": began, "seconds": time.time() - began, "cpu_minutes": cpu_minutes() - used}
        with open(run / "sessions.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(spent) + "\n")


def validate(agent: Agent, env: Any, config: Config) -> dict[str, float]:
    """Mean scores on levels of the training split that training reaches by chance only; test levels stay unseen."""
    seeds = range(VALIDATION, VALIDATION + config.evaluation.during)
    return {name: sum(each) / len(each) for name, each in scores(evaluate(agent, env, seeds)).items()}


VALIDATION = 2**29
"""First seed of the levels that choose the best checkpoint."""


def report(agent: Agent, config: Config, run: Path, title: str) -> dict[str, Any]:
    """Judge the best checkpoint on test levels."""
    chosen = runs.weights(run, "best")
    agent.load(chosen)
    minutes = sum(float(session["cpu_minutes"]) for session in sessions(run))
    facts: dict[str, Any] = {"checkpoint": f"best of those kept, step {int(chosen.name):,}", **wall(run)}
    facts |= offline.facts(run)
    name = f"{title}, seed {config.schedule.seed}"
    made = judge(agent, config, run, name, metrics=run / "metrics.jsonl", run=run, minutes=minutes, **facts)
    print(f"{title}: step {int(chosen.name):,}, {minutes:.1f} CPU minutes of training")
    say(made, run)
    return made


def write_levels(run: Path, levels: set[int]) -> None:
    """Keep the digests of the levels that training has met; nothing where the environment names none."""
    if levels:
        np.save(run / LEVELS, as_array(levels))


def wall(run: Path) -> dict[str, float]:
    """Wall time of training, over all its processes [min]."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return {"wall_minutes": round(json.loads(lines[-1])["time/seconds"] / 60, 2)} if lines else {}


def sessions(run: Path) -> list[Mapping[str, Any]]:
    """What each process that trained this run used."""
    path = run / "sessions.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def one_at_a_time(run: Path) -> Any:
    """Refuse a second process that would train the same run; a dead one's claim is taken over."""
    claim = run / ".training"
    try:
        owner = int(claim.read_text())
        os.kill(owner, 0)
    except (OSError, ValueError):
        owner = 0
    if owner and owner != os.getpid():
        raise Mistake(f"{run} is being trained by process {owner}; wait for it, or stop it")
    claim.write_text(str(os.getpid()))
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)

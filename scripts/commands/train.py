"""`embodia train PRESET`: train an agent, then evaluate it on held-out test levels."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from embodia.agents import Agent
from embodia.agents.references.untrained import Untrained
from embodia.agents.training import distributed
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
from embodia.scripts.assembly.json_lines import read_lines
from embodia.scripts.assembly.kinds import AGENT
from embodia.scripts.assembly.locks import locked
from embodia.scripts.assembly.parts import chosen, help_of, names, take
from embodia.scripts.assembly.provenance import config_hash, cpu_minutes
from embodia.scripts.assembly.roads import Roads, number_of_scenarios
from embodia.scripts.assembly.stored import Named
from embodia.scripts.assembly.stored import write as write_config
from embodia.scripts.commands.collect import Keep
from embodia.scripts.data import offline
from embodia.scripts.data.offline import DataOptions, Remembered
from embodia.scripts.mistake import Mistake
from embodia.scripts.presets.table import PRESETS, preset
from embodia.scripts.report.evaluation import LEVELS, Ticker, judge, say, scores
from embodia.scripts.report.report import Clip
from embodia.scripts.report.trackers import Tracker, trackers

HELP = """usage: embodia train PRESET [--flags]      (embodia train PRESET --help lists all flags)
       embodia train PRESET --agent NAME [--encoder.image NAME] [--agent.model NAME] ...
       embodia train PRESET --data PATH [--data PATH]
       embodia train --resume RUN [--steps N]
       torchrun --nproc-per-node N -m embodia train ...

Train an agent, then evaluate it on held-out test levels beside a random agent and the expert. The run folder is
runs/PRESET-seedN, or that of --out. It contains config.json, metrics.jsonl, TensorBoard events, checkpoints,
episodes.jsonl, videos and report.html. Ctrl-C saves a checkpoint; --resume continues from it (on a CPU, bit for bit).

Replace parts of a preset by name (`embodia list agents`), or by your own class as module:Class; the module is also
searched in the current folder. Repeat such a flag with --resume, eval, record and collect: loading a run never imports
code that you do not name. --wrap module:Wrapper puts your own wrapper (another reward, other observations) around the
environments; --stack 4 stacks observations.

With --data an agent learns from recorded rows, without stepping an environment. It is evaluated in the environment of
the preset. PATH is a folder of `embodia collect`, a Minari data set (or its name), or a LeRobotDataset v3 folder. A
step is then one update; the default is 2,000 steps. Behaviour cloning imitates the recorded expert (or the recorded
actions, if there is no expert). World models learn the dynamics. Dreamer, TD-MPC2 and DQN can improve on the recorded
behaviour, but they overestimate actions that are not in the data, so use data with diverse behaviour.

With torchrun, N processes share the environments and every batch, with the result of one process (docs/scale.md).

presets:
{presets}"""


@dataclass(frozen=True)
class Args:
    """Train an agent, then evaluate it on held-out test levels beside a random agent and the expert."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    seed: int | None = None
    """Random seed; sets schedule.seed and agent.seed."""
    steps: int | None = None
    """Number of training steps; sets schedule.steps."""
    device: str | None = None
    """cpu, cuda or auto; sets agent.device."""
    out: Path | None = None
    """Run folder; by default runs/PRESET-seedN, or the next free name."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""
    report: bool = True
    """Evaluate the trained agent and write the report card."""
    log: tuple[Tracker, ...] = ()
    """Experiment trackers beside metrics.jsonl and TensorBoard: wandb, mlflow."""
    recorded: Annotated[DataOptions, tyro.conf.arg(name="")] = DataOptions()  # noqa: RUF009 (frozen)
    roads: Annotated[Roads, tyro.conf.arg(name="")] = Roads()  # noqa: RUF009 (frozen)


@dataclass(frozen=True)
class Resume:
    """Resume a run from its newest intact checkpoint. Repeat flags for your own classes: --agent module:Class."""

    resume: str
    """Run: its folder, its name, or its preset."""
    steps: int | None = None
    """Total number of training steps; by default as configured in the run."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""
    report: bool = True
    """Evaluate the trained agent and write the report card."""
    log: tuple[Tracker, ...] = ()
    """Experiment trackers, in addition to those of the run: wandb, mlflow."""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """New paths of the run's recorded data, if they were moved; give all of them, in the same order."""
    wrap: str | None = None
    """The run's wrapper, if it has one: module:Wrapper."""


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
    args, config = configured(name, arguments[1:])
    data = recorded(config, args.recorded)
    if collects(config):
        check_learns(config)
    run = distributed.by_leader(
        lambda: runs.exactly(args.out) if args.out else runs.fresh(args.runs / f"{name}-seed{config.schedule.seed}")
    )
    with distributed.leader_only(runs.discarded_on_failure(run)):
        distributed.by_leader(lambda: begin(config, run, name, data))
        return carry_out(config, run, name, args.report, log=args.log)


def configured(preset_name: str, arguments: Sequence[str]) -> tuple[Args, Config]:
    """Read the flags of a preset. Raises Mistake, or SystemExit for a flag or value that it does not take."""
    rest, default = composed(arguments, preset(preset_name))
    if offline.asked(rest) or collects(default):
        default = offline.defaults(default)
    args = tyro.cli(
        Args,
        args=rest,
        default=Args(default),
        prog=f"embodia train {preset_name}",
        description=f"{Args.__doc__}\n\n{help_of(default)}",
        config=(tyro.conf.AvoidSubcommands,),
    )
    config = shortened(args)
    if issubclass(AGENT.made(config.agent), Untrained):
        raise Mistake(
            f"{preset_name} needs no training; use embodia eval {preset_name} or embodia record {preset_name}"
        )
    check(config, learns=not args.recorded.data)
    check_shares(config, learns=not args.recorded.data)
    return args, config


def begin(config: Config, run: Path, name: str, data: Remembered | None) -> None:
    """Write what a new run consists of before training."""
    write_config(config, run / runs.CONFIG, preset=name, config_hash=config_hash(config))
    runs.carry(config, run)
    if data is not None:
        offline.remember(data, run)


def composed(arguments: Sequence[str], config: Config) -> tuple[list[str], Config]:
    """Take the environment and the parts out of the arguments; return the rest and the configuration with them."""
    rest = flags(arguments)
    if found := take(rest, "env.id"):
        name, rest = found
        config = replace(config, env=fitting(replace(config.env, id=name)))
    return chosen(rest, config)


def shortened(args: Args) -> Config:
    """Return the configuration with the values of --seed, --steps and --device, and options of its environment."""
    config = args.config
    given = {name: value for name in ("seed", "steps", "device") if (value := getattr(args, name)) is not None}
    schedule, agent = (
        replace(part, **{name: value for name, value in given.items() if hasattr(part, name)})
        for part in (config.schedule, config.agent)
    )
    config = replace(config, schedule=schedule, agent=agent, env=args.roads.into(fitting(config.env)))
    if (found := number_of_scenarios(config.env)) is None:
        return config
    evaluation = config.evaluation  # no scenario of a pack or of logs is played twice in an evaluation
    fewer = {name: min(found, getattr(evaluation, name)) for name in ("episodes", "during")}
    return replace(config, evaluation=replace(evaluation, **fewer))


def recorded(config: Config, options: DataOptions) -> Remembered | None:
    """Open the recorded data and check them against the agent; None if it learns in environments."""
    if not options.data:
        return None
    env = build.worlds(config.env, "train", 1)
    try:
        return offline.check(build.agent(config, env), options)
    finally:
        env.close()


def check_shares(config: Config, learns: bool) -> None:
    """Raise Mistake if the processes of torchrun cannot share the training; `learns`: in environments."""
    if distributed.processes() == 1:
        return
    if not trains_together(config.agent):
        able = ", ".join(name for name in AGENT.table if trains_together(name))
        raise Mistake(f"{AGENT.name(config.agent)} is trained by one process; start it without torchrun. Several "
                      f"processes train {able}")  # fmt: skip
    try:
        distributed.share("agent.batch_size", config.agent.batch_size)
        if learns and not collects(config):
            distributed.share("env.num_envs", config.env.num_envs)
    except ValueError as error:
        raise Mistake(str(error)) from error


def trains_together(agent: Any) -> bool:
    """Return whether several processes can train an agent, given by its configuration or name."""
    return bool(getattr(AGENT.made(agent), "parallel", False))


def collects(config: Config) -> bool:
    """Return whether the agent learns from expert drives that are recorded first."""
    return hasattr(config.agent, "drives")


def check_learns(config: Config) -> None:
    """Raise Mistake if the agent's planner has no weights, or the environment is not for driving."""
    env = build.worlds(config.env, "train", 1)
    agent = build.agent(config, env)
    env.close()
    if agent.offline() is None:
        raise Mistake(f"{type(getattr(agent, 'driving_planner', agent)).__name__} has no weights to train")
    build.worlds(config.env, "train", 1, True, agent).close()


def drives(config: Config, run: Path) -> Remembered:
    """Record expert drives on training levels in the run folder."""
    folder, number = run / "drives", config.agent.drives
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was stopped while recording
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
    run = distributed.by_leader(lambda: runs.find(args.resume, args.runs))
    config = runs.config(run, {**named, **({"wrap": args.wrap} if args.wrap else {})})
    if args.steps is not None:
        config = replace(config, schedule=replace(config.schedule, steps=args.steps))
    if args.data:
        distributed.by_leader(lambda: offline.moved(run, args.data))
    check(config, learns=offline.remembered(run) is None)
    check_shares(config, learns=offline.remembered(run) is None)
    return carry_out(config, run, run.name, args.report, again=True, log=args.log)


def carry_out(
    config: Config,
    run: Path,
    title: str,
    wanted: bool = True,
    again: bool = False,
    more: Sequence[Clip] = (),
    log: Sequence[Tracker] = (),
) -> int:
    """Train into `run`, then evaluate; return the exit code, 130 if training was interrupted.

    The report, if it is wanted, also shows `more` videos.
    """
    if distributed.leads():
        print(f"{'resuming' if again else 'training'} in {run}", file=sys.stderr)
    with distributed.leader_only(locked(run, "trained")):
        data = offline.remembered(run)
        if data is None and collects(config):
            data = distributed.by_leader(lambda: drives(config, run))
        number = 1 if data else distributed.share("env.num_envs", config.env.num_envs)
        env = distributed.leader_first(lambda: build.worlds(config.env, "train", number))
        agent = build.agent(config, env)
        try:
            learn(agent, env, config, run, again, data, log)
        finally:
            env.close()
        if not distributed.leads():
            return 0
        steps = int(json.loads((runs.weights(run, "last") / "meta.json").read_text())["step"])
        if steps < config.schedule.steps:
            print(f"stopped at step {steps:,}; to continue: embodia train --resume {run}", file=sys.stderr)
            return 130
        if wanted:
            report(agent, config, run, title, more)
    return 0


def learn(
    agent: Agent,
    env: Any,
    config: Config,
    run: Path,
    again: bool,
    data: Remembered | None = None,
    log: Sequence[Tracker] = (),
) -> None:
    """Run the training loop, in environments or on `data`, with this run's logger, checkpoints and evaluations."""
    logger = Logger(run, sinks=trackers(log, run, config))
    count = min(config.evaluation.num_envs, config.evaluation.during)
    judges = build.worlds(config.env, "train", count if distributed.leads() else 1, True, agent)
    began, used = time.time(), cpu_minutes()
    together: float | None = None  # CPU minutes of all processes

    def judged() -> dict[str, float]:
        return validate(agent, judges, config)

    try:
        if data is not None:
            offline.learn(agent, data, config, run, logger, judged, declared_scores(judges), again)
        else:
            about = {"hash": config_hash(config)}
            done = train(agent, env, config.schedule, run, logger=logger, evaluate=judged, resume=again, config=about)
            write_levels(run, set().union(*distributed.gathered_states(done.levels)))
        together = distributed.total(cpu_minutes() - used)
    finally:
        logger.close()
        judges.close()
        all_minutes = cpu_minutes() - used if together is None else together
        spent = {"began": began, "seconds": time.time() - began, "cpu_minutes": all_minutes}
        if distributed.leads():
            with open(run / "sessions.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(spent) + "\n")


def validate(agent: Agent, env: Any, config: Config) -> dict[str, float]:
    """Return mean scores on validation levels: levels of the training split that training is unlikely to visit."""
    seeds = range(VALIDATION, VALIDATION + config.evaluation.during)
    return {name: sum(each) / len(each) for name, each in scores(evaluate(agent, env, seeds)).items()}


VALIDATION = 2**29
"""First seed of the validation levels, which select the best checkpoint."""


def report(agent: Agent, config: Config, run: Path, title: str, more: Sequence[Clip] = ()) -> dict[str, Any]:
    """Evaluate the best checkpoint on test levels and write the report."""
    chosen = runs.weights(run, "best")
    agent.load(chosen)
    spent = minutes(run)
    facts: dict[str, Any] = {"checkpoint": f"best, step {int(chosen.name):,}", **wall(run)}
    facts |= offline.facts(run)
    name = f"{title}, seed {config.schedule.seed}"
    made = judge(agent, config, run, name, metrics=run / "metrics.jsonl", run=run, more=more, minutes=spent, **facts)
    print(f"{title}: step {int(chosen.name):,}, {spent:.1f} CPU minutes of training")
    say(made, run)
    return made


def write_levels(run: Path, levels: set[int]) -> None:
    """Save the digests of the levels that training has used, if the environment names its levels."""
    if levels:
        np.save(run / LEVELS, as_array(levels))


def wall(run: Path) -> dict[str, float]:
    """Return the wall time of training, over all its processes [min]."""
    lines = read_lines(run / "metrics.jsonl")
    return {"wall_minutes": round(lines[-1]["time/seconds"] / 60, 2)} if lines else {}


def minutes(run: Path) -> float:
    """Return the CPU time of training, over all its processes [min].

    A process that was killed has no line in sessions.jsonl, but its time is in metrics.jsonl.
    """
    sessions = sum(float(each["cpu_minutes"]) for each in read_lines(run / "sessions.jsonl"))
    logged = [float(each.get("time/cpu_seconds", 0.0)) for each in read_lines(run / "metrics.jsonl")]
    return max(sessions, max(logged, default=0.0) / 60)

"""`embodia pretrain ddpm --data PATH` (or rbm, energy, ...): a generative model of a user's own pictures."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import tyro

from embodia.agents.training import distributed
from embodia.agents.training.device import choose_device
from embodia.agents.training.fit import fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.rng import seed_all
from embodia.agents.training.versions import versions
from embodia.perception.generative import Generative
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.generative import NAME, GenerativeConfig, generative, takes_classes
from embodia.scripts.assembly.kinds import GENERATIVE
from embodia.scripts.assembly.locks import locked
from embodia.scripts.assembly.parts import configured
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.assembly.stored import read
from embodia.scripts.assembly.stored import write as write_config
from embodia.scripts.data.examples import Examples
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.trackers import Tracker, trackers


@dataclass(frozen=True)
class Args:
    """Train a generative model of pictures; `embodia sample RUN` samples it.

    Sub-folders of a folder of pictures are classes. Models that can learn classes are then conditional on them.
    """

    config: Annotated[GenerativeConfig, tyro.conf.arg(name="")]
    data: Annotated[Path, tyro.conf.arg(name="data")]
    """A folder of pictures; recorded episodes or videos, whose frames have no classes."""
    steps: int | None = None
    """Sets training.steps."""
    seed: int | None = None
    """Sets training.seed."""
    device: str | None = None
    """Sets training.device."""
    out: Path | None = None
    """The run folder; by default runs/LEARNER-NAME-seedN, or the next free name."""
    runs: Path = Path("runs")
    """Where run folders lie."""
    log: tuple[Tracker, ...] = ()
    """Experiment trackers beside metrics.jsonl and TensorBoard: wandb, mlflow."""


@dataclass(frozen=True)
class Resume:
    """Continue a run from its newest whole checkpoint."""

    resume: Path
    """The run folder."""
    steps: int | None = None
    """Updates in all; by default as many as the run was made for."""
    log: tuple[Tracker, ...] = ()
    """Experiment trackers beside metrics.jsonl and TensorBoard: wandb, mlflow."""


ALONE = ("rbm", "energy")
"""Models whose Markov chains go on from update to update, in one process."""


def is_run(arguments: Sequence[str]) -> bool:
    """Whether the arguments resume a run of a generative model."""
    given = [after for flag, after in pairwise(arguments) if flag == "--resume"]
    given += [each.partition("=")[2] for each in arguments if each.startswith("--resume=")]
    try:
        return any(json.loads((Path(run) / runs.CONFIG).read_text())["method"] in GENERATIVE.table for run in given)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # what is wrong with the run is said when it is read


def main(name: str, arguments: Sequence[str]) -> int:
    default = GenerativeConfig(configured(GENERATIVE, name))
    args = tyro.cli(
        Args,
        args=list(arguments),
        default=Args(default, tyro.MISSING),
        prog=f"embodia pretrain {name}",
        config=(tyro.conf.AvoidSubcommands,),
    )
    config = settled(args)
    built = build(config)  # what cannot be is refused before a folder is made
    title = f"{name}-{args.data.resolve().name}-seed{config.training.seed}"
    run = distributed.by_leader(lambda: runs.exactly(args.out) if args.out else runs.fresh(args.runs / title))
    with distributed.leader_only(runs.discarded_on_failure(run)):
        if distributed.leads():
            write_config(config, run / runs.CONFIG, method=name, config_hash=config_hash(config))
        return carry_out(config, *built, run, log=args.log)


def settled(args: Args) -> GenerativeConfig:
    """The configuration with what the short flags say."""
    given = {name: value for name in ("steps", "seed", "device") if (value := getattr(args, name)) is not None}
    data = replace(args.config.data, path=str(args.data.resolve()))
    return replace(args.config, data=data, training=replace(args.config.training, **given))


def resume(arguments: Sequence[str]) -> int:
    args = tyro.cli(Resume, args=list(arguments), prog="embodia pretrain")
    config = read(args.resume / runs.CONFIG, GenerativeConfig)
    if args.steps is not None:
        config = replace(config, training=replace(config.training, steps=args.steps))
    return carry_out(config, *build(config), args.resume, again=True, log=args.log)


def build(config: GenerativeConfig) -> tuple[Generative, Examples]:
    """Model and pictures, from the run's seed. Raises Mistake for what does not go together."""
    seed_all(config.training.seed)
    try:
        choose_device(config.training.device)
    except ValueError as error:
        raise Mistake(f"this cannot be built: {error}") from error
    check_shares(config)
    labels = config.data.labels and takes_classes(config.method)
    examples = Examples(replace(config.data, labels=labels), config.training.seed)
    return generative(config.method, examples.shape, len(examples.classes)), examples


def check_shares(config: GenerativeConfig) -> None:
    """Raise Mistake if the processes of torchrun cannot share the training."""
    if distributed.processes() == 1:
        return
    if (name := GENERATIVE.name(config.method)) in ALONE or config.training.compile:
        what = f"{name} is trained" if name in ALONE else "a compiled model is trained"
        raise Mistake(f"{what} by one process; start it without torchrun")
    try:
        distributed.share("training.batch_size", config.training.batch_size)
    except ValueError as error:
        raise Mistake(str(error)) from error


def carry_out(
    config: GenerativeConfig,
    model: Generative,
    examples: Examples,
    run: Path,
    again: bool = False,
    log: Sequence[Tracker] = (),
) -> int:
    """Train into `run`; 130 if it was interrupted."""
    if distributed.leads():
        print(f"{'resuming' if again else 'training'} in {run}", file=sys.stderr)
    about = {"shape": examples.shape, "classes": examples.classes, "versions": versions()}
    with distributed.leader_only(locked(run, "trained")), Logger(run, sinks=trackers(log, run, config)) as logger:
        now = fit(model, examples, config.training, run, logger=logger, resume=again, name=NAME, about=about)
    if not distributed.leads():
        return 0
    if now.updates < config.training.steps:
        print(f"stopped at update {now.updates:,}; embodia pretrain --resume {run} goes on", file=sys.stderr)
        return 130
    told = f"classes {', '.join(examples.classes)}" if examples.classes else "no classes"
    print(f"update {now.updates:,}; {told}")
    print(f"to sample: embodia sample {run}")
    return 0

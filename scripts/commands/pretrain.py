"""`embodia pretrain LEARNER --data PATH`: self-supervised training of an encoder on episodes, images or videos."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from embodia.agents import Data
from embodia.agents.training import distributed
from embodia.agents.training.device import choose_device
from embodia.agents.training.fit import fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.rng import seed_all
from embodia.perception import SelfSupervised
from embodia.scripts.assembly import own, runs
from embodia.scripts.assembly.earlier import PRETRAIN, flags
from embodia.scripts.assembly.image_encoders import NAME, describe, find
from embodia.scripts.assembly.json_lines import read_lines
from embodia.scripts.assembly.kinds import DETECTOR, GENERATIVE, LEARNER, SEGMENTER
from embodia.scripts.assembly.locks import locked
from embodia.scripts.assembly.parts import chosen, configured, help_of, names
from embodia.scripts.assembly.provenance import config_hash, plain
from embodia.scripts.assembly.self_supervision import (
    Positives,
    PositivesConfig,
    clip_frames,
    first_encoder,
    first_positives,
    kept,
    method,
    standing,
)
from embodia.scripts.assembly.stored import Named, read
from embodia.scripts.assembly.stored import write as write_config
from embodia.scripts.commands.models import pretrain_detector, pretrain_generative, pretrain_segmenter
from embodia.scripts.commands.models.pretrain_config import DataConfig, PretrainConfig
from embodia.scripts.data.frames import Pool, Source, source
from embodia.scripts.data.lanes import Lanes, Part, check_workers, lane_seed
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.trackers import Tracker, trackers

HELP = """usage: embodia pretrain LEARNER --data PATH [--flags]      (embodia pretrain LEARNER --help lists all flags)
       embodia pretrain LEARNER --data PATH --encoder NAME
       embodia pretrain --resume RUN [--steps N]
       torchrun --nproc-per-node N -m embodia pretrain ...

Train an image encoder without labels on the data in PATH: episodes of `embodia collect`, a folder of images, a folder
of videos, or an Ego-Exo4D release. The run folder is runs/LEARNER-DATA-seedN, or that of --out. It contains
config.json, metrics.jsonl and TensorBoard events (effective_rank and embedding_std show a collapse), and checkpoints
with encoder.safetensors and encoder.json. To use the encoder, run `embodia train PRESET --encoder.pretrained RUN`.

Give your own learner or encoder as module:Class. With --resume, repeat it (--method module:Class, --encoder
module:Class): loading a run never imports code that you do not name.

With --data.workers N, N processes read the data ahead, for data that are larger than memory or slow to decode. With
torchrun, several processes share every batch, with the result of one process (docs/scale.md).

learners: {learners}
generative models, sampled by `embodia sample RUN` (which also samples vae): {generative}
detectors, trained on labelled images and applied by `embodia detect RUN`: {detectors}
segmenters, trained on labelled images and applied by `embodia segment RUN`: {segmenters}"""


@dataclass(frozen=True)
class Args:
    """Train an image encoder without labels."""

    config: Annotated[PretrainConfig, tyro.conf.arg(name="")]
    data: Annotated[Path, tyro.conf.arg(name="data")]
    """Recorded episodes, images, videos, or an Ego-Exo4D release."""
    positives: Positives | None = None
    """Positive pairs; sets views.by."""
    steps: int | None = None
    """Number of updates; sets training.steps."""
    seed: int | None = None
    """Random seed; sets training.seed."""
    device: str | None = None
    """cpu, cuda or auto; sets training.device."""
    out: Path | None = None
    """Run folder; by default runs/LEARNER-DATA-seedN, or the next free name."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""
    log: tuple[Tracker, ...] = ()
    """Experiment trackers beside metrics.jsonl and TensorBoard: wandb, mlflow."""


@dataclass(frozen=True)
class Resume:
    """Resume a run from its newest intact checkpoint. Repeat flags for your own classes: --method module:Class."""

    resume: Path
    """Run folder."""
    steps: int | None = None
    """Total number of updates; by default as configured in the run."""
    log: tuple[Tracker, ...] = ()
    """Experiment trackers beside metrics.jsonl and TensorBoard: wandb, mlflow."""


def main(arguments: Sequence[str]) -> int:
    arguments = list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        kinds = {"learners": LEARNER, "generative": GENERATIVE, "detectors": DETECTOR, "segmenters": SEGMENTER}
        print(HELP.format(**{name: ", ".join(kind.table) for name, kind in kinds.items()}))
        return 0 if arguments else 2
    if arguments[0].startswith("-"):
        rest, named = names(arguments)
        if pretrain_generative.is_run(arguments):
            return pretrain_generative.resume(rest)
        if pretrain_detector.is_run(arguments):
            return pretrain_detector.resume(rest)
        if pretrain_segmenter.is_run(arguments):
            return pretrain_segmenter.resume(rest)
        return resume(tyro.cli(Resume, args=rest, prog="embodia pretrain"), named)
    name = arguments[0]
    if name in GENERATIVE.table:
        return pretrain_generative.main(name, arguments[1:])
    if name in DETECTOR.table:
        return pretrain_detector.main(name, arguments[1:])
    if name in SEGMENTER.table:
        return pretrain_segmenter.main(name, arguments[1:])
    args = parsed(name, arguments[1:])
    config = settled(args)
    built = build(config)  # errors are raised before a folder is made
    title = f"{name}-{args.data.resolve().name}-seed{config.training.seed}"
    run = distributed.by_leader(lambda: runs.exactly(args.out) if args.out else runs.fresh(args.runs / title))
    with distributed.leader_only(runs.discarded_on_failure(run)):
        if distributed.leads():
            write_config(config, run / runs.CONFIG, method=name, config_hash=config_hash(config))
        return carry_out(config, *built, run, log=args.log)


def parsed(name: str, arguments: list[str]) -> Args:
    """Parse the flags of one learner; the default encoder is the first of the table that it can train."""
    learner = own.configuration(LEARNER, name, "LEARNER") if own.is_own(name) else configured(LEARNER, name)
    views = PositivesConfig(first_positives(learner))
    default = PretrainConfig(learner, encoder=first_encoder(learner), views=views)
    rest, default = chosen(flags(arguments, PRETRAIN), default)
    return tyro.cli(
        Args,
        args=rest,
        default=Args(default, tyro.MISSING),
        prog=f"embodia pretrain {name}",
        description=f"{Args.__doc__}\n\n{help_of(default, fixed=['method'])}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def settled(args: Args) -> PretrainConfig:
    """Return the configuration with the values of the short flags."""
    config = args.config
    learner, encoder = standing(config.method, config.encoder)
    given = {name: value for name in ("steps", "seed", "device") if (value := getattr(args, name)) is not None}
    views = config.views if args.positives is None else replace(config.views, by=args.positives)
    return replace(
        config,
        method=learner,
        encoder=encoder,
        data=replace(config.data, path=str(args.data.resolve())),
        training=replace(config.training, **given),
        views=views,
    )


def resume(args: Resume, named: Named) -> int:
    config = read(args.resume / runs.CONFIG, PretrainConfig, named)
    if args.steps is not None:
        config = replace(config, training=replace(config.training, steps=args.steps))
    return carry_out(config, *build(config), args.resume, again=True, log=args.log)


def build(config: PretrainConfig) -> tuple[SelfSupervised, Data]:
    """Build learner and data, seeded with the run's seed. Raises Mistake if the parts do not fit."""
    d, t = config.data, config.training
    seed_all(t.seed)
    frames = clip_frames(config.method, config.views)
    clips = opened(d, frames, config.views.gap)
    check_shares(config, len(clips.files))
    try:
        choose_device(t.device)
    except ValueError as error:
        raise Mistake(f"--device: {error}") from error
    learner = method(config.method, config.encoder, clips.space, config.views, t.steps)
    if d.workers:
        return learner, Lanes(partial(lane, d, frames, config.views.gap, t.seed), d.workers, Pool.axis)
    return learner, Pool(clips, d.pool, t.seed)


def opened(data: DataConfig, frames: int, gap: int) -> Source:
    return source(Path(data.path), frames, gap, data.size, data.fps, data.key, data.episode_size)


def lane(data: DataConfig, frames: int, gap: int, seed: int, number: int) -> Pool:
    """Open the part of the data that one worker reads."""
    part = Part(opened(data, frames, gap), number, data.workers)
    return Pool(part, max(1, data.pool // data.workers), lane_seed(seed, number))


def check_shares(config: PretrainConfig, files: int) -> None:
    """Raise Mistake if the processes of torchrun, or the workers, cannot share the training."""
    size = config.training.batch_size
    try:
        distributed.share("training.batch_size", size)
    except ValueError as error:
        raise Mistake(str(error)) from error
    if distributed.processes() > 1 and config.training.compile:
        raise Mistake("training.compile does not work with torchrun; omit it")
    check_workers("data.workers", config.data.workers, ("files", files), ("training.batch_size", size))


def carry_out(
    config: PretrainConfig,
    learner: SelfSupervised,
    clips: Data,
    run: Path,
    again: bool = False,
    log: Sequence[Tracker] = (),
) -> int:
    """Pretrain into `run`; return the exit code, 130 if training was interrupted."""
    if distributed.leads():
        print(f"{'resuming' if again else 'pretraining'} in {run}", file=sys.stderr)
    left = kept(config.method, config.encoder)
    about = describe(left, learner.space, config=plain(config), config_hash=config_hash(config))
    closing = clips if isinstance(clips, Lanes) else nullcontext()
    with (
        distributed.leader_only(locked(run, "trained")),
        Logger(run, sinks=trackers(log, run, config)) as logger,
        closing,
    ):
        now = fit(learner, clips, config.training, run, logger=logger, resume=again, name=NAME, about=about)
    if not distributed.leads():
        return 0
    if now.updates < config.training.steps:
        print(f"stopped at update {now.updates:,}; to continue: embodia pretrain --resume {run}", file=sys.stderr)
        return 130
    say(run, clips)
    return 0


def say(run: Path, clips: Data) -> None:
    last = read_lines(run / "metrics.jsonl")[-1]
    told = [name for name in ("loss", "effective_rank", "embedding_std", "active_units") if name in last]
    print(f"update {last['step']:,}: " + "  ".join(f"{name} {last[name]:.3g}" for name in told))
    if isinstance(clips, Pool) and clips.skipped:
        names = ", ".join(Path(path).name for path in clips.skipped)
        print(f"{len(clips.skipped)} of {len(clips.source.files)} files were skipped: {names}")
    print(f"encoder: {find(run)}")
    print(f"to use it: embodia train PRESET --encoder.pretrained {run} [--encoder.frozen True]")

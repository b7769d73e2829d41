"""`embodia pretrain detector --data PATH`: a detector of labelled objects, from a COCO file."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
import tyro

from embodia.agents.training.device import choose_device
from embodia.agents.training.fit import fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.rng import seed_all
from embodia.agents.training.versions import versions
from embodia.perception.structured.detection import Detections, Detector
from embodia.perception.structured.detection.mean_average_precision import MeanAveragePrecision
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.detectors import KEY, NAME, DetectorConfig, detector
from embodia.scripts.assembly.kinds import DETECTOR
from embodia.scripts.assembly.locks import locked
from embodia.scripts.assembly.parts import configured
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.assembly.stored import read
from embodia.scripts.assembly.stored import write as write_config
from embodia.scripts.data.labelled import LabelledBatches, LabelledImages
from embodia.scripts.mistake import Mistake

PIECE = 32  # images per call in evaluation


@dataclass(frozen=True)
class Args:
    """Train a detector on labelled images; `embodia detect RUN` applies it.

    The data are a COCO file, or a folder with one: yours, or that of `embodia collect --labels`. Every tenth image, or
    episode, is not trained on; mean average precision is measured there.
    """

    config: Annotated[DetectorConfig, tyro.conf.arg(name="")]
    data: Annotated[Path, tyro.conf.arg(name="data")]
    """A COCO file, or a folder with one."""
    steps: int | None = None
    """Number of updates; sets training.steps."""
    seed: int | None = None
    """Random seed; sets training.seed."""
    device: str | None = None
    """cpu, cuda or auto; sets training.device."""
    out: Path | None = None
    """Run folder; by default runs/DETECTOR-DATA-seedN, or the next free name."""
    runs: Path = Path("runs")
    """Folder that contains the run folders."""


@dataclass(frozen=True)
class Resume:
    """Resume a run from its newest intact checkpoint."""

    resume: Path
    """Run folder."""
    steps: int | None = None
    """Total number of updates; by default as configured in the run."""


def is_run(arguments: Sequence[str]) -> bool:
    """Return whether the arguments resume a run of a detector."""
    given = [after for flag, after in pairwise(arguments) if flag == "--resume"]
    given += [each.partition("=")[2] for each in arguments if each.startswith("--resume=")]
    try:
        return any(json.loads((Path(run) / runs.CONFIG).read_text())["method"] in DETECTOR.table for run in given)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # reading the run reports what is wrong with it


def main(name: str, arguments: Sequence[str]) -> int:
    args = tyro.cli(
        Args,
        args=list(arguments),
        default=Args(DetectorConfig(configured(DETECTOR, name)), tyro.MISSING),
        prog=f"embodia pretrain {name}",
        config=(tyro.conf.AvoidSubcommands,),
    )
    config = settled(args)
    built = build(config)  # errors are raised before a folder is made
    title = f"{name}-{args.data.resolve().stem}-seed{config.training.seed}"
    run = runs.exactly(args.out) if args.out else runs.fresh(args.runs / title)
    with runs.discarded_on_failure(run):
        write_config(config, run / runs.CONFIG, method=name, config_hash=config_hash(config))
        return carry_out(config, *built, run)


def settled(args: Args) -> DetectorConfig:
    """Return the configuration with the values of the short flags."""
    given = {name: value for name in ("steps", "seed", "device") if (value := getattr(args, name)) is not None}
    data = replace(args.config.data, path=str(args.data.resolve()))
    return replace(args.config, data=data, training=replace(args.config.training, **given))


def resume(arguments: Sequence[str]) -> int:
    args = tyro.cli(Resume, args=list(arguments), prog="embodia pretrain")
    config = read(args.resume / runs.CONFIG, DetectorConfig)
    if args.steps is not None:
        config = replace(config, training=replace(config.training, steps=args.steps))
    return carry_out(config, *build(config), args.resume, again=True)


def build(config: DetectorConfig) -> tuple[Detector, LabelledImages, LabelledBatches]:
    """Build detector and data, seeded with the run's seed. Raises Mistake if they do not fit."""
    seed_all(config.training.seed)
    try:
        choose_device(config.training.device)
    except ValueError as error:
        raise Mistake(f"--device: {error}") from error
    images = LabelledImages(config.data)
    batches = LabelledBatches(images, images.split()[0], config.training.seed)
    return detector(config.method, config.data.size, images.categories), images, batches


def carry_out(
    config: DetectorConfig,
    model: Detector,
    images: LabelledImages,
    batches: LabelledBatches,
    run: Path,
    again: bool = False,
) -> int:
    """Train into `run`; return the exit code, 130 if training was interrupted."""
    print(f"{'resuming' if again else 'training'} in {run}", file=sys.stderr)
    if images.coco.skipped:
        print(f"{images.coco.skipped} annotations were skipped: their boxes have no area", file=sys.stderr)
    about = {"categories": model.categories, "versions": versions()}
    with locked(run, "trained"), Logger(run) as logger:
        now = fit(
            model,
            batches,
            config.training,
            run,
            logger=logger,
            evaluate=evaluation(model, images),
            resume=again,
            name=NAME,
            about=about,
        )
    if now.updates < config.training.steps:
        print(f"stopped at update {now.updates:,}; to continue: embodia pretrain --resume {run}", file=sys.stderr)
        return 130
    scores = "  ".join(f"{name} {value:.3f}" for name, value in now.scores.items())
    print(f"update {now.updates:,}: {scores or 'no held-out images'}")
    print(f"to use it: embodia detect {run} --data PATH")
    return 0


def evaluation(model: Detector, images: LabelledImages) -> Callable[[], dict[str, float]] | None:
    """Return a function that gives the scores on held-out images; None if they show no object."""
    held = images.split()[1]
    if not any(images.numbers[row["category_id"]] >= 0 for row in images.coco.rows_of(held)):
        return None

    def scores() -> dict[str, float]:
        pairs = [images[i] for i in held]
        found = predicted(model, [picture for picture, _ in pairs])
        judged = MeanAveragePrecision(found, [truth for _, truth in pairs], len(model.categories)).scores()
        return {name: judged[name] for name in ("AP50", "AP75", "AP")}

    return scores


def predicted(model: Detector, pictures: Sequence) -> list[Detections]:
    """Return the detections of images (H, W, 3) of the detector's size."""
    device = next(model.parameters()).device
    found: list[Detections] = []
    for i in range(0, len(pictures), PIECE):
        piece = torch.stack([torch.from_numpy(picture) for picture in pictures[i : i + PIECE]])
        found += model({KEY: piece.to(device)})
    return found

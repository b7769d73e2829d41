"""`embodia pretrain segmenter --data PATH`: a segmenter of labelled objects, from a COCO file with masks."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from embodia.agents.training.device import choose_device
from embodia.agents.training.fit import fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.rng import seed_all
from embodia.agents.training.versions import versions
from embodia.perception.scores.segmentation_scores import class_iou, pixel_accuracy, symmetric_best_dice
from embodia.perception.structured.segmentation import Segmenter
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.detectors import KEY
from embodia.scripts.assembly.kinds import SEGMENTER
from embodia.scripts.assembly.locks import locked
from embodia.scripts.assembly.parts import configured
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.assembly.segmenters import NAME, SegmenterConfig, is_segmenter, segmenter
from embodia.scripts.assembly.stored import read
from embodia.scripts.assembly.stored import write as write_config
from embodia.scripts.data.label_maps import LabelMaps
from embodia.scripts.data.labelled import LabelledImages
from embodia.scripts.mistake import Mistake

PIECE = 32  # images per call


@dataclass(frozen=True)
class Args:
    """Train a segmenter on images with masks; `embodia segment RUN` applies it.

    The data are a COCO file with masks, or a folder with one: yours, or that of `embodia collect --labels`. Every tenth
    image, or episode, is not trained on; the scores are measured there.
    """

    config: Annotated[SegmenterConfig, tyro.conf.arg(name="")]
    data: Annotated[Path, tyro.conf.arg(name="data")]
    """A COCO file, or a folder with one."""
    steps: int | None = None
    """Number of updates; sets training.steps."""
    seed: int | None = None
    """Random seed; sets training.seed."""
    device: str | None = None
    """cpu, cuda or auto; sets training.device."""
    out: Path | None = None
    """Run folder; by default runs/SEGMENTER-DATA-seedN, or the next free name."""
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
    """Return whether the arguments resume a run of a segmenter."""
    given = [after for flag, after in pairwise(arguments) if flag == "--resume"]
    given += [each.partition("=")[2] for each in arguments if each.startswith("--resume=")]
    return any(is_segmenter(Path(run)) for run in given)


def main(name: str, arguments: Sequence[str]) -> int:
    args = tyro.cli(
        Args,
        args=list(arguments),
        default=Args(SegmenterConfig(configured(SEGMENTER, name)), tyro.MISSING),
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


def settled(args: Args) -> SegmenterConfig:
    """Return the configuration with the values of the short flags."""
    given = {name: value for name in ("steps", "seed", "device") if (value := getattr(args, name)) is not None}
    data = replace(args.config.data, path=str(args.data.resolve()))
    return replace(args.config, data=data, training=replace(args.config.training, **given))


def resume(arguments: Sequence[str]) -> int:
    args = tyro.cli(Resume, args=list(arguments), prog="embodia pretrain")
    config = read(args.resume / runs.CONFIG, SegmenterConfig)
    if args.steps is not None:
        config = replace(config, training=replace(config.training, steps=args.steps))
    return carry_out(config, *build(config), args.resume, again=True)


def build(config: SegmenterConfig) -> tuple[Segmenter, LabelMaps]:
    """Build segmenter and data, seeded with the run's seed. Raises Mistake if they do not fit."""
    seed_all(config.training.seed)
    try:
        choose_device(config.training.device)
    except ValueError as error:
        raise Mistake(f"--device: {error}") from error
    images = LabelledImages(config.data)
    maps = LabelMaps(images, images.split()[0], config.training.seed)
    return segmenter(config, images.categories), maps


def carry_out(config: SegmenterConfig, model: Segmenter, maps: LabelMaps, run: Path, again: bool = False) -> int:
    """Train into `run`; return the exit code, 130 if training was interrupted."""
    print(f"{'resuming' if again else 'training'} in {run}", file=sys.stderr)
    about = {"categories": model.categories, "versions": versions()}
    with locked(run, "trained"), Logger(run) as logger:
        now = fit(
            model,
            maps,
            config.training,
            run,
            logger=logger,
            evaluate=evaluation(model, maps),
            resume=again,
            name=NAME,
            about=about,
        )
    if now.updates < config.training.steps:
        print(f"stopped at update {now.updates:,}; to continue: embodia pretrain --resume {run}", file=sys.stderr)
        return 130
    scores = "  ".join(f"{name} {value:.3f}" for name, value in now.scores.items())
    print(f"update {now.updates:,}: {scores or 'no held-out images'}")
    print(f"to use it: embodia segment {run} --data PATH")
    return 0


def evaluation(model: Segmenter, maps: LabelMaps) -> Callable[[], dict[str, float]] | None:
    """Return a function that gives the scores on held-out images; None if there are none."""
    held = maps.images.split()[1]
    if not held:
        return None

    def scores() -> dict[str, float]:
        true = [maps[i] for i in held]
        labels, instances = segmented(model, np.stack([each.image for each in true]))
        wanted = np.stack([each.labels for each in true])
        dice = [symmetric_best_dice(each.instances, found) for each, found in zip(true, instances)]
        return {
            "mean_iou": float(np.nanmean(class_iou(wanted, labels, len(model.categories)))),
            "accuracy": pixel_accuracy(wanted, labels),
            "symmetric_best_dice": float(np.mean(dice)),
        }

    return scores


def segmented(model: Segmenter, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return label maps and instance maps (n, H, W) of images (n, H, W, 3) of the segmenter's size."""
    device = next(model.parameters()).device
    parts = []
    with torch.no_grad():
        for i in range(0, len(images), PIECE):
            parts.append(model({KEY: torch.from_numpy(images[i : i + PIECE]).to(device)}))
    return (
        np.concatenate([each.labels.cpu().numpy() for each in parts]),
        np.concatenate([each.instances.cpu().numpy() for each in parts]),
    )

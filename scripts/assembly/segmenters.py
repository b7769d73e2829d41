"""Segmenters: built from a configuration, and read from a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from embodia.agents.training import checkpoint
from embodia.agents.training.fit import FitConfig
from embodia.agents.training.weights import load_weights
from embodia.perception.structured.segmentation import Segmenter
from embodia.scripts.assembly.detectors import LabelsConfig, image_space
from embodia.scripts.assembly.kinds import SEGMENTER
from embodia.scripts.assembly.parts import build
from embodia.scripts.assembly.runs import CONFIG
from embodia.scripts.assembly.stored import read
from embodia.scripts.mistake import Mistake

NAME = "segmenter"
"""Name of the files that hold a segmenter."""
BACKGROUND = "background"
TRAINING = FitConfig(steps=2_000, batch_size=16, learning_rate=2e-3, clip=1.0, eval_every=500)


@dataclass(frozen=True)
class SegmenterConfig:
    """How a segmenter is trained. Every leaf is a flag."""

    method: Annotated[Any, Segmenter]
    data: LabelsConfig = field(default_factory=lambda: LabelsConfig(size=(64, 64)))
    training: FitConfig = TRAINING


@dataclass(frozen=True)
class Trained:
    """A segmenter as a run left it."""

    segmenter: Segmenter
    config: SegmenterConfig
    step: int
    """Number of updates it was trained for."""


def segmenter(config: SegmenterConfig, categories: Sequence[str]) -> Segmenter:
    """Return a new segmenter of the background and these categories. Raises Mistake if it does not fit the images."""
    given = {
        "space": lambda: image_space(config.data.size),
        "categories": lambda: (BACKGROUND, *categories),
        "steps": lambda: config.training.steps,
    }
    try:
        return build(SEGMENTER, config.method, given)
    except ValueError as error:
        raise Mistake(f"{SEGMENTER.name(config.method)}: {error}") from error


def is_segmenter(run: Path) -> bool:
    """Return whether a folder is a run of a segmenter."""
    try:
        return json.loads((run / CONFIG).read_text())["method"] in SEGMENTER.table
    except (OSError, ValueError, KeyError, TypeError):
        return False  # reading the run reports what is wrong with it


def load(run: Path) -> Trained:
    """Return the segmenter of a run's newest checkpoint. Raises Mistake if the run has none."""
    config = read(run / CONFIG, SegmenterConfig)
    newest = checkpoint.latest(run / "checkpoints")
    if newest is None or int(newest.name) == 0:
        raise Mistake(f"{run} has no checkpoint yet; train it with `embodia pretrain --resume {run}`")
    about = newest / f"{NAME}.json"
    try:
        told = json.loads(about.read_text())
        categories, step = tuple(told["categories"]), told["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{about} cannot be read ({error}); it is written by `embodia pretrain segmenter`") from error
    made = segmenter(config, categories[1:])
    load_weights(made, newest / f"{NAME}.safetensors")
    return Trained(made.eval(), config, step)

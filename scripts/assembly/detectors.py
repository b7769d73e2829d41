"""Detectors: built from a configuration, and read from a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from gymnasium import spaces

from embodia.agents.training import checkpoint
from embodia.agents.training.fit import FitConfig
from embodia.agents.training.weights import load_weights
from embodia.perception.structured.detection import Detector
from embodia.scripts.assembly.kinds import DETECTOR
from embodia.scripts.assembly.parts import build
from embodia.scripts.assembly.runs import CONFIG
from embodia.scripts.assembly.stored import read
from embodia.scripts.mistake import Mistake

NAME = "detector"
"""Name of the files that hold a detector."""
KEY = "rgb"
"""Observation key of the image."""
TRAINING = FitConfig(steps=3_000, batch_size=32, learning_rate=3e-3, weight_decay=1e-2, eval_every=500)


@dataclass(frozen=True)
class LabelsConfig:
    """Labelled images."""

    path: Annotated[str, tyro.conf.Suppress] = ""
    """A COCO file, or a folder with one."""
    size: tuple[int, int] = (128, 128)
    """Height and width that images are scaled to, without distortion [pixels]. The rest is filled with grey."""
    categories: tuple[str, ...] = ()
    """Names of the categories to detect; by default all of the file."""
    mirror: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Mirror half of the images."""
    held_out: int = 10
    """Every this many-th image, or episode where images name one, is evaluated instead of trained on; 0 for none."""


@dataclass(frozen=True)
class DetectorConfig:
    """How a detector is trained. Every leaf is a flag."""

    method: Annotated[Any, Detector]
    data: LabelsConfig = field(default_factory=LabelsConfig)
    training: FitConfig = TRAINING


@dataclass(frozen=True)
class Trained:
    """A detector as a run left it."""

    detector: Detector
    config: DetectorConfig
    step: int
    """Number of updates it was trained for."""


def image_space(size: tuple[int, int]) -> spaces.Dict:
    return spaces.Dict({KEY: spaces.Box(0, 255, (*size, 3), np.uint8)})


def detector(method: Any, size: tuple[int, int], categories: Sequence[str]) -> Detector:
    """Return a new detector. Raises Mistake if it does not fit the images."""
    try:
        return build(DETECTOR, method, {"space": lambda: image_space(size), "categories": lambda: tuple(categories)})
    except ValueError as error:
        raise Mistake(f"{DETECTOR.name(method)}: {error}") from error


def load(run: Path) -> Trained:
    """Return the detector of a run's newest checkpoint. Raises Mistake if the run has none."""
    config = read(run / CONFIG, DetectorConfig)
    newest = checkpoint.latest(run / "checkpoints")
    if newest is None or int(newest.name) == 0:
        raise Mistake(f"{run} has no checkpoint yet; train it with `embodia pretrain --resume {run}`")
    about = newest / f"{NAME}.json"
    try:
        told = json.loads(about.read_text())
        categories, step = tuple(told["categories"]), told["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{about} cannot be read ({error}); it is written by `embodia pretrain detector`") from error
    made = detector(config.method, config.data.size, categories)
    load_weights(made, newest / f"{NAME}.safetensors")
    return Trained(made.eval(), config, step)

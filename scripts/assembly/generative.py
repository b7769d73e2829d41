"""Generative models of pictures: built from a configuration, and read from a run."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from embodia.agents.training import checkpoint
from embodia.agents.training.fit import FitConfig
from embodia.agents.training.weights import load_weights
from embodia.perception.generative import Generative
from embodia.scripts.assembly.kinds import GENERATIVE
from embodia.scripts.assembly.options import parameters
from embodia.scripts.assembly.parts import build
from embodia.scripts.assembly.runs import CONFIG
from embodia.scripts.assembly.stored import read
from embodia.scripts.mistake import Mistake

NAME = "model"
"""Name of the files that hold a model."""
TRAINING = FitConfig(steps=10_000, batch_size=64, learning_rate=1e-3, weight_decay=0.0, clip=1.0, average=0.999)


@dataclass(frozen=True)
class PicturesConfig:
    """Input data."""

    path: Annotated[str, tyro.conf.Suppress] = ""
    """Pictures, recorded episodes, or videos."""
    size: int = 32
    """Side of the square that pictures are scaled to [pixels]."""
    labels: Annotated[bool, tyro.conf.FlagConversionOff] = True
    """Take the sub-folders of a folder of pictures as classes, where every picture lies in one."""
    key: str | None = None
    """Of episodes: the picture to read; None for the first colour image, else the first."""
    fps: float = 5.0
    """Of videos: frames taken per second."""
    pool: int = 8192
    """Pictures held in memory and shuffled."""


@dataclass(frozen=True)
class GenerativeConfig:
    """How a generative model is trained on pictures. Every leaf is a flag."""

    method: Annotated[Any, Generative]
    data: PicturesConfig = field(default_factory=PicturesConfig)
    training: FitConfig = TRAINING


@dataclass(frozen=True)
class Trained:
    """A model as a run left it."""

    model: Generative
    config: GenerativeConfig
    classes: tuple[str, ...]
    """Their names, in order; () for an unconditional model."""
    step: int
    """Updates it was trained for."""


def generative(method: Any, shape: Sequence[int], classes: int) -> Generative:
    """A fresh model of pictures (C, H, W). Raises Mistake if it does not fit them."""
    try:
        return build(GENERATIVE, method, {"shape": lambda: tuple(shape), "classes": lambda: classes})
    except ValueError as error:
        raise Mistake(f"{GENERATIVE.name(method)}: {error}") from error


def takes_classes(method: Any) -> bool:
    """Whether a method's constructor takes the number of classes."""
    return "classes" in parameters(GENERATIVE.method(method))


def load(run: Path) -> Trained:
    """The model of a run's newest checkpoint. Raises Mistake if the run holds none."""
    config = read(run / CONFIG, GenerativeConfig)
    newest = checkpoint.latest(run / "checkpoints")
    if newest is None or int(newest.name) == 0:
        raise Mistake(f"{run} has no checkpoint yet; `embodia pretrain --resume {run}` trains it")
    about = newest / f"{NAME}.json"
    try:
        told = json.loads(about.read_text())
        shape, classes, step = told["shape"], tuple(told["classes"]), told["step"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{about} cannot be read ({error}); it is written by `embodia pretrain ddpm`") from error
    model = generative(config.method, shape, len(classes))
    load_weights(model, newest / f"{NAME}.safetensors")
    return Trained(model.eval(), config, classes, step)

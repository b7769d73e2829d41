"""The configuration of `embodia pretrain` for self-supervised learners."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from embodia.agents.training.fit import FitConfig
from embodia.perception import SelfSupervised
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.scripts.assembly.self_supervision import PositivesConfig


@dataclass(frozen=True)
class DataConfig:
    """Input data."""

    path: Annotated[str, tyro.conf.Suppress] = ""
    """Recorded episodes, images, videos, or an Ego-Exo4D release."""
    key: str | None = None
    """Observation key of the image in recorded episodes; None for the first colour image, else the first."""
    size: int = 64
    """Side of the square that images and videos are scaled to [pixels]."""
    episode_size: int | None = None
    """Side of the square that images of recorded episodes are scaled to [pixels]; None for no scaling."""
    fps: float = 5.0
    """Frames per second to read from videos."""
    pool: int = 4096
    """Number of clips in the shuffle buffer."""
    workers: int = 0
    """Number of processes that read the data ahead, each its own part of the files. With torchrun, all training
    processes together; 0 reads in the training process, and with torchrun all data in each."""


@dataclass(frozen=True)
class PretrainConfig:
    """The configuration of a pretraining run. Every field is a flag."""

    method: Annotated[Any, SelfSupervised]
    data: DataConfig = field(default_factory=DataConfig)
    encoder: Annotated[Any, ImageEncoder] = "resnet"
    views: PositivesConfig = field(default_factory=PositivesConfig)
    training: FitConfig = field(default_factory=FitConfig)

"""Pictures as a generative model takes them: of -1 to 1, channels first, with the class that their folder names."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from embodia.perception.encoders.observation import kind
from embodia.scripts.assembly.generative import PicturesConfig
from embodia.scripts.data.frames import BadFile, Pictures, Pool, Source, read_picture, source
from embodia.scripts.mistake import Mistake

HELD_OUT = 10
"""Every tenth picture of a folder is not trained on: samples are compared with these."""


def pictures(config: PicturesConfig) -> Source:
    """The training pictures. Raises Mistake if there are none of 8-bit colours."""
    found = source(Path(config.path), 1, 1, config.size, config.fps, config.key, config.size)
    ((key, space),) = found.space.items()
    if kind(space) != "image":
        raise Mistake(f"--data {config.path}: {key} is no picture of 8-bit colours; choose another with --data.key")
    if isinstance(found, Pictures):
        found.files = split(found.files)[0]
    return found


def split(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """(training files, held-out files)."""
    train = [path for i, path in enumerate(files) if (i + 1) % HELD_OUT]
    return train, [path for i, path in enumerate(files) if not (i + 1) % HELD_OUT]


def held_out(config: PicturesConfig, only: str | None = None, limit: int = 2000) -> tuple[Tensor, Tensor] | None:
    """(training, held-out) pictures (n, 3, size, size), at most about `limit` of each, of all classes or one.

    None if the data are no longer there, are no folder of pictures, or hold fewer than 3 held-out pictures.
    """
    folder = Path(config.path)
    found = Pictures(folder, config.size).files if folder.is_dir() else []
    parts = [[path for path in files if only in (None, folder_of(path, config))] for files in split(found)]
    if len(parts[1]) < 3:
        return None
    train, rest = (readable(files[:: max(1, len(files) // limit)], config.size) for files in parts)
    return None if len(rest) < 3 or not train else (torch.stack(train), torch.stack(rest))


def readable(files: list[Path], size: int) -> list[Tensor]:
    """The pictures of those files that can be read, (C, size, size) each."""
    found = []
    for path in files:
        with suppress(BadFile):  # named when the model was trained
            found.append(scaled(read_picture(path, size)))
    return found


def class_names(config: PicturesConfig, files: Source) -> list[str]:
    """The sub-folders that hold the pictures, in order; [] where some picture lies in none, or there is one only."""
    if not config.labels or not isinstance(files, Pictures):
        return []
    folders = {folder_of(path, config) for path in files.files}
    return sorted(folders) if "" not in folders and len(folders) > 1 else []


def folder_of(path: Path, config: PicturesConfig) -> str:
    """The sub-folder of the data that a picture lies in; "" for none."""
    parts = path.relative_to(config.path).parts  # not resolved: a link's picture belongs to the link's folder
    return parts[0] if len(parts) > 1 else ""


def scaled(picture: np.ndarray) -> Tensor:
    """(*B, H, W, C) uint8 -> (*B, C, H, W) of -1 to 1."""
    return torch.from_numpy(np.moveaxis(picture, -1, -3).astype(np.float32) / 127.5 - 1)


def as_pictures(x: Tensor) -> np.ndarray:
    """(*B, C, H, W) of -1 to 1 -> (*B, H, W, 3) uint8."""
    levels = np.moveaxis(((x.clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy(), -3, -1)
    return levels if levels.shape[-1] == 3 else levels[..., :1].repeat(3, -1)


class Examples:
    """Batches {"x": (n, C, H, W), "condition": (n,) classes, where there are classes}."""

    def __init__(self, config: PicturesConfig, seed: int):
        files = pictures(config)
        self.pool = Pool(files, config.pool, seed)
        self.classes = class_names(config, files)
        labels = [self.classes.index(folder_of(path, config)) for path in files.files] if self.classes else []
        self.labels = np.array(labels, np.int64)
        space = self.pool.space[self.pool.key]
        assert isinstance(space, spaces.Box)
        height, width, channels = space.shape
        self.shape = (channels, height, width)

    def batch(self, n: int) -> dict[str, Any]:
        clips, files = self.pool.draw(n)
        condition = {"condition": torch.from_numpy(self.labels[files])} if self.classes else {}
        return {"x": scaled(clips[0]), **condition}

    def state_dict(self) -> dict[str, Any]:
        return self.pool.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pool.load_state_dict(state)

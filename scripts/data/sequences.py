"""Images and videos in their own size, for commands that draw on them: COCO sets, episodes, videos, image folders."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from embodia.agents import Array
from embodia.agents.training.rows import episode_files
from embodia.envs.video.clips import Sampling, clips
from embodia.envs.video.films import SUFFIXES, films
from embodia.scripts.data.coco import CocoSet, read_coco
from embodia.scripts.data.frames import PICTURES, Episodes, as_rgb
from embodia.scripts.data.labelled import find_coco
from embodia.scripts.mistake import Mistake


@dataclass(frozen=True)
class Sequence:
    """Images that belong together."""

    name: str
    moving: bool
    """Whether the images are the frames of a video or an episode."""
    frames: Callable[[], Iterable[tuple[str, Array]]]
    """Gives the name and the pixels (H, W, 3) uint8 of each image."""


@dataclass(frozen=True)
class Pictures:
    """All images at a path."""

    sequences: list[Sequence]
    coco: CocoSet | None
    """The COCO set that they come from, in its order, if they do."""


def pictures(data: Path, fps: float = 10.0, key: str | None = None) -> Pictures:
    """Open the images at a path.

    Raises:
        Mistake: if there are none.
    """
    if not data.exists():
        raise Mistake(f"--data {data}: no such path; give images, videos, recorded episodes or a COCO file")
    if data.suffix == ".json" or (data.is_dir() and any(data.glob("*.json")) and not (data / "takes.json").is_file()):
        coco = read_coco(find_coco(data))
        if not len(coco):
            raise Mistake(f"{coco.path} lists no images")
        return Pictures([Sequence("images", False, partial(of_coco, coco))], coco)
    for folder in (data, data / "rows"):
        if episode_files(folder):
            episodes = Episodes(folder, key=key)
            found = [
                Sequence(path.stem, True, partial(of_episode, episodes, i)) for i, path in enumerate(episodes.files)
            ]
            return Pictures(found, None)
    below = [data] if data.is_file() else sorted(data.rglob("*"))
    if (data / "takes.json").is_file() or any(path.suffix.lower() in SUFFIXES for path in below):
        return Pictures([Sequence(path.stem, True, partial(of_film, path, fps)) for path in films(data)], None)
    files = [path for path in below if path.suffix.lower() in PICTURES]
    if not files:
        kinds = f"no episode-*.npz, no video ({', '.join(SUFFIXES)}), no image ({', '.join(PICTURES)}), no COCO file"
        raise Mistake(f"--data {data}: {kinds}")
    return Pictures([Sequence("images", False, partial(of_files, files))], None)


def of_coco(coco: CocoSet) -> Iterator[tuple[str, Array]]:
    for i in range(len(coco)):
        image = coco[i]
        yield image.path.name, image.pixels()


def of_episode(episodes: Episodes, number: int) -> Iterator[tuple[str, Array]]:
    for step, clip in enumerate(episodes.clips(number)):
        yield f"{step}", clip[0]


def of_film(path: Path, fps: float) -> Iterator[tuple[str, Array]]:
    for clip in clips(path, Sampling(1, fps, 1, None)):
        yield f"{clip.number}", clip.frames[0]


def of_files(files: list[Path]) -> Iterator[tuple[str, Array]]:
    for path in files:
        try:
            with Image.open(path) as image:
                picture = np.array(as_rgb(ImageOps.exif_transpose(image)))
        except Exception as error:  # decoders raise whatever their library raises
            raise Mistake(f"{path}: cannot be decoded as an image ({error}); remove it") from error
        yield path.name, picture

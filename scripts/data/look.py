"""Drawings of an encoder's output over images, videos or episodes: images give one sheet, the others videos."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray

from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.scripts.assembly import runs
from embodia.scripts.assembly.image_encoders import OWN, pictures_of, pretrained
from embodia.scripts.data.frames import BadFile, Source, source
from embodia.scripts.report.progress import Progress
from embodia.scripts.report.video import Video

Frame = NDArray[np.uint8]
Draw = Callable[[Frame], Frame]
PIECE = 32  # frames per call


@dataclass(frozen=True)
class Look:
    """Options of commands that draw an encoder's output."""

    run: tyro.conf.Positional[Path]
    """A run of `embodia pretrain`, or a folder with encoder.json."""
    data: Path
    """Recorded episodes, videos, or images. Each episode or video gives a video; images give one sheet."""
    encoder: str | None = None
    """The run's encoder as module:Class, if it is your own class."""
    key: str | None = None
    """Observation key of the image in recorded episodes; by default the key that the encoder was trained on."""
    size: int | None = None
    """Side of the square that images are scaled to [pixels]; by default as in pretraining (episodes keep their recorded
    size if the encoder was not trained on squares)."""
    films: int = 2
    """Maximum number of episodes or videos."""
    frames: int = 200
    """Maximum number of frames per video; a sheet has 8 images."""
    fps: float = 10.0
    """Frames per second, both read from a video and shown."""
    scale: int = 3
    """Integer upscaling factor."""
    out: Path | None = None
    """Output folder; by default a new folder in the run."""


def opened(args: Look) -> tuple[ImageEncoder, Source]:
    """Load the encoder for the images of the data, and open the data. Raises Mistake if they do not fit."""
    ((key, picture),) = pictures_of(args.run).items()
    height, width, _ = picture.shape or (0, 0, 0)
    size = args.size or height
    square = size if args.size or height == width else None
    files = source(args.data, size=size, fps=args.fps, key=args.key or key, episode_size=square)
    named = ("encoder", args.encoder) if args.encoder else OWN
    return pretrained(args.run, files.space, named).eval(), files


def draw_all(args: Look, name: str, files: Source, draw: Draw) -> None:
    """Draw all data and print the paths of the files.

    Args:
        args: options.
        name: name of the output folder and of the sheet.
        files: the data.
        draw: frames (n, H, W, C) -> drawings (n, H', W', 3).
    """
    folder = runs.exactly(args.out) if args.out else runs.fresh(args.run / name)
    if len(list(islice(clips_of(files, 0), 2))) < 2:
        pictures = np.concatenate([clip for i in range(min(8, len(files.files))) for clip in clips_of(files, i)])
        print(sheet(folder / f"{name}.png", drawn(draw, pictures, args.scale)))
        return
    for i in range(min(args.films, len(files.files))):
        frames, stem = list(islice(clips_of(files, i), args.frames)), files.files[i].stem
        if not frames:
            continue
        film = drawn(draw, np.concatenate(frames), args.scale, f"drawing {stem}")
        with Video(folder / f"{stem}.mp4", round(args.fps)) as video:
            for frame in film:
                video.add(frame)
        print(folder / f"{stem}.mp4", f"{len(film)} frames")
        print(sheet(folder / f"{stem}.png", film[np.linspace(0, len(film) - 1, 8).astype(int)]))


def clips_of(files: Source, i: int) -> Iterator[Frame]:
    try:
        yield from files.clips(i)
    except BadFile as error:
        print(f"skipped: {error}", file=sys.stderr)


def drawn(draw: Draw, frames: Frame, scale: int, what: str = "drawing") -> Frame:
    pieces, progress = [], Progress(what, len(frames), "images")
    for i in range(0, len(frames), PIECE):
        pieces.append(draw(np.array(frames[i : i + PIECE])))
        progress.reach(min(i + PIECE, len(frames)))
    return np.concatenate(pieces).repeat(scale, 1).repeat(scale, 2)


def sheet(path: Path, rows: Frame) -> Path:
    """Write images as one PNG, one below the other."""
    cv2.imwrite(str(path), np.concatenate(list(rows))[:, :, ::-1])
    return path

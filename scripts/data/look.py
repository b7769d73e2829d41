"""What an encoder sees, drawn frame by frame over a user's own data: pictures become a sheet, the rest films."""

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
from embodia.scripts.report.video import Video

Frame = NDArray[np.uint8]
Draw = Callable[[Frame], Frame]
PIECE = 32  # frames drawn at once


@dataclass(frozen=True)
class Look:
    """Which encoder, at what, and where the drawings go."""

    run: tyro.conf.Positional[Path]
    """A run of `embodia pretrain`, or a folder with encoder.json."""
    data: Path
    """Recorded episodes, films, or pictures: each episode or film becomes a film, pictures become one sheet."""
    encoder: str | None = None
    """The run's encoder, where that is a class of your own: module:Class."""
    key: str | None = None
    """Of episodes: the picture to read; by default that of the same name as the encoder learnt from."""
    size: int | None = None
    """Side of the square that pictures are scaled to [pixels]; by default as the encoder learnt (episodes stay as they
    were recorded where it learnt from no squares)."""
    films: int = 2
    """Of episodes and films: how many."""
    frames: int = 200
    """Of a film, at most; pictures on a sheet are 8."""
    fps: float = 10.0
    """Frames taken of a film, and shown, per second."""
    scale: int = 3
    """Times each pixel is repeated."""
    out: Path | None = None
    """Where they go; by default a fresh folder in the run."""


def opened(args: Look) -> tuple[ImageEncoder, Source]:
    """The encoder, made for the pictures of the data, and the data. Raises Mistake where they do not go together."""
    ((key, picture),) = pictures_of(args.run).items()
    height, width, _ = picture.shape or (0, 0, 0)
    size = args.size or height
    square = size if args.size or height == width else None
    files = source(args.data, size=size, fps=args.fps, key=args.key or key, episode_size=square)
    named = ("encoder", args.encoder) if args.encoder else OWN
    return pretrained(args.run, files.space, named).eval(), files


def draw_all(args: Look, name: str, files: Source, draw: Draw) -> None:
    """`draw`: frames (n, H, W, C) -> (n, H', W', 3). Prints what it wrote; `name` is the folder's, the sheet's."""
    folder = runs.exactly(args.out) if args.out else runs.fresh(args.run / name)
    if len(list(islice(clips_of(files, 0), 2))) < 2:
        pictures = np.concatenate([clip for i in range(min(8, len(files.files))) for clip in clips_of(files, i)])
        print(sheet(folder / f"{name}.png", drawn(draw, pictures, args.scale)))
        return
    for i in range(min(args.films, len(files.files))):
        frames, stem = list(islice(clips_of(files, i), args.frames)), files.files[i].stem
        if not frames:
            continue
        film = drawn(draw, np.concatenate(frames), args.scale)
        with Video(folder / f"{stem}.mp4", round(args.fps)) as video:
            for frame in film:
                video.add(frame)
        print(folder / f"{stem}.mp4", f"{len(film)} frames")
        print(sheet(folder / f"{stem}.png", film[np.linspace(0, len(film) - 1, 8).astype(int)]))


def clips_of(files: Source, i: int) -> Iterator[Frame]:
    try:
        yield from files.clips(i)
    except BadFile as error:
        print(f"passed over: {error}", file=sys.stderr)


def drawn(draw: Draw, frames: Frame, scale: int) -> Frame:
    pieces = [draw(np.array(frames[i : i + PIECE])) for i in range(0, len(frames), PIECE)]
    return np.concatenate(pieces).repeat(scale, 1).repeat(scale, 2)


def sheet(path: Path, rows: Frame) -> Path:
    """One below the other."""
    cv2.imwrite(str(path), np.concatenate(list(rows))[:, :, ::-1])
    return path

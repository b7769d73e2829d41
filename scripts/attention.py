"""`embodia attention RUN`: where a vision transformer looks, as pictures and films."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from perception.attention_map import attention_pictures
from perception.image_encoder import ImageEncoder
from perception.vit import ViT
from scripts import runs
from scripts.frames import BadFile, Source, source
from scripts.image_encoders import pretrained
from scripts.mistake import Mistake
from scripts.video import Video

Frame = NDArray[np.uint8]
PIECE = 32  # frames read at once


@dataclass(frozen=True)
class Args:
    """The picture, and beside it each head of the last block: where the class token looks, brightest at its peak."""

    run: tyro.conf.Positional[Path]
    """A run of `embodia pretrain` with --encoder.net vit, or a folder with encoder.json."""
    data: Path
    """Recorded episodes, films, or pictures: each episode or film becomes a film, pictures become one sheet."""
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


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="embodia attention")
    encoder = pretrained(args.run)
    if not isinstance(encoder, ViT):
        raise Mistake(f"{args.run} is a {type(encoder).__name__}, which attends to nothing: --encoder.net vit")
    encoder.eval()
    ((key, picture),) = encoder.space.items()
    size = (picture.shape or (0,))[0]
    files = source(args.data, size=size, fps=args.fps, key=key)
    if next(iter(files.space.values())).shape != picture.shape:
        shapes = next(iter(files.space.values())).shape
        raise Mistake(f"--data {args.data}: pictures {shapes}, and {args.run} learnt from {picture.shape}")
    folder = runs.exactly(args.out) if args.out else runs.fresh(args.run / "attention")
    if len(list(islice(clips_of(files, 0), 2))) < 2:
        pictures = np.concatenate([clip for i in range(min(8, len(files.files))) for clip in clips_of(files, i)])
        print(sheet(folder / "attention.png", shown(encoder, pictures, args.scale)))
        return 0
    for i in range(min(args.films, len(files.files))):
        frames, name = list(islice(clips_of(files, i), args.frames)), files.files[i].stem
        if not frames:
            continue
        drawn = shown(encoder, np.concatenate(frames), args.scale)
        print(film(folder / f"{name}.mp4", drawn, args.fps), f"{len(drawn)} frames")
        print(sheet(folder / f"{name}.png", drawn[np.linspace(0, len(drawn) - 1, 8).astype(int)]))
    return 0


def clips_of(files: Source, i: int) -> Iterator[Frame]:
    try:
        yield from files.clips(i)
    except BadFile as error:
        print(f"passed over: {error}", file=sys.stderr)


def shown(encoder: ImageEncoder, frames: Frame, scale: int) -> Frame:
    """Frames (n, H, W, C) -> (n, H', W', 3): the picture and every head."""
    assert isinstance(encoder, ViT)
    (key,) = encoder.keys
    pieces = [frames[i : i + PIECE] for i in range(0, len(frames), PIECE)]
    drawn = np.concatenate([attention_pictures(encoder, {key: torch.from_numpy(np.array(each))}) for each in pieces])
    return drawn.repeat(scale, 1).repeat(scale, 2)


def sheet(path: Path, drawn: Frame) -> Path:
    """One below the other."""
    cv2.imwrite(str(path), np.concatenate(list(drawn))[:, :, ::-1])
    return path


def film(path: Path, drawn: Frame, fps: float) -> Path:
    with Video(path, round(fps)) as video:
        for frame in drawn:
            video.add(frame)
    return path

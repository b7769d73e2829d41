"""Frames of a video in one image: `python -m embodia.scripts.report.picture VIDEO IMAGE`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from embodia.scripts.report import video

GAP = 12  # [pixels]


@dataclass(frozen=True)
class Args:
    """Draw frames of a video in a grid of two columns."""

    film: tyro.conf.Positional[Path]
    """Input video (.mp4)."""
    picture: tyro.conf.Positional[Path]
    """Output image (.png)."""
    moments: tuple[float, ...] = (0.0, 0.35, 0.6, 1.0)
    """Positions of the frames in the video, from 0 to 1."""
    width: int = 960
    """Width of the image [pixels]."""


def main(arguments: Sequence[str]) -> int:
    args = tyro.cli(Args, args=list(arguments), prog="python -m embodia.scripts.report.picture")
    frames = video.read(args.film)
    chosen = [frames[round(moment * (len(frames) - 1))] for moment in args.moments]
    small = [shrink(frame, (args.width - GAP) // 2) for frame in chosen]
    rows = [beside(*small[i : i + 2]) for i in range(0, len(small), 2)]
    line = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    whole = np.concatenate([part for row in rows for part in (row, line)][:-1], 0)
    Image.fromarray(whole).quantize(192, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        args.picture, optimize=True
    )
    print(f"{args.picture}: {args.picture.stat().st_size:,} bytes")
    return 0


def shrink(frame: np.ndarray, width: int) -> np.ndarray:
    height = round(frame.shape[0] * width / frame.shape[1])
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.concatenate([left, np.full((len(left), GAP, 3), 255, np.uint8), right], 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

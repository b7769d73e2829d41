"""Several videos as one: side by side in a grid, or one after another with title cards."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageDraw

from embodia.scripts.report import video
from embodia.scripts.report.overlay import ACCENT, DIM, INK, PAPER, font
from embodia.scripts.report.video import Frame

Layout = Literal["grid", "turns"]
CARD = 1.5  # duration of a title card [s]
WIDEST = 1920  # maximum width of a grid [pixels]


def join(
    films: Sequence[Path],
    titles: Sequence[Sequence[str]],
    path: Path,
    layout: Layout = "turns",
    seconds: float = 120.0,
    fps: int = 8,
) -> int:
    """Write several videos as one that lasts at most `seconds`.

    Args:
        films: videos of any sizes; smaller ones are centred.
        titles: lines of text of each video's title card (for "turns").
        path: output file.
        layout: "grid" plays all at once; a video that ends before the others shows its last frame. "turns" plays one
            after another, each after a title card.
        seconds: maximum duration [s].
        fps: frames per second.

    Returns:
        The factor by which the videos are sped up; 1 if they fit.
    """
    lengths, heights, widths = zip(*map(video.size, films), strict=True)
    shape = max(heights), max(widths)
    cards = round(CARD * fps) * len(films) if layout == "turns" else 0
    total = max(lengths) if layout == "grid" else sum(lengths)
    faster = max(1, math.ceil(total / max(1.0, seconds * fps - cards - len(films))))
    parts = [thinned(film, length, faster, shape) for film, length in zip(films, lengths)]
    frames = side_by_side(parts, shape) if layout == "grid" else in_turn(parts, titles, shape, round(CARD * fps))
    video.write(path, frames, fps)
    return faster


def thinned(film: Path, length: int, every: int, shape: tuple[int, int]) -> Iterator[Frame]:
    """Yield every `every`-th frame and the last one, centred in an image of `shape` (H, W)."""
    for number, frame in enumerate(video.frames(film)):
        if number % every == 0 or number == length - 1:
            yield centred(frame, shape)


def centred(frame: Frame, shape: tuple[int, int]) -> Frame:
    """Return a frame in the middle of an image of `shape` (H, W), which is at least as large."""
    if frame.shape[:2] == shape:
        return frame
    whole = np.full((*shape, 3), PAPER, np.uint8)
    top, left = ((outer - inner) // 2 for outer, inner in zip(shape, frame.shape[:2]))
    whole[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return whole


def in_turn(
    parts: Sequence[Iterator[Frame]], titles: Sequence[Sequence[str]], shape: tuple[int, int], shown: int
) -> Iterator[Frame]:
    """Yield the videos one after another, each after a title card of `shown` frames."""
    return chain.from_iterable(
        chain([card(lines, shape)] * shown, part) for lines, part in zip(titles, parts, strict=True)
    )


def side_by_side(parts: Sequence[Iterator[Frame]], shape: tuple[int, int]) -> Iterator[Frame]:
    """Yield the videos in a grid, until the longest one ends."""
    columns = math.ceil(math.sqrt(len(parts)))
    rows = math.ceil(len(parts) / columns)
    scale = min(1.0, WIDEST / (columns * shape[1]))
    height, width = (int(size * scale) for size in shape)
    cells = np.full((rows * columns, height, width, 3), PAPER, np.uint8)
    playing = dict(enumerate(parts))
    while True:
        for place, part in list(playing.items()):
            frame = next(part, None)
            if frame is None:
                del playing[place]
            else:
                cells[place] = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        if not playing:
            return
        yield cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def card(lines: Sequence[str], shape: tuple[int, int]) -> Frame:
    """Draw lines of text in the middle of an image of `shape` (H, W), the first one large."""
    height, width = shape
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    size = max(14, width // 24)
    top = height / 2 - 0.8 * size * len(lines)
    for number, line in enumerate(lines):
        colour = ACCENT if number == 0 else INK if number == 1 else DIM
        chosen = font(size if number == 0 else round(0.7 * size))
        pen.text((width / 2, top), line, colour, chosen, anchor="mt")
        top += 1.8 * size
    return np.asarray(image)

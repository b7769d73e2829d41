"""A frame with what was done written under it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frame = NDArray[np.uint8]

LINES = 4
LINE = 20  # [pixels]
PAD = 8  # [pixels]
LEAST = 384  # [pixels], narrower frames are enlarged until the text fits
INK, DIM, ACCENT, PAPER = (238, 238, 240), (150, 154, 162), (255, 203, 92), (24, 26, 31)


@dataclass(frozen=True)
class Caption:
    """What one step did."""

    action: str
    reward: float
    total: float  # the return so far
    step: int
    seed: int | None
    title: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


def enlarge(frame: Frame) -> Frame:
    """The frame repeated a whole number of times, so that it is at least LEAST wide and its pixels stay square."""
    times = -(-LEAST // frame.shape[1])
    return frame if times == 1 else np.repeat(np.repeat(frame, times, 0), times, 1)


def draw(frame: Frame, caption: Caption) -> Frame:
    """(H, W, 3) uint8 -> (H', W', 3) with a strip of LINES lines below; the same size for every caption."""
    frame = enlarge(np.asarray(frame, np.uint8))
    width = frame.shape[1]
    strip = Image.new("RGB", (width, LINES * LINE + 2 * PAD), PAPER)
    pen = ImageDraw.Draw(strip)
    seed = "" if caption.seed is None else f"seed {caption.seed}   "
    right(pen, width, 0, f"{seed}step {caption.step}")
    room = width - 3 * PAD - length(f"{seed}step {caption.step}")
    pen.text((PAD, PAD), fit(caption.action, room), ACCENT, font())
    reward = f"{caption.reward:+.3g}" if caption.reward else "0"
    pen.text((PAD, PAD + LINE), f"reward {reward}", INK, font())
    right(pen, width, 1, f"return {caption.total:.4g}", INK)
    rows = wrap(caption.scores, width - 2 * PAD)
    for i, text in enumerate(rows[:2]):
        pen.text((PAD, PAD + (2 + i) * LINE), text, INK, font())
    if len(rows) < 2 and caption.title:
        pen.text((PAD, PAD + 3 * LINE), fit(caption.title, width - 2 * PAD), DIM, font())
    return np.concatenate([frame, np.asarray(strip)], 0)


def right(pen: ImageDraw.ImageDraw, width: int, line: int, text: str, colour: tuple[int, int, int] = DIM) -> None:
    pen.text((width - PAD - length(text), PAD + line * LINE), text, colour, font())


def wrap(scores: Mapping[str, float], room: float) -> list[str]:
    """`name value` pairs over as many lines as they need."""
    rows: list[str] = []
    for name, value in scores.items():
        pair = f"{name} {value:.3g}"
        if rows and length(f"{rows[-1]}   {pair}") <= room:
            rows[-1] += f"   {pair}"
        else:
            rows.append(fit(pair, room))
    return rows


def fit(text: str, room: float) -> str:
    """The text, its end cut off where it is too long."""
    if length(text) <= room:
        return text
    while text and length(text + "...") > room:
        text = text[:-1]
    return text + "..."


def length(text: str) -> float:
    return font().getlength(text)


@lru_cache(1)
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14)


def words(action: object, names: Mapping[int, str] | None = None) -> str:
    """An action in words: its name where it is discrete and named, else its numbers."""
    value = np.asarray(action)
    if value.ndim == 0 and value.dtype.kind in "iu":
        return (names or {}).get(int(value), f"action {int(value)}")
    return "[" + " ".join(f"{number:+.2f}" for number in value.ravel()[:8]) + (" ..." if value.size > 8 else "") + "]"

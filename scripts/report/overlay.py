"""Video frames with a caption: action, reward and scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frame = NDArray[np.uint8]
Colour = tuple[int, int, int]

LINES = 4
SIZE = 14  # font size on a frame of width WIDTH; it is larger on wider frames [pixels]
WIDTH = 480  # [pixels]
MOST = 1.7  # maximum factor of the font size
LEAST = 384  # minimum width [pixels]; narrower frames are enlarged
INK, DIM, ACCENT, PAPER = (238, 238, 240), (150, 154, 162), (255, 203, 92), (24, 26, 31)


@dataclass(frozen=True)
class Caption:
    """The caption of one step."""

    action: str
    reward: float
    total: float  # the return so far
    step: int
    seed: int | None
    title: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)  # by label
    units: Mapping[str, str] = field(default_factory=dict)  # of scores, by label


def enlarge(frame: Frame) -> Frame:
    """Upscale a frame by an integer factor to a width of at least LEAST."""
    times = -(-LEAST // frame.shape[1])
    return frame if times == 1 else np.repeat(np.repeat(frame, times, 0), times, 1)


def draw(frame: Frame, caption: Caption) -> Frame:
    """Add a caption of LINES lines below a frame (H, W, 3) uint8; the size of the result is always the same."""
    frame = enlarge(np.asarray(frame, np.uint8))
    strip = Strip(frame.shape[1])
    seed = "" if caption.seed is None else f"seed {caption.seed}   "
    taken = strip.right(0, f"{seed}step {caption.step}", DIM)
    strip.left(0, caption.action, ACCENT, taken)
    strip.left(1, f"reward {caption.reward:+.3g}" if caption.reward else "reward 0", INK)
    strip.right(1, f"return {caption.total:.4g}", INK)
    rows = strip.wrap(caption.scores, caption.units)[:2]
    for i, text in enumerate(rows):
        strip.left(2 + i, text, INK)
    if len(rows) < 2:
        strip.left(3, caption.title, DIM)
    return np.concatenate([frame, np.asarray(strip.image)], 0)


class Strip:
    """An image of LINES lines of text, `width` pixels wide."""

    def __init__(self, width: int):
        scale = min(max(1.0, width / WIDTH), MOST)
        self.width, self.line, self.pad = width, round(20 * scale), round(8 * scale)
        self.font = font(round(SIZE * scale))
        self.image = Image.new("RGB", (width, LINES * self.line + 2 * self.pad), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def left(self, line: int, text: str, colour: Colour, taken: float = 0) -> None:
        """Write text at the left; `taken` pixels at the right end stay free."""
        text = self.fit(text, self.width - 3 * self.pad - taken)
        self.pen.text((self.pad, self.pad + line * self.line), text, colour, self.font)

    def right(self, line: int, text: str, colour: Colour) -> float:
        """Write text at the right and return its width in pixels."""
        length = self.font.getlength(text)
        self.pen.text((self.width - self.pad - length, self.pad + line * self.line), text, colour, self.font)
        return length

    def wrap(self, scores: Mapping[str, float], units: Mapping[str, str]) -> list[str]:
        """Break `name value unit` into lines."""
        rows: list[str] = []
        for name, value in scores.items():
            pair = f"{name} {value:.3g} {units.get(name, '')}".rstrip()
            if rows and self.font.getlength(f"{rows[-1]}   {pair}") <= self.width - 3 * self.pad:
                rows[-1] += f"   {pair}"
            else:
                rows.append(pair)
        return rows

    def fit(self, text: str, room: float) -> str:
        """Shorten text to `room` pixels."""
        if (length := self.font.getlength(text)) <= room:
            return text
        text = text[: max(1, int(1.2 * len(text) * room / length))]
        while text and self.font.getlength(text + "...") > room:
            text = text[:-1]
        return text + "..."


@lru_cache(8)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def words(action: object, names: Mapping[int, str] | None = None) -> str:
    """Format an action: its name if it is discrete and has one, otherwise its numbers."""
    value = np.asarray(action)
    if value.ndim == 0 and value.dtype.kind in "iu":
        return (names or {}).get(int(value), f"action {int(value)}")
    return "[" + " ".join(f"{number:+.2f}" for number in value.ravel()[:8]) + (" ..." if value.size > 8 else "") + "]"

"""Boxes drawn on images, with their classes and scores."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from embodia.scripts.report.mask_picture import COLOURS

Array = NDArray[Any]
WIDE = 480
"""Smaller images are enlarged by an integer factor to about this width [pixels]."""


def colour(number: int) -> tuple[int, int, int]:
    """Return a colour for a class or a track."""
    red, green, blue = COLOURS[1 + number % (len(COLOURS) - 1)].astype(int).tolist()
    return red, green, blue


def drawn(picture: Array, boxes: Array, words: Sequence[str], numbers: Sequence[int]) -> NDArray[np.uint8]:
    """Draw boxes (n, 4), each with a text and the colour of its number, on a copy of an image (H, W, 3) uint8."""
    times = max(1, round(WIDE / picture.shape[1]))
    canvas = np.ascontiguousarray(picture.repeat(times, 0).repeat(times, 1))
    for box, text, number in zip(boxes, words, numbers):
        left, top, right, bottom = np.round(box * times).astype(int).tolist()
        cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour(number), 2)
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
        base = max(top, height + 4)
        cv2.rectangle(canvas, (left, base - height - 4), (left + width + 2, base), colour(number), -1)
        cv2.putText(canvas, text, (left + 1, base - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return canvas

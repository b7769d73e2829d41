"""Tracking: detections of consecutive frames are joined into tracks, and tracks are scored.

This module defines the contract of the folder. A tracker is told the detections of each frame in turn.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]


class Tracked(NamedTuple):
    """The n tracked objects of one frame."""

    boxes: Array  # (n, 4) float32 left, top, right, bottom [pixels]
    ids: Array  # (n,) int64: the number of the track, from 1
    labels: Array  # (n,) int64
    scores: Array  # (n,) float32


__all__ = ["Array", "Tracked"]

"""Clips of a film, decoded one frame after the other; a film is never held in memory as a whole."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

LATE = 0.5  # share of the time between two frames by which a last frame may be missing


class VideoError(ValueError):
    """A film that cannot be decoded; the message names the file, what is wrong, and what to do."""


@dataclass(frozen=True)
class Sampling:
    """Which frames of a film, and how large."""

    frames: int = 8
    """Frames of a clip (T)."""
    fps: float = 5.0
    """Frames taken per second, whatever the film has."""
    every: int = 1
    """Frames taken between the beginnings of two clips; as many as `frames` for clips that do not overlap."""
    size: int | None = 64
    """Side of the square cut out of the middle and scaled [pixels]; None keeps the film's frames."""

    def __post_init__(self) -> None:
        if min(self.frames, self.every) < 1 or self.fps <= 0:
            raise ValueError(f"frames, every and fps are at least 1, 1 and above 0; got {self}")


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one film."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3) RGB."""
    times: NDArray[np.float64]
    """(T,) when each is shown [s], since the film began."""
    path: Path
    number: int
    """Of the clip in its film, from 0."""


def clips(path: Path | str, sampling: Sampling, start: int = 0) -> Iterator[Clip]:
    """The film's clips from number `start` on, in the order of time.

    Frame k is the first one shown at or after k / fps, so a clip is the same whether it is reached by decoding or by
    seeking. A film shorter than a clip gives none.

    Raises:
        VideoError: where there is nothing to decode; or, after the clips before it, where the film is cut off.
    """
    path = Path(path)
    first = start * sampling.every
    kept: deque[tuple[float, Any]] = deque(maxlen=sampling.frames)
    for taken, (time, picture) in enumerate(_taken(path, sampling, first), start=first):
        kept.append((time, picture))
        begins = taken - sampling.frames + 1
        if begins < first or begins % sampling.every:
            continue
        frames = np.stack([frame for _, frame in kept])
        yield Clip(frames, np.array([time for time, _ in kept]), path, begins // sampling.every)


def _taken(path: Path, sampling: Sampling, first: int) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Time and picture of the frames taken, from number `first` on."""
    number = first
    for time, frame in _decoded(path, first / sampling.fps):
        if time < number / sampling.fps - 1e-6:
            continue
        picture = _cut(frame.to_ndarray(format="rgb24"), sampling.size)
        while time >= number / sampling.fps - 1e-6:  # a slower film shows a frame more than once
            yield time, picture
            number += 1


def _decoded(path: Path, since: float) -> Iterator[tuple[float, Any]]:
    """Time [s] and frame, from the last one that may be decoded alone before `since`."""
    try:
        with av.open(str(path)) as film:
            if not film.streams.video or film.streams.video[0].codec_context is None:
                raise VideoError(f"{path}: no video in it that can be decoded; copy it again, or leave it out")
            stream = film.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1  # who reads many films has his own
            assert stream.time_base is not None
            unit = float(stream.time_base)
            begins = (stream.start_time or 0) * unit
            if since > 0:
                film.seek(int((since + begins) / unit), stream=stream, backward=True)
            time = begins
            for frame in film.decode(stream):
                if frame.pts is None:
                    continue
                time = frame.pts * unit
                yield time - begins, frame
            _check_end(path, stream, time - begins)
    except (av.FFmpegError, ValueError, EOFError) as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"{path}: cannot be decoded ({error}); copy it again, or leave it out") from error


def _check_end(path: Path, stream: Any, last: float) -> None:
    """Whether the film ends where its header says."""
    if stream.duration is None:
        return
    says = float(stream.duration * stream.time_base)
    rate = float(stream.average_rate or 25)
    if last + (2 + LATE) / rate < says:
        raise VideoError(f"{path}: ends after {last:.1f} of {says:.1f} s: it was cut off; copy it again")


def _cut(picture: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """The middle square, scaled to `size`."""
    if size is None:
        return picture
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), np.uint8)

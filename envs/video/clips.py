"""Clips of a video, decoded frame by frame; the whole video is never held in memory."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

LATE = 0.5  # tolerance at the end of a video, as a fraction of the time between two frames


class VideoError(ValueError):
    """A video that cannot be decoded. The message names the file, the problem, and a remedy."""


@dataclass(frozen=True)
class Sampling:
    """Which frames to take from a video, and their size."""

    frames: int = 8
    """Number of frames of a clip (T)."""
    fps: float = 5.0
    """Frames per second to take, at any frame rate of the video."""
    every: int = 1
    """Number of frames between the starts of two clips; equal to `frames` for clips that do not overlap."""
    size: int | None = 64
    """Side of the centre crop after scaling [pixels]; None keeps the video's frames."""

    def __post_init__(self) -> None:
        if min(self.frames, self.every) < 1 or self.fps <= 0:
            raise ValueError(f"frames and every must be at least 1, and fps above 0; got {self}")


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one video."""

    frames: NDArray[np.uint8]
    """Images (T, H, W, 3) RGB."""
    times: NDArray[np.float64]
    """Time of each frame since the start of the video (T,) [s]."""
    path: Path
    number: int
    """Number of the clip in its video, from 0."""


def clips(path: Path | str, sampling: Sampling, start: int = 0) -> Iterator[Clip]:
    """Iterate over a video's clips in order of time, starting at clip `start`.

    Frame k is the first one at or after k / fps, so a clip is the same whether it is reached by decoding or by seeking.
    A video shorter than a clip has none.

    Raises:
        VideoError: If the video cannot be decoded; or, after its valid clips, if it is cut off.
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
    """Iterate over time and image of the sampled frames, from number `first` on."""
    number = first
    for time, frame in _decoded(path, first / sampling.fps):
        if time < number / sampling.fps - 1e-6:
            continue
        picture = _cut(_upright(frame), sampling.size)
        while time >= number / sampling.fps - 1e-6:  # a video with a lower rate repeats frames
            yield time, picture
            number += 1


def _upright(frame: Any) -> NDArray[np.uint8]:
    """Return a frame (H, W, 3) turned as the video says: a phone held upright stores its frames lying on the side."""
    picture = frame.to_ndarray(format="rgb24")
    return np.rot90(picture, round(frame.rotation / 90) % 4) if frame.rotation else picture


def _decoded(path: Path, since: float) -> Iterator[tuple[float, Any]]:
    """Iterate over time [s] and frame, from the last key frame before `since`."""
    try:
        with av.open(str(path)) as film:
            if not film.streams.video or film.streams.video[0].codec_context is None:
                raise VideoError(f"{path}: no video stream that can be decoded; copy it again, or remove it")
            stream = film.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = (
                "NONE",
                1,
            )  # readers of many videos run their own threads
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
        raise VideoError(f"{path}: cannot be decoded ({error}); copy it again, or remove it") from error


def _check_end(path: Path, stream: Any, last: float) -> None:
    """Raise VideoError if the video ends earlier than its header says."""
    if stream.duration is None:
        return
    says = float(stream.duration * stream.time_base)
    rate = float(stream.average_rate or 25)
    if last + (2 + LATE) / rate < says:
        raise VideoError(f"{path}: ends after {last:.1f} of {says:.1f} s: it was cut off; copy it again")


def _cut(picture: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Crop the centre square and scale it to `size`."""
    if size is None:
        return picture
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = picture[top : top + side, left : left + side]
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=how), np.uint8)

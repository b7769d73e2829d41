"""H.264 videos that play in any browser."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


class Video:
    """Writes frames (H, W, 3) uint8 to an mp4 file: H.264, yuv420p, index first.

    Odd sizes are extended by one repeated row or column, because 4:2:0 chroma needs even ones. The file has a temporary
    name until it is closed without an error, so there are no partial videos.

    Args:
        path: output file.
        fps: frames per second.
        crf: constant rate factor; lower is better quality.
        preset: preset of x264.

    Raises:
        ValueError: (on `add`) if a frame is not an image, or has another size than the first one.
    """

    def __init__(self, path: Path, fps: int = 10, crf: int = 23, preset: str = "superfast"):
        self.path, self.fps, self.options = Path(path), fps, {"crf": str(crf), "preset": preset}
        self.aside = self.path.with_name(f".{self.path.stem}.{os.getpid()}.mp4")
        self.shape: tuple[int, ...] | None = None
        self.frames = 0

    def __enter__(self) -> "Video":
        return self

    def add(self, frame: Frame) -> None:
        if self.shape is None:
            self.open(frame)
        if frame.shape != self.shape or frame.dtype != np.uint8:
            raise ValueError(f"{self.path}: frame {self.frames} is {frame.dtype}{frame.shape}, not uint8{self.shape}")
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        planes = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), np.uint8)
        self.container.mux(self.stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        self.frames += 1

    def open(self, frame: Frame) -> None:
        if frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"{self.path}: a frame must be (H, W, 3), not {frame.shape}")
        self.shape = frame.shape
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.container = av.open(str(self.aside), "w", options={"movflags": "+faststart"})
        self.stream = self.container.add_stream("libx264", rate=self.fps, options=self.options)
        self.stream.height, self.stream.width = (size + size % 2 for size in frame.shape[:2])
        self.stream.pix_fmt = "yuv420p"
        # OpenCV's I420 is BT.601 in the limited range; without these tags, players assume BT.709 for large frames.
        context = self.stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 6, 6, 6, 1
        context.thread_count = 1  # on small frames two threads are slower than one

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.shape is None:
            return
        try:
            if kind is None:
                self.container.mux(self.stream.encode(None))
            self.container.close()
            if kind is None:
                os.replace(self.aside, self.path)
        finally:
            self.aside.unlink(missing_ok=True)


def write(path: Path, frames: Iterable[Frame], fps: int = 10) -> Path:
    """Write frames (H, W, 3) uint8 as a video and return its path."""
    with Video(path, fps) as video:
        for frame in frames:
            video.add(frame)
    return Path(path)


def frames(path: Path) -> Iterator[Frame]:
    """Yield the frames (H, W, 3) of a video. Raises ValueError if it cannot be decoded."""
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"{path} cannot be decoded as a video: {error}") from error


def read(path: Path) -> NDArray[np.uint8]:
    """Read the frames (T, H, W, 3) of a video. Raises ValueError if it cannot be decoded."""
    return np.stack(list(frames(path)))


def size(path: Path) -> tuple[int, int, int]:
    """Return the number of frames of a video, its height and its width."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.frames, stream.height, stream.width

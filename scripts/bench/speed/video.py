"""Frames encoded per second at 256 x 256 in one process, beside OpenCV's writer of MPEG-4."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from embodia.scripts.assembly import build
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.bench.harness.options import Video
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import rate, timing, timings
from embodia.scripts.report import video

SIZE, FRAMES = 256, 600  # [pixels], frames per video
OURS, PEER = "H.264 by embodia (PyAV)", "MPEG-4 by OpenCV"
Frames = list[NDArray[np.uint8]]


def measure(options: Video) -> list[Row]:
    """Encode what an agent sees, by both writers in turns."""
    frames = seen(30 if options.smoke else FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        writers = partial(encode, path, frames), partial(encode_by_opencv, path, frames)
        pairs = [tuple(rate(writer) for writer in writers) for _ in range(options.seeds)]
    ours, peer = zip(*pairs)
    mine, theirs = timings(OURS, ours, "frames"), timings(PEER, peer, "frames")
    return [
        timing(OURS, [a.wall / b.wall for a, b in pairs], "times OpenCV's frames/s"),
        *(replace(row, controls=(control,)) for row, control in zip(mine, theirs)),
    ]


def encode(path: Path, frames: Frames) -> int:
    video.write(path, frames)
    return len(frames)


def encode_by_opencv(path: Path, frames: Frames) -> int:
    height, width, _ = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    if not writer.isOpened():
        raise OSError(f"OpenCV cannot write MPEG-4 to {path}")
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return len(frames)


def seen(count: int) -> Frames:
    """`count` frames (SIZE, SIZE, 3) of random walks through FourRooms."""
    env = build.worlds(EnvConfig("embodia/MiniGrid-FourRooms-v0"), "train", 1, evaluation=True)
    agent = build.reference("random", env)
    obs, _ = env.reset(seed=0)
    frames = []
    for _ in range(count):
        frames.append(np.ascontiguousarray(env.render()[0][:SIZE, :SIZE]))
        action, _, _ = agent.act(obs, {}, np.zeros(1, bool), "eval")
        obs, *_ = env.step(action)
    env.close()
    return frames

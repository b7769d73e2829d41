"""Frames encoded per second at 256 x 256, in this process alone."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.scripts.assembly import build
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.bench.harness.stopwatch import middle, rate, remark
from embodia.scripts.report import video

SIZE, FRAMES, BAR = 256, 600, 600.0  # [pixels], frames per film, [frames/s]


def measure(repeats: int) -> dict[str, Any]:
    """Encode what an agent sees, `repeats` films of it."""
    frames = filmed()
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(repeats):
            path = Path(folder) / f"{i}.mp4"
            rates.append(rate(partial(encode, path, frames)))
        size = path.stat().st_size
    found = middle(rates)
    print(f"H.264, yuv420p, {SIZE} x {SIZE}, {repeats} films of {FRAMES} frames, one process")
    print(f"  {found.wall:,.0f} frames/s ({found.cpu:,.0f} per CPU second), {size / FRAMES:,.0f} bytes a frame")
    print(f"  bar: {BAR:,.0f} frames/s")
    return {
        "frames_per_second": found.wall,
        "frames_per_cpu_second": found.cpu,
        "all": rates,
        "bar": BAR,
        "size": SIZE,
        **remark(found),
        "hardware": hardware(),
    }


def encode(path: Path, frames: list[NDArray[np.uint8]]) -> int:
    video.write(path, frames)
    return len(frames)


def filmed() -> list[NDArray[np.uint8]]:
    """FRAMES pictures of random walks through FourRooms, cut to SIZE x SIZE."""
    env = build.worlds(EnvConfig("embodia/MiniGrid-FourRooms-v0"), "train", 1, evaluation=True)
    agent = build.reference("random", env)
    obs, _ = env.reset(seed=0)
    frames = []
    for _ in range(FRAMES):
        frames.append(np.ascontiguousarray(env.render()[0][:SIZE, :SIZE]))
        action, _, _ = agent.act(obs, {}, np.zeros(1, bool), "eval")
        obs, *_ = env.step(action)
    env.close()
    return frames

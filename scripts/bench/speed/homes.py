"""Homes: frames rendered per second by size, batch and number of triangles, and PointNav steps per second."""

import sys
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.rasterizer import Rasterizer, Sensor
from embodia.envs.drawing.scene import Scene
from embodia.envs.homes.generator.generate import generate_home
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.scripts.bench.harness.options import Homes
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import Rate, rate, timing, timings

SIZES, BATCHES = (64, 128, 256), (1, 16, 64)
KINDS: dict[str, tuple[Sensor, ...]] = {"depth": ("depth",), "RGB-D": ("rgb", "depth")}
FRAMES = 512  # per measurement
WORLDS, STEPS = 16, 60


def measure(options: Homes) -> list[Row]:
    """A small and a detailed home, textured and shaded, seen from inside their rooms; then random walks."""
    sizes, total, steps = ((64,), 64, 5) if options.smoke else (SIZES, FRAMES, STEPS)
    rows: list[Row] = []
    for scene in (home_of(500), home_of(5_000)):
        for kind, sensors in KINDS.items():
            for size in sizes:
                name = f"{kind}, {size} x {size}, {len(scene.faces):,} triangles"
                print(name, file=sys.stderr)
                for batch in BATCHES:
                    rates = frames(scene, size, batch, sensors, total, options.seeds)
                    rows.append(timing(name, [each.wall for each in rates], f"frames/s, batch {batch}"))
                    rows.append(timing(name, [each.cpu for each in rates], f"per CPU second, batch {batch}"))
    name = f"PointNav, {WORLDS} homes, 64 x 64 depth"
    print(name, file=sys.stderr)
    return rows + timings(name, pointnav(steps, options.seeds), "steps")


def home_of(triangles: int) -> Scene:
    """The generated home with about so many triangles, of all levels of detail and the first seeds."""
    homes = [generate_home(seed, detail=detail) for detail in ("low", "medium", "high") for seed in range(4)]
    return min(homes, key=lambda scene: abs(len(scene.faces) - triangles))


def viewpoints(scene: Scene, count: int) -> NDArray[np.float64]:
    """Camera poses (count, 4, 4) at 1.25 m in the middle of rooms, in random directions."""
    rng = np.random.default_rng(0)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose in poses:
        room = scene.rooms[int(rng.integers(len(scene.rooms)))]
        middle_of = np.asarray(room.polygon).mean(0)
        yaw = rng.uniform(0, 2 * np.pi)
        cos, sin = np.cos(yaw), np.sin(yaw)
        pose[:3, :3] = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]
        pose[:3, 3] = middle_of[0], 1.25, middle_of[1]
    return poses


def frames(
    scene: Scene, size: int, batch: int, sensors: tuple[Sensor, ...], total: int, repetitions: int
) -> list[Rate]:
    drawer = Rasterizer(size, size, sensors=sensors, threads=2 if batch > 1 else 1)
    work = partial(draw, drawer, scene, viewpoints(scene, batch), max(1, total // batch))
    work()  # not counted: kernels compile
    return [rate(work) for _ in range(repetitions)]


def draw(drawer: Rasterizer, scene: Scene, poses: NDArray[np.float64], times: int) -> int:
    index = np.zeros(len(poses), np.int64)
    for _ in range(times):
        drawer.render([scene], index, poses)
    return times * len(poses)


def pointnav(count: int, repetitions: int) -> list[Rate]:
    """Random walks of `count` steps: render, move, measure."""
    sensors = ("depth", "pointgoal_with_gps_compass")
    env = HomesVectorEnv(
        WORLDS, sensors=sensors, height=64, width=64, detail="low", num_scenes=WORLDS, threads=2, max_steps=100_000
    )
    env.reset(seed=0)
    rng = np.random.default_rng(0)

    def steps() -> int:
        for _ in range(count):
            env.step(rng.integers(1, 4, WORLDS))
        return count * WORLDS

    steps()
    return [rate(steps) for _ in range(repetitions)]

"""Homes: frames drawn per second by size, batch and detail, and whole PointNav steps per second."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.rasterizer import Rasterizer, Sensor
from embodia.envs.drawing.scene import Scene
from embodia.envs.homes.generator.generate import generate_home
from embodia.envs.homes.vector_env import HomesVectorEnv
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.bench.harness.stopwatch import Rate, middle, rate, remark

SIZES, BATCHES = (64, 128, 256), (1, 16, 64)
FRAMES = 512  # of one measurement
WORLDS, STEPS = 16, 60
BARS = {
    "rgbd_128_batch64_500tri_fps": 4_000.0,
    "rgbd_128_batch64_5000tri_fps": 2_500.0,
    "rgbd_128_batch1_500tri_fps": 1_500.0,
    "pointnav_steps_per_s": 1_000.0,
}


def measure(repeats: int) -> dict[str, Any]:
    """A small and a detailed home, textured and shaded, from inside their rooms."""
    found: dict[str, Any] = {}
    kinds: tuple[tuple[Sensor, ...], ...] = (("depth",), ("rgb", "depth"))
    for triangles, scene in (("500tri", home_of(500)), ("5000tri", home_of(5_000))):
        print(f"{len(scene.faces):,} triangles, frames/s (per CPU second)")
        print(f"  {'':<22}" + "".join(f"{f'batch {batch}':>20}" for batch in BATCHES))
        for sensors in kinds:
            for size in SIZES:
                rates = {batch: frames(scene, size, batch, sensors, repeats) for batch in BATCHES}
                label = "rgbd" if "rgb" in sensors else "depth"
                print(f"  {label:<8}{f'{size} x {size}':<14}" + "".join(cell(each) for each in rates.values()))
                for batch, each in rates.items():
                    found[f"{label}_{size}_batch{batch}_{triangles}_fps"] = each.wall
                    found[f"{label}_{size}_batch{batch}_{triangles}_cpu_fps"] = each.cpu
    steps = pointnav(repeats)
    print(f"PointNav, {WORLDS} homes, 64 x 64 depth: {steps.wall:,.0f} steps/s ({steps.cpu:,.0f} per CPU second)")
    found |= {"pointnav_steps_per_s": steps.wall, "pointnav_steps_per_cpu_s": steps.cpu, **remark(steps)}
    for name, bar in BARS.items():
        print(f"  {name}: {found[name]:,.0f}, bar {bar:,.0f}")
    return {**found, "bars": BARS, "hardware": hardware()}


def cell(found: Rate) -> str:
    return f"{f'{found.wall:,.0f} ({found.cpu:,.0f})':>20}"


def home_of(triangles: int) -> Scene:
    """The generated home, of the details and first seeds, with most nearly so many triangles."""
    homes = [generate_home(seed, detail=detail) for detail in ("low", "medium", "high") for seed in range(4)]
    return min(homes, key=lambda scene: abs(len(scene.faces) - triangles))


def viewpoints(scene: Scene, count: int) -> NDArray[np.float64]:
    """Camera poses (count, 4, 4) at 1.25 m in the middle of rooms, looking all ways."""
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


def frames(scene: Scene, size: int, batch: int, sensors: tuple[Sensor, ...], repeats: int) -> Rate:
    drawer = Rasterizer(size, size, sensors=sensors, threads=2 if batch > 1 else 1)
    work = partial(draw, drawer, scene, viewpoints(scene, batch), max(1, FRAMES // batch))
    work()
    return middle([rate(work) for _ in range(repeats)])


def draw(drawer: Rasterizer, scene: Scene, poses: NDArray[np.float64], times: int) -> int:
    index = np.zeros(len(poses), np.int64)
    for _ in range(times):
        drawer.render([scene], index, poses)
    return times * len(poses)


def pointnav(repeats: int) -> Rate:
    """Random walks: render, move, measure."""
    sensors = ("depth", "pointgoal_with_gps_compass")
    env = HomesVectorEnv(
        WORLDS, sensors=sensors, height=64, width=64, detail="low", num_scenes=WORLDS, threads=2, max_steps=100_000
    )
    env.reset(seed=0)
    rng = np.random.default_rng(0)

    def steps() -> int:
        for _ in range(STEPS):
            env.step(rng.integers(1, 4, WORLDS))
        return STEPS * WORLDS

    measured: Callable[[], int] = steps
    measured()
    return middle([rate(measured) for _ in range(repeats)])

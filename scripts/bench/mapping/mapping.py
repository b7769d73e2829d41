"""Maps from depth: floor against the truth, exploration, PointNav and ObjectNav on maps, and the speed of an update."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import numpy as np

from embodia.envs.driving.sensors.laser import LaserScanner, scan
from embodia.perception.mapping.depth_mapper import DepthMapper
from embodia.perception.mapping.planar_poses import camera_matrices
from embodia.scripts.bench.harness.once import Line, minutes, once
from embodia.scripts.bench.harness.options import Mapping
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.mapping.episodes import block, floor_ious

BLOCK = 25  # episodes of a job
MAPPED = 24  # homes whose floor is compared
SHORT = 100  # steps; after the whole 500, every explorer has seen nearly all of these homes
AFTER_SHORT = ("agent", "expert")
POLICIES = {
    "frontier": ("agent", "noisy", "expert", "random", "turning"),
    "modular-pointnav": ("agent", "noisy", "random"),
    "modular-objectnav": ("agent", "noisy", "random"),
}


def measure(options: Mapping) -> list[Row]:
    """Run the parts that are not finished yet, and return the rows."""
    episodes, mapped, steps = (2, 2, 20) if options.smoke else (options.episodes, MAPPED, 500)
    jobs: list[tuple[str, Callable[[], Line]]] = [
        (f"floor, {first}", partial(mapped_floors, range(first, min(first + 8, mapped)), steps))
        for first in range(0, mapped, 8)
    ]
    for name, policies in POLICIES.items():
        for policy in policies:
            for limit in (SHORT, 500) if name == "frontier" and policy in AFTER_SHORT else (500,):
                for first in range(0, episodes, BLOCK):
                    seeds = range(first, min(first + BLOCK, episodes))
                    job = partial(played, name, policy, seeds, min(limit, steps))
                    jobs.append((f"{name}, {policy}, {limit} steps, {first}", job))
    jobs += [("map update", map_update), ("laser", laser)]
    lines = once(options.folder() / f"lines-{episodes}.jsonl", jobs)
    return rows({line["name"]: line for line in lines})


def mapped_floors(seeds: range, steps: int) -> Line:
    return {"iou": floor_ious(seeds, steps)}


def played(name: str, policy: str, seeds: range, steps: int) -> Line:
    """The scores of a block of episodes."""
    found = block(name, policy, seeds, steps)
    return {score: [each.metrics[score] for each in found] for score in found[0].metrics}


def map_update(repetitions: int = 50) -> Line:
    """CPU milliseconds of adding one image of 128 x 128 to a map."""
    mapper, rng = DepthMapper(), np.random.default_rng(0)
    depth = rng.uniform(0.5, 8.0, (1, 128, 128)).astype(np.float32)
    poses = camera_matrices(np.zeros((1, 3)), 1.25)
    map = mapper.update(mapper.initial(1), {"depth": depth}, poses)
    return {"ms": timed(lambda: mapper.update(map, {"depth": depth}, poses), repetitions)}


def laser(scenes: int = 20, solids: int = 30, repetitions: int = 30) -> Line:
    """CPU milliseconds of scanning 20 scenes with 360 beams at 16 elevations."""
    rng = np.random.default_rng(0)
    boxes = np.zeros((scenes, solids, 7))
    boxes[..., :2] = rng.uniform(-60, 60, (scenes, solids, 2))
    boxes[..., 2] = rng.uniform(-np.pi, np.pi, (scenes, solids))
    boxes[..., 3:5], boxes[..., 6] = rng.uniform(1, 3, (scenes, solids, 2)), 1.5
    ids = np.tile(np.arange(10, 10 + solids), (scenes, 1))
    scanner = LaserScanner(azimuths=360, elevations=tuple(np.linspace(-15, 5, 16).tolist()))
    nothing = np.zeros((scenes, 0, 5)), np.zeros((scenes, 0), np.int64)
    work = partial(scan, scanner, np.zeros((scenes, 3)), boxes, ids, *nothing)
    work()
    return {"ms": timed(work, repetitions)}


def timed(work: Callable[[], object], repetitions: int) -> float:
    """The median CPU time of a call [ms]."""
    found = []
    for _ in range(repetitions):
        began = time.process_time()
        work()
        found.append(1000 * (time.process_time() - began))
    return median(found)


def rows(lines: dict[str, Line]) -> list[Row]:
    """The rows of the result file."""

    def of(prefix: str) -> list[Line]:
        return [line for name, line in lines.items() if name.startswith(f"{prefix}, ")]

    def scored(name: str, policy: str, score: str, limit: int = 500) -> list[float]:
        return [value for line in of(f"{name}, {policy}, {limit} steps") for value in line[score]]

    def controls(name: str, score: str, unit: str, limit: int = 500) -> list[Row]:
        return [
            row("pose noise 2 cm, 1 deg" if other == "noisy" else other, [scored(name, other, score, limit)], unit)
            for other in POLICIES[name][1:]
            if limit == 500 or other in AFTER_SHORT
        ]

    found = [row("occupancy iou", [joined(of("floor"), "iou")], "IoU", cpu_minutes=minutes(of("floor")))]
    for limit in (500, SHORT):
        title = "frontier" if limit == 500 else f"frontier, {limit} steps"
        seen, expert = (scored("frontier", policy, "coverage", limit) for policy in ("agent", "expert"))
        share = [mine / best for mine, best in zip(seen, expert)]
        beside = controls("frontier", "coverage", "share of the floor seen", limit)
        found.append(row(title, [share], "share of the map-knowing explorer's", controls=beside))
        found.append(row(title, [seen], "share of the floor seen"))
    for name in ("modular-objectnav", "modular-pointnav"):
        used = minutes(of(f"{name}, agent, 500 steps"))
        for score in ("success", "spl"):
            beside = controls(name, score, score)
            found.append(row(name, [scored(name, "agent", score)], score, cpu_minutes=used, controls=beside))
    found.append(row("map update", [[lines["map update"]["ms"]]], "CPU ms per image of 128 x 128"))
    found.append(row("laser", [[lines["laser"]["ms"]]], "CPU ms for 20 scenes x 360 beams x 16"))
    return found


def joined(lines: Sequence[Line], name: str) -> list[float]:
    return [value for line in lines for value in line[name]]

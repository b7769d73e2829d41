"""Several drives of one route: the same way through the same town, among other traffic each time."""

from dataclasses import replace

import numpy as np

from embodia.envs import Split, level_seed
from embodia.envs.driving.generator.build_network import build
from embodia.envs.driving.generator.generate import (
    FUTURE_FRAMES,
    ITERATIONS,
    SLACK,
    generate_scenario,
    recipe,
    tabulate,
    tracks_around,
)
from embodia.envs.driving.generator.road_layout import plan
from embodia.envs.driving.generator.scenario_types import RULES
from embodia.envs.driving.generator.traffic import DT, simulate
from embodia.envs.driving.map.geometry import boxes_intersect
from embodia.envs.driving.scenarios.scenario import HISTORY_FRAMES, LightLog, Scenario, TrackLog
from embodia.envs.driving.types import Floats
from embodia.envs.driving.vehicle.bicycle import ego_boxes

STREAM = 3  # of random numbers, beside those of `generate_scenario`


def repeated_drives(seed: int, num: int, split: Split = "train") -> list[Scenario]:
    """Return `num` drives of the route of a generated scenario; the first one is the scenario itself.

    In every drive the ego moves as in the first one, and parked cars, traffic, walkers and lights are others. Objects
    that would touch the ego are left out. The drives share one map, so static things are at the same places.

    Raises:
        ValueError: If `num` is less than 1.
    """
    if num < 1:
        raise ValueError(f"repeated_drives: num is {num}; ask for at least 1 drive")
    first = generate_scenario(seed, split=split)
    level, attempt = level_seed(split, seed), int(first.info["worlds"]) - 1
    rng = np.random.default_rng([level, 2, sorted(RULES).index(first.type), attempt])
    style, demand = recipe(first.type, rng)
    network = build(plan(style, rng), first.token, rng)
    assert network is not None, "the first scenario was made on it"
    frames = HISTORY_FRAMES + ITERATIONS
    boxes = ego_boxes(first.ego[:frames])
    drives = [first]
    for number in range(1, num):
        rng = np.random.default_rng([level, STREAM, attempt, number])
        world = tabulate(simulate(network, demand, (frames + FUTURE_FRAMES) * DT + SLACK, rng))
        begin = int(rng.integers(len(world.recording.frames) - frames + 1))
        seen = slice(begin, begin + frames)
        lights = np.array([frame.lights for frame in world.recording.frames[seen]]).reshape(frames, -1)
        drives.append(
            replace(
                first,
                token=f"{first.token}-{number}",
                tracks=without_contacts(tracks_around(world, boxes[:, :2], seen), boxes),
                lights=LightLog(world.recording.signals.connector_ids, lights),
            )
        )
    return drives


def without_contacts(tracks: TrackLog, boxes: Floats) -> TrackLog:
    """Return the tracks that never touch the ego's boxes (frames, 5)."""
    touching = (boxes_intersect(boxes[:, None], tracks.boxes) & tracks.valid).any(axis=0)
    kept = np.flatnonzero(~touching)
    return TrackLog(
        tuple(tracks.tokens[k] for k in kept),
        tracks.types[kept],
        tracks.boxes[:, kept],
        tracks.velocities[:, kept],
        tracks.valid[:, kept],
    )

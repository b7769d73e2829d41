"""Labelled frames of homes and roads, rendered once and kept on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

import embodia  # noqa: F401 (registers the worlds)
from embodia.envs import Split, level_seed
from embodia.envs.drawing.labels import LabelledImage
from embodia.envs.drawing.scene import HM3D_CATEGORIES
from embodia.envs.homes.engines.engine import EmbodiaEngine, Home, camera_matrices
from embodia.envs.homes.labels import labelled_images
from embodia.envs.homes.tasks.navigation import HM3D_CAMERA, TASKS, Camera
from embodia.perception.structured.detection import Array, Boxes

SIZE = (96, 128)
"""Height and width of the images [pixels]."""
GOALS = tuple(HM3D_CATEGORIES)
ROAD_USERS = ("vehicle", "pedestrian", "bicycle")
LEAST = {"homes": 24, "roads": 12}
"""Objects with fewer visible pixels are ignored: neither learned nor counted."""
CAMERA = Camera(*SIZE, hfov=HM3D_CAMERA.hfov, above_feet=HM3D_CAMERA.above_feet)
"""ObjectNav's camera, with fewer pixels."""
EMPTY = 5
"""Every this many-th frame of a home is kept even if no goal category is in view."""


class Frames(NamedTuple):
    """n labelled images."""

    images: Array  # (n, H, W, 3) uint8
    truth: list[Boxes]
    ids: list[Array]  # (m,) int64 each: the object of each box, the same through a sequence
    sequence: Array  # (n,) int64: number of the home or drive
    depth: Array  # (n, H, W) float16 [m]
    intrinsics: Array  # (3, 3)


def kept(path: Path, make: Callable[[], Frames]) -> Frames:
    """Read frames from a file; make and write them if it does not exist."""
    if not path.exists():
        found = make()
        counts = [len(each.labels) for each in found.truth]
        parts = {name: np.concatenate([getattr(each, name) for each in found.truth]) for name in Boxes._fields}
        flat: dict[str, Any] = {"ids": np.concatenate(found.ids), "counts": np.array(counts), **parts}
        aside = path.with_suffix(".new.npz")
        np.savez_compressed(aside, images=found.images, sequence=found.sequence, depth=found.depth,
                            intrinsics=found.intrinsics, **flat)  # fmt: skip
        aside.replace(path)
    with np.load(path) as data:
        ends = np.cumsum(data["counts"])[:-1]
        columns = [np.split(data[name], ends) for name in Boxes._fields]
        truth = [Boxes(*each) for each in zip(*columns)]
        ids = np.split(data["ids"], ends)
        return Frames(data["images"], truth, ids, data["sequence"], data["depth"], data["intrinsics"])


def homes(number: int, views: int, split: Split) -> Frames:
    """Return views from random places of `number` generated homes, with the goal categories of ObjectNav."""
    engine = EmbodiaEngine(TASKS["ObjectNav"].navmesh)
    found: list[tuple[int, LabelledImage]] = []
    for k in range(number):
        home, rng = engine.home(f"home-{level_seed(split, k)}"), np.random.default_rng(level_seed(split, k))
        mine: list[tuple[int, LabelledImage]] = []
        while len(mine) < views:
            image = view(engine, home, rng)
            if len(mine) % EMPTY == 0 or len(boxes_of(image, GOALS, LEAST["homes"])[0].labels):
                mine.append((k, image))
        found += mine
    return frames(found, GOALS, LEAST["homes"])


def view(engine: EmbodiaEngine, home: Home, rng: np.random.Generator) -> LabelledImage:
    """Return what an agent sees that stands at a random place and looks in a random direction."""
    place = home.pathfinder.get_random_navigable_point(rng) + np.array([0, CAMERA.above_feet, 0])
    half = rng.uniform(-np.pi, np.pi) / 2
    pose = camera_matrices(place[None], np.array([[0, np.sin(half), 0, np.cos(half)]]))
    return labelled_images(engine, [home], CAMERA, pose)[0]


def roads(drives: int, first: int, every: int, per_drive: int, split: Split, worlds: int = 4) -> Frames:
    """Return camera images of experts' drives: `per_drive` frames each, every few steps, drives one after another."""
    found: list[tuple[int, LabelledImage]] = []
    height, width = SIZE
    env: Any = gymnasium.make_vec(
        "embodia/Driving-v0", num_envs=worlds, split=split, camera_height=height, camera_width=width
    ).unwrapped
    for start in range(first, first + drives, worlds):
        env.reset(seed=list(range(start, start + worlds)))
        for step in range(every * (per_drive - 1) + 1):
            if step % every == 0:
                found += list(zip(range(start, start + worlds), env.labels()))
            env.step(env.expert_action())
    env.close()
    ordered = sorted(found, key=lambda each: each[0])
    return frames(ordered[: drives * per_drive], ROAD_USERS, LEAST["roads"])


def frames(found: Sequence[tuple[int, LabelledImage]], categories: Sequence[str], least: int) -> Frames:
    pairs = [boxes_of(image, categories, least) for _, image in found]
    return Frames(
        images=np.stack([image.rgb for _, image in found]),
        truth=[truth for truth, _ in pairs],
        ids=[ids for _, ids in pairs],
        sequence=np.array([number for number, _ in found]),
        depth=np.stack([image.depth for _, image in found]).astype(np.float16),
        intrinsics=found[0][1].intrinsics,
    )


def boxes_of(image: LabelledImage, categories: Sequence[str], least: int) -> tuple[Boxes, Array]:
    """Return the boxes of the visible objects of some categories, and their ids; small ones count as crowds."""
    chosen = [k for k, each in enumerate(image.visible) if each.category in categories]
    labels = np.array([categories.index(image.visible[k].category) for k in chosen], np.int64)
    ids = np.array([image.visible[k].semantic_id for k in chosen], np.int64)
    return Boxes(image.boxes[chosen].astype(np.float32), labels, image.areas[chosen] < least), ids

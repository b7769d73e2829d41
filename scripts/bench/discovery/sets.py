"""Images with instance masks from the simulators, stored on disk: home frames, and roads from above."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
from numpy.typing import NDArray

import embodia  # noqa: F401  (registers the homes)
from embodia.envs import Split
from embodia.envs.driving.generator.generate import generate_scenario
from embodia.envs.driving.map.geometry import box_corners
from embodia.envs.driving.pictures.render import GROUND, WALKWAY, BirdsEye, View
from embodia.envs.driving.vehicle.bicycle import ego_boxes
from embodia.perception.pictures.scenes import OVERLAP, Scenes

STRUCTURE = {"wall", "floor", "ceiling", "baseboard", "door frame"}
"""Categories that are not objects. Doors and windows are objects, as in ADE20K."""
LEAST = {"homes": 0.01, "roads": 0.01}
"""Smallest share of the image that an object fills. Smaller ones are ignored by the scores."""
LARGEST = (0.05, 0.4)
"""Range of the share of a home frame that its largest object fills: a bare wall or a close cupboard has no objects."""
STRIDE = 12
"""Steps of the expert between two frames of a home."""
VIEW = View(192, 192, metres=32.0)
WINDOW = 96
"""Side of a road image [pixels], 16 m: a car has about 29 x 12 pixels, or 7 x 3 patches of 4 x 4."""
ROAD = 0.9
"""Minimum share of road and vehicles: otherwise a cut by appearance finds the grass or the pavement."""
BESIDE = np.array([GROUND, WALKWAY])


def kept(path: Path, make: Callable[[], Scenes]) -> Scenes:
    """Read the set from `path` (.npz); make and store it if the file does not exist."""
    if path.exists():
        with np.load(path) as found:
            return Scenes(found["images"], found["labels"])
    scenes = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new.npz")
    np.savez_compressed(aside, images=scenes.images, labels=scenes.labels)
    aside.replace(path)
    return scenes


def instances(ids: NDArray[np.int64], objects: NDArray[np.int64], least: float) -> NDArray[np.int64]:
    """Labels (H, W) from 1 on for those of `objects` that fill at least this share; OVERLAP for smaller ones."""
    labels, number = np.zeros(ids.shape, np.int64), 0
    for name in np.intersect1d(ids, objects):
        here = ids == name
        large = here.mean() >= least
        number += large
        labels[here] = number if large else OVERLAP
    return labels


def home_frames(n: int, split: Split, size: int, worlds: int = 8) -> Scenes:
    """Return n frames (size, size, 3) of experts' walks through homes, with the largest object within LARGEST."""
    env: Any = gymnasium.make_vec(
        "embodia/PointNav-v0", num_envs=worlds, sensors=("rgb", "semantic"), width=size, height=size, split=split
    ).unwrapped
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    observation, _ = env.reset(seed=0)
    step = 0
    while len(images) < n:
        if step % STRIDE == 0:
            for i in range(worlds):
                things = [t.semantic_id for t in env.homes[i].objects if t.category not in STRUCTURE]
                ids = observation["semantic"][i, ..., 0].astype(np.int64)
                label = instances(ids, np.array(things), LEAST["homes"])
                largest = np.bincount(label[label > 0], minlength=2).max() / label.size
                if LARGEST[0] <= largest <= LARGEST[1]:
                    images.append(observation["rgb"][i])
                    labels.append(label)
        observation, *_ = env.step(env.expert_action())
        step += 1
    env.close()
    return Scenes(np.stack(images[:n]), np.stack(labels[:n]))


def road_pictures(n: int, split: Split, per_scenario: int = 8, tries: int = 12) -> Scenes:
    """Return n images (WINDOW, WINDOW, 3) of roads from above, cropped at random from larger ones.

    Every road user, including the ego vehicle, is an object. At least one lies completely inside.
    """
    rng = np.random.default_rng(0)
    images: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    seed = 0
    while len(images) < n:
        scenario = generate_scenario(seed, split=split)
        seed += 1
        frames = scenario.ego[scenario.iterations]
        painter = BirdsEye(scenario.map, frames, view=VIEW)
        for k in np.linspace(0, len(frames) - 1, per_scenario).astype(int):
            tracks = scenario.tracks_at(int(k))
            boxes = np.concatenate([tracks.boxes, ego_boxes(frames[k])[None]])
            ids, names = drawn(boxes, VIEW.transform(frames[k]))
            picture = painter.draw(frames[k], tracks, scenario.lights_at(int(k)))
            for row, column in rng.integers(0, (VIEW.height - WINDOW + 1, VIEW.width - WINDOW + 1), (tries, 2)):
                window = (slice(row, row + WINDOW), slice(column, column + WINDOW))
                label = instances(ids[window], names, LEAST["roads"])
                if road_share(picture[window]) >= ROAD and any_whole(label):
                    images.append(picture[window])
                    labels.append(label)
                    break
    return Scenes(np.stack(images[:n]), np.stack(labels[:n]))


def road_share(picture: NDArray[np.uint8]) -> float:
    """Share of the image (H, W, 3) without the colours beside the road."""
    unlike = np.abs(picture[..., None, :].astype(int) - BESIDE).max(-1).min(-1)
    return float((unlike > 12).mean())


def any_whole(label: NDArray[np.int64]) -> bool:
    """Whether any object of a label map (H, W) touches no border."""
    cut_off = np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]])
    return len(np.setdiff1d(label[label > 0], cut_off)) > 0


def drawn(boxes: NDArray[np.float64], transform: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a map (H, W) with ids from 1 on of boxes (n, 5), later ones on top, and the ids."""
    canvas = np.zeros((VIEW.height, VIEW.width), np.int32)
    corners = box_corners(boxes) @ transform[:, :2].T + transform[:, 2]
    for number, polygon in enumerate(corners, start=1):
        cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], number)
    return canvas.astype(np.int64), np.arange(1, len(boxes) + 1)

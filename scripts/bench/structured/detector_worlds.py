"""The one-stage detector in homes and on roads that it never saw, and joint inference over its boxes in homes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from embodia.perception.structured.detection import Array, Boxes, Detections
from embodia.perception.structured.detection.boxes import pairwise_iou
from embodia.perception.structured.detection.joint_inference import (
    co_occurrence,
    exclusion,
    joint_inference,
    places,
)
from embodia.perception.structured.detection.mean_average_precision import MeanAveragePrecision
from embodia.perception.structured.detection.nms import nms
from embodia.perception.structured.detection.yolo import YOLO, YOLOConfig
from embodia.scripts.assembly.detectors import image_space
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.structured import frames
from embodia.scripts.bench.structured.frames import GOALS, ROAD_USERS, Frames
from embodia.scripts.bench.structured.training import RECIPE, Batches, judged, predicted, score_row, speed, trained
from embodia.scripts.report.box_picture import drawn

TRAINING = replace(RECIPE, steps=1_500, batch_size=16)
TRACKED = 1
"""Steps between two frames of the test drives, which are also tracked."""
CANDIDATES = 0.8
"""Largest IoU of two candidates of joint inference."""
SHARE = 0.9
"""Doubles are counted at this share of the recall that suppression reaches."""
SHOWN = 0.3
"""Smallest score of the boxes in pictures."""


@dataclass(frozen=True)
class World:
    """Frames of one kind of world."""

    name: str
    categories: tuple[str, ...]
    train: Frames
    test: Frames


def homes(options: Structured) -> World:
    """Return frames of training homes and of test homes, rendered if they are not yet."""
    folder, small = options.folder(), options.smoke
    train = frames.kept(folder / "homes-train.npz", partial(frames.homes, *((2, 4) if small else (100, 30)), "train"))
    test = frames.kept(folder / "homes-test.npz", partial(frames.homes, *((1, 4) if small else (30, 12)), "test"))
    return World("homes", GOALS, train, test)


def roads(options: Structured) -> World:
    """Return frames of training drives, and sequences of test drives."""
    folder, small = options.folder(), options.smoke
    sizes = ((4, 0, 2, 1), (4, 0, TRACKED, 3)) if small else ((60, 0, 8, 15), (12, 0, TRACKED, 40))
    train = frames.kept(folder / "roads-train.npz", partial(frames.roads, *sizes[0], "train"))
    test = frames.kept(folder / "roads-test.npz", partial(frames.roads, *sizes[1], "test"))
    return World("roads", ROAD_USERS, train, test)


def detector(options: Structured, world: World, seed: int) -> YOLO:
    """Return the detector of a world, trained if it is not yet."""
    config = replace(TRAINING, steps=2 if options.smoke else TRAINING.steps, seed=seed)
    space = image_space(frames.SIZE)
    data = Batches(world.train.images, world.train.truth, seed)
    where = options.folder() / f"{world.name}-{seed}"
    return trained(lambda: YOLO(space, world.categories, YOLOConfig(lowest=0.02)), data, config, where)


def home_rows(options: Structured) -> list[Row]:
    """Scores in unseen homes, their speed, and doubles with and without joint inference."""
    lines = detected(options, homes(options), options.seeds, joint)
    by_category = [
        score_row(category, "mAP50", [line["by class"][k] for line in lines]) for k, category in enumerate(GOALS)
    ]
    unit = "double detections per 100 objects"
    doubles = score_row("NMS", unit, [line["doubles NMS"] for line in lines])
    suppressed = score_row("NMS", "mAP50", [line["AP50"] for line in lines])
    return [
        *scores("detector homes", lines, by_category),
        score_row("joint inference", unit, [line["doubles joint"] for line in lines], controls=[doubles]),
        score_row("joint inference", "recall", [line["recall"] for line in lines]),
        score_row("joint inference", "mAP50", [line["joint AP50"] for line in lines], controls=[suppressed]),
    ]


def road_rows(options: Structured) -> list[Row]:
    return scores("detector roads", detected(options, roads(options), options.seeds))


def scores(name: str, lines: Sequence[Line], controls: Sequence[Row] = ()) -> list[Row]:
    draws = [line["draws"] for line in lines]
    return [
        score_row(name, "mAP50", [line["AP50"] for line in lines], draws, minutes(lines), controls),
        score_row(name, "mAP75", [line["AP75"] for line in lines]),
        score_row(name, "images per CPU second, one at a time", [line["speed"] for line in lines]),
    ]


def detected(
    options: Structured, world: World, seeds: int, more: Callable[[World, YOLO], Line] | None = None
) -> list[Line]:
    """Train, evaluate and draw the detectors that are not finished; return the line of each seed."""
    jobs = [(f"{world.name}, seed {seed}", partial(one, options, world, seed, more)) for seed in range(seeds)]
    return by_seed(once(options.folder() / f"{world.name}.jsonl", jobs))[world.name]


def one(options: Structured, world: World, seed: int, more: Callable[[World, YOLO], Line] | None) -> Line:
    model = detector(options, world, seed)
    found = predicted(model, world.test.images)
    line = judged(found, world.test.truth, len(world.categories))
    line["by class"] = MeanAveragePrecision(found, world.test.truth, len(world.categories)).by_class()
    draw(options.folder() / f"{world.name}-boxes.png", world, found)
    return line | {"speed": speed(model, world.test.images)} | (more(world, model) if more else {})


# Joint inference --------------------------------------------------------------------------------------------------


def joint(world: World, model: YOLO) -> Line:
    """Doubles of suppression and of joint inference over the same candidates, at the same recall."""
    model.config = replace(model.config, overlap=CANDIDATES)
    candidates = predicted(model, world.test.images)
    together = co_occurrence(world.train.truth, len(world.categories))
    suppressed = [kept(each) for each in candidates]
    joined = [
        joint_inference(each, exclusion(places(each.boxes, depth.astype(float), world.test.intrinsics)), together)
        for each, depth in zip(candidates, world.test.depth)
    ]
    counts = [counted(found, world.test.truth) for found in (suppressed, joined)]
    recall = SHARE * min(right.sum() / total for _, right, _, total in counts)
    numbers = judged(joined, world.test.truth, len(world.categories), "joint ")
    return {
        "recall": recall,
        "doubles NMS": doubles_at(recall, *counts[0]),
        "doubles joint": doubles_at(recall, *counts[1]),
        "joint AP50": numbers["joint AP50"],
    }


def kept(found: Detections, threshold: float = 0.5) -> Detections:
    """Return the detections that remain after suppression within each class."""
    chosen = nms(found.boxes, found.scores, threshold, found.labels)
    return Detections(*(column[chosen] for column in found))


def counted(found: Sequence[Detections], truth: Sequence[Boxes]) -> tuple[Array, Array, Array, int]:
    """Return scores (n,), which detections are right (n,) and which are doubles (n,), and the number of objects.

    A detection is right if it is the best one of an object of any class with an IoU of 0.5, and a double if at least
    half of it lies inside an object that a better detection has found.
    """
    scores, right, double = [], [], []
    for each, there in zip(found, truth):
        overlaps = pairwise_iou(each.boxes, there.boxes)
        inside = covered(each.boxes, there.boxes)
        taken = np.zeros(len(there.boxes), bool)
        for k in range(len(each.scores)):
            free = np.where(taken | there.crowd, 0.0, overlaps[k])
            hit = len(free) > 0 and free.max() >= 0.5
            double.append(bool(not hit and (taken & (inside[k] >= 0.5)).any()))
            right.append(bool(hit))
            if hit:
                taken[free.argmax()] = True
        scores.append(each.scores)
    total = sum(int((~there.crowd).sum()) for there in truth)
    return np.concatenate(scores), np.array(right), np.array(double), total


def covered(boxes: Array, others: Array) -> Array:
    """Return the share (n, m) of each box (n, 4) that lies inside each other box (m, 4)."""
    size = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return size.clip(0).prod(-1) / np.maximum(area, 1e-9)[:, None]


def doubles_at(recall: float, scores: Array, right: Array, double: Array, total: int) -> float:
    """Return the doubles per 100 objects among the best detections that reach a recall."""
    order = np.argsort(-scores, kind="stable")
    reached = np.cumsum(right[order]) / total
    last = int(np.searchsorted(reached, recall))
    return 100 * float(double[order][: last + 1].sum()) / total


# Pictures ---------------------------------------------------------------------------------------------------------


def draw(path: Path, world: World, found: Sequence[Detections], rows: int = 4, columns: int = 2) -> None:
    """Write test images with true boxes on the left and predicted ones on the right."""
    busy = [i for i, each in enumerate(world.test.truth) if (~each.crowd).sum() >= 2]
    chosen = [busy[i] for i in np.linspace(0, len(busy) - 1, rows * columns).astype(int)] if busy else [0]
    pairs = [beside(world, found, i) for i in chosen]
    wide = [np.concatenate(pairs[i : i + columns], 1) for i in range(0, len(pairs), columns)]
    cv2.imwrite(str(path), np.concatenate([line for line in wide if line.shape == wide[0].shape])[..., ::-1])


def beside(world: World, found: Sequence[Detections], i: int) -> Any:
    truth, each = world.test.truth[i], found[i]
    true = ~truth.crowd
    names = [world.categories[label] for label in truth.labels[true]]
    left = drawn(world.test.images[i], truth.boxes[true], names, truth.labels[true].tolist())
    sure = each.scores >= SHOWN
    words = [f"{world.categories[k]} {score:.2f}" for k, score in zip(each.labels[sure], each.scores[sure])]
    right = drawn(world.test.images[i], each.boxes[sure], words, each.labels[sure].tolist())
    return np.pad(np.concatenate([left, right], 1), ((0, 6), (0, 6), (0, 0)), constant_values=255)

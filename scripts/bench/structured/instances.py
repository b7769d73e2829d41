"""Recurrent instance segmentation of procedural plants, beside connected components and a network without canvas."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.pictures.rosettes import rosettes
from embodia.perception.pictures.scenes import Scenes
from embodia.perception.scores.segmentation_scores import count_difference, symmetric_best_dice
from embodia.perception.structured.segmentation.recurrent_instances import RecurrentInstances
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.report import mask_picture

TRAINING = FitConfig(steps=800, batch_size=16, learning_rate=3e-3, warmup=50, clip=1.0, device="cpu")
NAMES = ("soil", "leaf")
LEAVES = (3, 10)
SBD, DIC = "SBD", "|DiC|"
PIECE = 50


def rows(options: Structured) -> list[Row]:
    ours, blind, parts = "recurrent instances", "without canvas", "connected components"
    jobs = [
        (f"{name}, seed {seed}", partial(segmented, seed, canvas, options.smoke, options.folder()))
        for seed in range(options.seeds)
        for name, canvas in ((ours, True), (blind, False))
    ]
    jobs += [(f"{parts}, seed {seed}", partial(components, seed, options.smoke)) for seed in range(options.seeds)]
    lines = by_seed(once(options.folder() / "instances.jsonl", jobs))

    def of(name: str, unit: str, **more: Any) -> Row:
        return row(name, [line[unit] for line in lines[name]], unit, cpu_minutes=minutes(lines[name]), **more)

    return [of(ours, unit, controls=[of(blind, unit), of(parts, unit)]) for unit in (SBD, DIC)]


def sets(seed: int, smoke: bool) -> tuple[Scenes, Scenes]:
    """Return training and test images."""
    return rosettes(100 if smoke else 3000, seed), rosettes(10 if smoke else 200, 1000 + seed)


def segmented(seed: int, canvas: bool, smoke: bool, out: Path) -> Line:
    train, test = sets(seed, smoke)
    config = FitConfig(steps=2, batch_size=4, device="cpu") if smoke else TRAINING
    torch.manual_seed(seed)
    model = RecurrentInstances(train.space(), NAMES, most=12, steps=config.steps, canvas=canvas)
    fit(model, RandomBatches(batches(train), seed), config, logger=Logger(console=False))
    pieces = [torch.from_numpy(test.images[i : i + PIECE]) for i in range(0, len(test.images), PIECE)]
    found = np.concatenate([model({"image": each}).instances.numpy() for each in pieces])
    scored = scores(test.labels, found)
    title = f"{'with' if canvas else 'without'} canvas: SBD {np.mean(scored[SBD]):.2f}"
    mask_picture.write(out / f"instances-{'canvas' if canvas else 'blind'}-{seed}.png", test, found, title)
    return scored


def components(seed: int, smoke: bool) -> Line:
    """Connected parts of the true foreground, the best that can be done without instances."""
    test = sets(seed, smoke)[1]
    return scores(test.labels, np.stack([ndimage.label(labels > 0)[0] for labels in test.labels]))


def scores(true: Any, found: Any) -> Line:
    pairs = list(zip(true, found))
    return {SBD: [symmetric_best_dice(*each) for each in pairs], DIC: [abs(count_difference(*each)) for each in pairs]}


def batches(scenes: Scenes) -> Callable[[np.random.Generator, int], dict[str, Any]]:
    """Batches of images with the same number of leaves, which take the same number of steps, turned and mirrored."""
    counts = scenes.labels.max((1, 2))
    groups = [np.flatnonzero(counts == count) for count in range(LEAVES[0], LEAVES[1] + 1)]

    def draw(rng: np.random.Generator, n: int) -> dict[str, Any]:
        i = rng.choice(groups[rng.integers(len(groups))], n)
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        images, labels = (np.rot90(each[i], turns, (1, 2)) for each in (scenes.images, scenes.labels))
        if mirrored:
            images, labels = images[:, :, ::-1], labels[:, :, ::-1]
        instances = torch.from_numpy(labels.copy())
        obs = {"image": torch.from_numpy(images.copy())}
        return {"obs": obs, "instances": instances, "labels": (instances > 0).long()}

    return draw

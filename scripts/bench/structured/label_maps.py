"""Dense CRFs on noisy labels, and CRFs trained end to end beside fixed ones, at several amounts of data."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.pictures.noisy_regions import corrupted, noisy_regions
from embodia.perception.pictures.scenes import Scenes
from embodia.perception.scores.segmentation_scores import boundary_band, class_iou, pixel_accuracy
from embodia.perception.structured.segmentation.crf_rnn import CRFRNN
from embodia.perception.structured.segmentation.dense_crf import (
    DenseCRFConfig,
    as_matrix,
    filters,
    potts,
    refine,
    sequential_mean_field,
    weighted,
)
from embodia.perception.structured.segmentation.pixel_segmenter import PixelSegmenter, fcn
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.report import mask_picture

CLASSES = 3
NAMES = tuple(f"region {k}" for k in range(CLASSES))
ACCURACY, BAND, IOU = "accuracy", "accuracy at borders", "mean IoU"


def channels_first(scenes: Scenes) -> Tensor:
    """Return the images (n, 3, H, W) of -0.5 to 0.5."""
    return torch.from_numpy(scenes.images).permute(0, 3, 1, 2).float() / 255 - 0.5


# Noisy labels ----------------------------------------------------------------------------------------------------


def crf_rows(options: Structured) -> list[Row]:
    """Accuracy after mean field on noisy labels: exact kernels, the lattice, and sequential updates."""
    images = 2 if options.smoke else 20
    jobs = [(f"crf, seed {seed}", partial(repaired, seed, images, options.folder())) for seed in range(options.seeds)]
    lines = by_seed(once(options.folder() / "crf.jsonl", jobs))["crf"]
    used = minutes(lines)

    def of(name: str, unit: str, controls: Sequence[Row] = ()) -> Row:
        return row(name, [line[f"{name}, {unit}"] for line in lines], unit, cpu_minutes=used, controls=controls)

    others = ("before", "permutohedral lattice", "sequential")
    found = [of("crf", unit, [of(name, unit) for name in others]) for unit in (ACCURACY, BAND)]
    same = [of("crf", "same labels as exact mean field")]
    rises = [of("crf", "largest rise of the free energy [nats]")]
    return found + same + rises


def repaired(seed: int, n: int, out: Path) -> Line:
    scenes = noisy_regions(n, seed)
    noisy = torch.from_numpy(corrupted(scenes.labels, CLASSES, seed + 1000)).permute(0, 3, 1, 2).float().log()
    images, config, bands = channels_first(scenes), DenseCRFConfig(), boundary_band(scenes.labels)
    exact, fast = (
        np.concatenate([refine(noisy[i : i + 1], images[i : i + 1], config, each).argmax(1) for i in range(n)])
        for each in (False, True)
    )
    sequential, rises = [], []
    for image, each in zip(images[:2].double(), noisy[:2].double()):
        kernel = as_matrix(weighted(filters(image[None], config, False), config), each[0].numel())
        unary = -each.flatten(1).T.numpy()
        q, path = sequential_mean_field(unary, kernel, potts(CLASSES).numpy(), config.iterations)
        sequential.append(q.argmax(1).reshape(each.shape[1:]))
        rises.append(float(np.diff(path).max()))
    found: Line = {"crf, largest rise of the free energy [nats]": rises}
    found["crf, same labels as exact mean field"] = per_image(exact, fast)
    labels = {"before": noisy.argmax(1).numpy(), "crf": exact, "permutohedral lattice": fast,
              "sequential": np.stack(sequential)}  # fmt: skip
    shown = Scenes(scenes.images, scenes.labels + 1)
    for name in ("before", "crf"):
        title = f"{name}: accuracy {pixel_accuracy(scenes.labels, labels[name]):.3f}"
        mask_picture.write(out / f"crf-{name}-{seed}.png", shown, labels[name] + 1, title, 3)
    for name, each in labels.items():
        found[f"{name}, {ACCURACY}"] = per_image(scenes.labels, each)
        found[f"{name}, {BAND}"] = per_image(scenes.labels, each, bands)
    return found


def per_image(truth: Any, found: Any, where: Any = None) -> list[float]:
    whole = np.ones(truth.shape, bool) if where is None else where
    return [pixel_accuracy(*each) for each in zip(truth, found, whole)]


# End to end --------------------------------------------------------------------------------------------------------

SIZE, NOISE, STRIPES = 24, 0.1, 0.11
AMOUNTS = (400, 120, 40)
TRAINING = FitConfig(steps=600, batch_size=16, learning_rate=3e-3, warmup=20, clip=1.0, device="cpu")
END_TO_END = replace(TRAINING, steps=250, learning_rate=2e-3, eval_every=25)
GRID = [
    DenseCRFConfig(appearance_weight=a, smoothness_weight=b, colour_sigma=c)
    for a, b, c in product((1, 2, 4, 8), (0, 1), (0.15, 0.3))
]
METHODS = ("network", "network, longer", "fixed crf", "crf-rnn")


def rnn_rows(options: Structured) -> list[Row]:
    """Mean IoU of a network, of a fixed CRF after it, and of both trained end to end, at several amounts of data."""
    jobs = [
        (f"{amount} images, seed {seed}", partial(end_to_end, seed, amount, options.smoke))
        for seed in range(options.seeds)
        for amount in AMOUNTS
    ]
    lines = by_seed(once(options.folder() / "crf-rnn.jsonl", jobs))
    found = []
    for amount in AMOUNTS:
        part = lines[f"{amount} images"]

        def of(method: str, part: Sequence[Line] = part) -> list[list[float]]:
            return [[line[method]] for line in part]

        share = f"{100 * amount // AMOUNTS[0]} % of the data"
        controls = [row(method, of(method), IOU) for method in METHODS[:-1]]
        found.append(row(f"crf-rnn, {share}", of("crf-rnn"), IOU, controls=controls, cpu_minutes=minutes(part)))
    return found


def end_to_end(seed: int, amount: int, smoke: bool) -> Line:
    """Train an FCN; tune a fixed CRF for it on validation images; train both together from there.

    The second training, of both or of the network alone, is stopped early by the same validation images.
    """
    steps = 2 if smoke else None
    train, val, test = (
        noisy_regions(n, s, SIZE, CLASSES, NOISE, STRIPES)
        for n, s in ((amount, seed), (20 if smoke else 40, 900 + seed), (20 if smoke else 200, 800 + seed))
    )
    torch.manual_seed(seed)
    plain = fcn(train.space(), NAMES)
    trained(plain, train, TRAINING, seed, steps)
    config = tuned(plain, val, GRID[:1] if smoke else GRID)
    both = PixelSegmenter(train.space(), NAMES, deepcopy(plain.network), CRFRNN(CLASSES, config, fast=True))
    longer = PixelSegmenter(train.space(), NAMES, deepcopy(plain.network))
    for model in (both, longer):
        stopped_early(model, train, val, seed + 1, steps)
    images = channels_first(test)
    with torch.no_grad():
        return {
            "network": iou(plain.logits(images), test),
            "network, longer": iou(longer.logits(images), test),
            "fixed crf": iou(refine(plain.logits(images), images, config, True), test),
            "crf-rnn": iou(both.logits(images), test),
        }


def trained(model: PixelSegmenter, scenes: Scenes, config: FitConfig, seed: int, steps: int | None) -> None:
    config = replace(config, steps=steps or config.steps)
    fit(model, RandomBatches(batches(scenes), seed), config, logger=Logger(console=False))


def stopped_early(model: PixelSegmenter, scenes: Scenes, val: Scenes, seed: int, steps: int | None) -> None:
    """Train a model further; leave it with the weights, first or later, of the highest IoU on validation images."""
    images, best, kept = channels_first(val), -1.0, {}

    def judged() -> dict[str, float]:
        nonlocal best, kept
        with torch.no_grad():
            now = iou(model.eval().logits(images), val)
        if now > best:
            best, kept = now, deepcopy(model.state_dict())
        return {"iou": now}

    judged()
    config = replace(END_TO_END, steps=steps or END_TO_END.steps)
    fit(model, RandomBatches(batches(scenes), seed), config, logger=Logger(console=False), evaluate=judged)
    model.load_state_dict(kept)


def batches(scenes: Scenes) -> Callable[[np.random.Generator, int], dict[str, Any]]:
    """Batches of images changed in ways that keep the labels: colours exchanged or inverted, half a turn."""

    def draw(rng: np.random.Generator, n: int) -> dict[str, Any]:
        i = rng.integers(len(scenes.images), size=n)
        images, labels = scenes.images[i][..., rng.permutation(3)], scenes.labels[i]
        if rng.integers(2):
            images = 255 - images
        if rng.integers(2):
            images, labels = images[:, ::-1, ::-1].copy(), labels[:, ::-1, ::-1].copy()
        return {"obs": {"image": torch.from_numpy(images)}, "labels": torch.from_numpy(labels)}

    return draw


@torch.no_grad()
def tuned(model: PixelSegmenter, val: Scenes, grid: Sequence[DenseCRFConfig]) -> DenseCRFConfig:
    """Return the kernels and weights of the highest IoU on validation images."""
    images = channels_first(val)
    logits = model.logits(images)
    return max(grid, key=lambda config: iou(refine(logits, images, config, True), val))


def iou(logits: Tensor, scenes: Scenes) -> float:
    return float(np.nanmean(class_iou(scenes.labels, logits.argmax(1).numpy(), CLASSES)))

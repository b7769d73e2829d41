"""Training, prediction and rows that the parts of this bench share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.perception.structured.detection import Array, Boxes, Detections, Detector
from embodia.perception.structured.detection.mean_average_precision import MeanAveragePrecision
from embodia.scripts.assembly.detectors import KEY
from embodia.scripts.bench.harness.once import Line
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import rate
from embodia.scripts.data.labelled import padded, turned

Model = TypeVar("Model", bound=torch.nn.Module)
RECIPE = FitConfig(steps=2_500, batch_size=32, learning_rate=3e-3, weight_decay=1e-2, log_every=100, device="cpu")
DRAWS = 200
"""Resamplings of the test images for intervals."""


class Batches:
    """Random batches of labelled images, half of them mirrored. All images stay in memory.

    Args:
        images: (n, H, W, 3) uint8.
        truth: annotations of each image.
        seed: seed of all batches.
        mirror: whether to mirror images.
        rotate: whether to turn square images by a random number of right angles.
    """

    def __init__(self, images: Array, truth: Sequence[Boxes], seed: int, mirror: bool = True, rotate: bool = False):
        self.pairs = list(zip(images, truth))
        self.mirror, self.rotate, self.rng = mirror, rotate, np.random.default_rng(seed)

    def batch(self, n: int) -> dict[str, Any]:
        chosen = [self.pairs[i] for i in self.rng.integers(len(self.pairs), size=n)]
        if self.rotate:
            chosen = [
                rotated(pair[0], pair[1], int(times)) for pair, times in zip(chosen, self.rng.integers(4, size=n))
            ]
        mirrored = self.rng.uniform(size=n) < (0.5 if self.mirror else 0.0)
        return padded([turned(*pair) if turn else pair for pair, turn in zip(chosen, mirrored)])

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


def rotated(picture: Array, truth: Boxes, times: int) -> tuple[Array, Boxes]:
    """Turn a square image and its boxes by right angles to the left."""
    boxes, side = truth.boxes, len(picture)
    for _ in range(times):
        left, top, right, bottom = boxes.T
        boxes = np.stack([top, side - right, bottom, side - left], 1)
    return np.rot90(picture, times), truth._replace(boxes=boxes)


def trained(make: Callable[[], Model], data: Any, config: FitConfig, folder: Path) -> Model:
    """Build and train a learner, resuming from `folder`. Raises KeyboardInterrupt if training was stopped."""
    torch.manual_seed(config.seed)
    model = make()
    with Logger(folder, tensorboard=False) as logger:
        now = fit(model, data, config, folder, logger=logger, resume=True)
    if now.updates < config.steps:
        raise KeyboardInterrupt
    return model.eval()


def predicted(model: Detector | Callable[..., list[Detections]], images: Array, piece: int = 25) -> list[Detections]:
    """Return the detections of images (n, H, W, 3)."""
    pieces = range(0, len(images), piece)
    return [each for i in pieces for each in model({KEY: torch.from_numpy(images[i : i + piece])})]


def judged(found: Sequence[Detections], truth: Sequence[Boxes], classes: int, name: str = "") -> Line:
    """Return AP50, AP75 and AP, and AP50 of resampled test images, as entries of a line."""
    scores = MeanAveragePrecision(found, truth, classes)
    numbers = {f"{name}{key}": value for key, value in scores.scores().items() if key in ("AP50", "AP75", "AP")}
    return numbers | {f"{name}draws": np.round(scores.resampled(0.5, DRAWS), 5).tolist()}


def score_row(
    name: str,
    unit: str,
    values: Sequence[float],
    draws: Sequence[Sequence[float]] | None = None,
    cpu_minutes: float | None = None,
    controls: Sequence[Row] = (),
) -> Row:
    """Make a row of one value per seed; its interval is over resampled test images, or else the range of seeds.

    Args:
        name, unit, cpu_minutes, controls: entries of the row.
        values: the value of each seed.
        draws: for each seed, the values of resampled test images, the same resamplings for all.
    """
    mean = float(np.mean(values))
    low, high = np.quantile(np.mean(draws, 0), [0.025, 0.975]) if draws is not None else (min(values), max(values))
    low, high = min(float(low), mean), max(float(high), mean)
    return Row(name, mean, low, high, len(values), None, cpu_minutes, tuple(controls), unit, tuple(map(float, values)))


def speed(model: Detector, images: Array) -> float:
    """Return the images per CPU second, one image at a time, from pixels to detections."""
    torch.set_num_threads(1)
    single = [{KEY: torch.from_numpy(image[None])} for image in images[:200]]

    def work() -> int:
        for each in single:
            model(each)
        return len(single)

    work()
    return rate(work).cpu

"""Detectors on images of shapes: the one-stage detector, DiffusionDet, and two older designs as controls."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from embodia.perception.pictures.shape_scenes import NAMES, ShapeScenes, shape_scenes
from embodia.perception.structured.detection import Detector
from embodia.perception.structured.detection.diffusion_det import DiffusionDet, DiffusionDetConfig
from embodia.perception.structured.detection.sliding_window import SlidingWindowDetector
from embodia.perception.structured.detection.two_stage import TwoStageDetector
from embodia.perception.structured.detection.yolo import YOLO
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.structured.training import RECIPE, Batches, judged, predicted, score_row, speed, trained

TEST = 1_000_000
"""Seed of the test images."""
STEPS = {"one-stage": 5_000, "two-stage": 700, "sliding window": 200, "diffusiondet": 2_500}
"""Number of updates. The controls learn with fewer, which take as long."""
DIFFUSION = DiffusionDetConfig(stride=8, heads=2, pooled=4, train_boxes=24, boxes=24)
SETTINGS = {"1 step": (1, 24), "4 steps": (4, 24), "1 step, 8 boxes": (1, 8), "1 step, 96 boxes": (1, 96)}
"""Number of sampling steps and of boxes with which the same weights are evaluated."""


@dataclass(frozen=True)
class Shapes:
    """Training and test images, and the sizes of the measurement."""

    train: ShapeScenes
    test: ShapeScenes
    smoke: bool

    def steps(self, name: str) -> int:
        return 2 if self.smoke else STEPS[name]


def rows(options: Structured) -> list[Row]:
    """Train every detector that is not trained yet, and return the rows."""
    folder = options.folder()
    count = (20, 6) if options.smoke else (5_000, 500)
    shapes = Shapes(shape_scenes(count[0], 0), shape_scenes(count[1], TEST), options.smoke)
    jobs: list[tuple[str, Callable[[], Line]]] = []
    for seed in range(options.seeds):
        jobs.append((f"one-stage, seed {seed}", partial(one_stage, shapes, folder, seed)))
        jobs.append((f"diffusiondet, seed {seed}", partial(diffusion, shapes, folder, seed)))
    for name, make in (("two-stage", TwoStageDetector), ("sliding window", SlidingWindowDetector)):
        jobs.append((f"{name}, seed 0", partial(control, shapes, folder, name, make)))
    lines = by_seed(once(folder / "shapes.jsonl", jobs))
    return [*detector_rows(lines), *diffusion_rows(lines)]


def detector_rows(lines: dict[str, list[Line]]) -> list[Row]:
    made = []
    for score, unit in (("AP50", "mAP50"), ("AP75", "mAP75"), ("AP", "mAP")):
        controls = [score_row(name, unit, [lines[name][0][score]]) for name in ("two-stage", "sliding window")]
        made.append(scored("detector shapes", unit, lines["one-stage"], score, controls))
    speeds = [line["speed"] for line in lines["one-stage"]]
    return [*made, score_row("detector shapes", "images per CPU second, one at a time", speeds)]


def diffusion_rows(lines: dict[str, list[Line]]) -> list[Row]:
    """Scores of DiffusionDet, and paired differences: steps, boxes, and the one-stage detector of the same seed."""
    own = lines["diffusiondet"]
    controls = [scored(name, "mAP50", own, f"{name} AP50") for name in SETTINGS if name != "4 steps"]
    made = [scored("diffusiondet", "mAP50", own, "4 steps AP50", controls)]
    pairs = {
        "4 steps over 1": ("4 steps ", "1 step ", own),
        "96 boxes over 8": ("1 step, 96 boxes ", "1 step, 8 boxes ", own),
        "4 steps over one-stage": ("4 steps ", "", lines["one-stage"]),
    }
    for title, (better, worse, others) in pairs.items():
        values = [a[f"{better}AP50"] - b[f"{worse}AP50"] for a, b in zip(own, others)]
        draws = [np.subtract(a[f"{better}draws"], b[f"{worse}draws"]) for a, b in zip(own, others)]
        made.append(score_row("diffusiondet", f"mAP50, {title}", values, draws))
    return made


def scored(name: str, unit: str, lines: list[Line], score: str, controls: list[Row] | None = None) -> Row:
    """Return the row of a score; mAP50 has its interval over resampled test images."""
    draws = [line[score.replace("AP50", "draws")] for line in lines] if score.endswith("AP50") else None
    return score_row(name, unit, [line[score] for line in lines], draws, minutes(lines), controls or ())


def one_stage(shapes: Shapes, folder: Path, seed: int) -> Line:
    model = yolo(shapes, folder, seed)
    line = judged(predicted(model, shapes.test.images), shapes.test.truth, len(NAMES))
    return line | {"speed": speed(model, shapes.test.images)}


def yolo(shapes: Shapes, folder: Path, seed: int) -> YOLO:
    """Return the one-stage detector of a seed, trained if it is not yet."""
    config = replace(RECIPE, steps=shapes.steps("one-stage"), seed=seed)
    return trained(
        lambda: YOLO(shapes.train.space(), NAMES), batches(shapes, seed), config, folder / f"shapes-one-stage-{seed}"
    )


def diffusion(shapes: Shapes, folder: Path, seed: int) -> Line:
    """Train DiffusionDet, whose features begin with those of the one-stage detector, and evaluate its settings."""
    config = replace(RECIPE, steps=shapes.steps("diffusiondet"), batch_size=16, learning_rate=1e-3, seed=seed)

    def make() -> DiffusionDet:
        model = DiffusionDet(shapes.train.space(), NAMES, DIFFUSION)
        model.features.load_state_dict(yolo(shapes, folder, seed).features.state_dict())
        return model

    model = trained(make, batches(shapes, seed), config, folder / f"shapes-diffusiondet-{seed}")
    line: Line = {}
    for name, (steps, boxes) in SETTINGS.items():
        found = predicted(partial(model.detect, steps=steps, boxes=boxes), shapes.test.images)
        line |= judged(found, shapes.test.truth, len(NAMES), f"{name} ")
    return line


def control(shapes: Shapes, folder: Path, name: str, make: Callable[..., Detector]) -> Line:
    config = replace(RECIPE, steps=shapes.steps(name))
    where = folder / f"shapes-{name.replace(' ', '-')}"
    model = trained(lambda: make(shapes.train.space(), NAMES), batches(shapes, 0), config, where)
    return judged(predicted(model, shapes.test.images), shapes.test.truth, len(NAMES))


def batches(shapes: Shapes, seed: int) -> Batches:
    return Batches(shapes.train.images, shapes.train.truth, seed, rotate=True)

"""A set predictor beside autoregressive ones whose elements come in a sorted or in random order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.perception.encoders.resnet import ResNet
from embodia.perception.pictures.coloured_discs import COLOURS, Discs, coloured_discs
from embodia.perception.scores.set_scores import set_f1
from embodia.perception.structured.sets import Predictor
from embodia.perception.structured.sets.autoregressive import AutoregressivePredictor
from embodia.perception.structured.sets.set_predictor import SetPredictor
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row, row

TRAINING = FitConfig(steps=800, batch_size=32, learning_rate=2e-3, warmup=50, clip=1.0, device="cpu")
MOST, TOLERANCE = 6, 1.5 / 24
METHODS: dict[str, Callable[..., Predictor]] = {
    "set predictor": SetPredictor,
    "autoregressive, sorted": AutoregressivePredictor,
    "autoregressive, random order": partial(AutoregressivePredictor, order="random"),
}
F1, WHOLE = "F1", "share of sets without an error"


def rows(options: Structured) -> list[Row]:
    jobs = [
        (f"{name}, seed {seed}", partial(predicted, make, seed, options.smoke))
        for seed in range(options.seeds)
        for name, make in METHODS.items()
    ]
    lines = by_seed(once(options.folder() / "sets.jsonl", jobs))

    def of(name: str, unit: str) -> Row:
        return row(name, [line[unit] for line in lines[name]], unit, cpu_minutes=minutes(lines[name]))

    first, good, bad = METHODS
    found = [of(first, unit) for unit in (F1, WHOLE)]
    controlled = [(good, unit, [of(bad, unit)]) for unit in (F1, WHOLE)]
    return found + [
        row(name, [line[unit] for line in lines[name]], unit, cpu_minutes=minutes(lines[name]), controls=controls)
        for name, unit, controls in controlled
    ]


def predicted(make: Callable[..., Predictor], seed: int, smoke: bool) -> Line:
    train, test = coloured_discs(100 if smoke else 3000, seed), coloured_discs(20 if smoke else 300, 1000 + seed)
    torch.manual_seed(seed)
    model = make(ResNet(train.space(), 48, 16, (1, 1, 1), tokens="grid"), len(COLOURS), MOST)
    config = TRAINING if not smoke else FitConfig(steps=2, batch_size=8, device="cpu")
    fit(model, RandomBatches(batches(train), seed), config, logger=Logger(console=False))
    found = model({"image": torch.from_numpy(test.images)})
    scores = [
        set_f1((each.labels.numpy(), each.values.numpy()), (label[label >= 0], value[label >= 0]), TOLERANCE)
        for each, label, value in zip(found, test.labels, test.values)
    ]
    return {F1: scores, WHOLE: [float(score == 1) for score in scores]}


def batches(discs: Discs) -> Callable[[np.random.Generator, int], dict[str, Any]]:
    def draw(rng: np.random.Generator, n: int) -> dict[str, Any]:
        i = rng.integers(len(discs.images), size=n)
        obs = {"image": torch.from_numpy(discs.images[i])}
        return {"obs": obs, "labels": torch.from_numpy(discs.labels[i]), "values": torch.from_numpy(discs.values[i])}

    return draw

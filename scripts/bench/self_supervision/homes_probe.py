"""What encoders know about unseen homes: pretrained by augmentation or by time, random, supervised, or pixels alone.

The encoders are trained on walks through training homes. Probes are fitted in one half of the test homes and tested in
the other. Two frames of one walk share their home's colours, and batches hold many homes: by time alone, an encoder
learns to tell homes apart and loses the room, unless the colours of its views are augmented. Every line of
`homes.jsonl` is written as soon as it is done, and its job does not run twice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.envs.homes.walks import Walks, walks
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.self_supervision.augmentation import Augmentation
from embodia.scripts.assembly.image_encoders import image_encoder, picture_space
from embodia.scripts.assembly.kinds import IMAGE_ENCODER, LEARNER
from embodia.scripts.assembly.parts import configured
from embodia.scripts.assembly.self_supervision import PositivesConfig, method
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import HomesProbe
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.self_supervision.home_probe import SCORES, Read, pixels, reader, scores
from embodia.scripts.report.progress import Progress

TRAIN_HOMES, TEST_HOMES, EACH, STEPS = 64, 32, 4, 30  # homes, walks in each, steps per walk
SPACE = picture_space((64, 64, 3))
ENCODER = configured(IMAGE_ENCODER, "conv", dim=128, width=16)
TRAINING = FitConfig(steps=400, batch_size=128, precision="bfloat16", device="cpu")
CHANGES = Augmentation((0.5, 1.0), colour=0.2, brightness=0.15, grey=0.1)
COLOURS = replace(CHANGES, scale=(1.0, 1.0), flip=0.0, blur=0.0, noise=0.0)
VIEWS = {
    "augmentation": PositivesConfig("augmentation", augmentation=CHANGES),
    "temporal": PositivesConfig("temporal", 3),
    "time and colours": PositivesConfig("both", 3, COLOURS),  # time alone tells homes apart by their colours
    "augmentation and time": PositivesConfig("both", 3, CHANGES),
}
METHOD = "vicreg"
CONTROLS = ("PCA-64 of pixels", "random", "temporal")
"""By time alone, without augmented colours, pretraining gains little."""


def measure(options: HomesProbe) -> list[Row]:
    """Probe every encoder, trained first if its line is missing."""
    torch.set_num_threads(1)
    out = options.folder()
    size = (4, 4, 1, 8) if options.smoke else (TRAIN_HOMES, TEST_HOMES, EACH, STEPS)
    walked = [Progress(f"{split} homes", n * size[2], "walks") for split, n in (("train", size[0]), ("test", size[1]))]
    seen = (
        walks("train", size[0], *size[2:], kept=out, tell=walked[0].reach),
        walks("test", size[1], *size[2:], kept=out, tell=walked[1].reach),
    )
    training = replace(TRAINING, steps=3, batch_size=16) if options.smoke else TRAINING
    work = jobs(options.seeds, training, *seen, size[1])
    lines = once(out / "homes.jsonl", ((name, partial(scored, job, seen[1], size[1])) for name, job in work))
    rows = {name: encoder_rows(name, own) for name, own in by_seed(lines).items()}
    room = seen[1].room[seen[1].room >= 0]
    common = row("most common room", [(room == np.bincount(room).argmax()).astype(float)], SCORES["room_linear"])
    controls = list(zip(*(rows.pop(name) for name in CONTROLS)))
    controls[0] = (*controls[0], common)
    return [replace(one, controls=beside) for own in rows.values() for one, beside in zip(own, controls)]


def encoder_rows(name: str, lines: Sequence[Line]) -> list[Row]:
    """Means over seeds of one encoder's scores."""
    spent = minutes(lines)
    return [row(name, [[line[score]] for line in lines], unit, cpu_minutes=spent) for score, unit in SCORES.items()]


def scored(job: Callable[[], Read], test: Walks, homes: int) -> Line:
    """Train or build an encoder, then probe it."""
    return dict(scores(job(), test, homes))


def jobs(
    seeds: int, training: FitConfig, train: Walks, test: Walks, homes: int
) -> Iterator[tuple[str, Callable[[], Read]]]:
    """Each job returns a function from images to features."""
    yield "PCA-64 of pixels, seed 0", partial(pixels, test, homes)
    for seed in range(seeds):
        yield f"random, seed {seed}", partial(untrained, seed)
        for name, views in VIEWS.items():
            yield f"{name}, seed {seed}", partial(pretrained, views, replace(training, seed=seed), train)
        yield f"supervised, seed {seed}", partial(supervised, replace(training, seed=seed), train)


def untrained(seed: int) -> Read:
    seed_all(seed)
    return reader(image_encoder(ENCODER, SPACE))


def pretrained(views: PositivesConfig, training: FitConfig, train: Walks) -> Read:
    seed_all(training.seed)
    learner = method(configured(LEARNER, METHOD), ENCODER, SPACE, views, training.steps)
    steps, number = train.rgb.shape[:2]
    apart = views.gap if views.frames == 2 else 0

    def draw(rng: np.random.Generator, n: int) -> Line:
        t, i = rng.integers(steps - apart, size=n), rng.integers(number, size=n)
        return {"obs": {"rgb": np.stack([train.rgb[t + k, i] for k in ((0, apart) if apart else (0,))])}}

    fit(learner, RandomBatches(draw, training.seed), training)
    kept = learner.kept
    assert isinstance(kept, ImageEncoder)
    return reader(kept)


class Supervised(nn.Module):
    """An encoder with a linear layer, trained on labels of room and objects."""

    def __init__(self, encoder: ImageEncoder, outputs: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.dim, outputs)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        images, _ = self.encoder.images(batch["obs"])
        features = self.encoder.summary(CHANGES(images))
        with torch.autocast(features.device.type, enabled=False):
            return taught(self.head(features.float()), batch["room"], batch["objects"]), {}


def supervised(training: FitConfig, train: Walks) -> Read:
    """Train the same encoder on the same augmented images by labels of room and objects."""
    seed_all(training.seed)
    encoder = image_encoder(ENCODER, SPACE)
    learner = Supervised(encoder, len(train.rooms) + train.objects.shape[2])
    steps, number = train.rgb.shape[:2]

    def draw(rng: np.random.Generator, n: int) -> Line:
        t, i = rng.integers(steps, size=n), rng.integers(number, size=n)
        return {"obs": {"rgb": train.rgb[t, i]}, "room": train.room[t, i], "objects": train.objects[t, i]}

    config = replace(training, schedule="one_cycle", weight_decay=0.01, decay_all=True, clip=None)
    fit(learner, RandomBatches(draw, training.seed), config)
    return reader(encoder)


def taught(outputs: Tensor, room: Tensor, objects: Tensor) -> Tensor:
    """Cross entropy of the room (-1: no room) plus that of each object."""
    rooms = outputs.shape[1] - objects.shape[1]
    known = F.cross_entropy(outputs[:, :rooms], room, ignore_index=-1)
    return known + F.binary_cross_entropy_with_logits(outputs[:, rooms:], objects.float())

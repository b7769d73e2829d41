"""Tracking: shapes that pass behind a wall, and road users in the camera of drives that nobody trained on."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
import torch

from embodia.agents.training.fit import FitConfig
from embodia.perception.generative.autoencoders.image_autoencoders import ImageAutoencoder
from embodia.perception.pictures.shape_films import ShapeFilm, shape_film
from embodia.perception.structured.detection import Array, Detections
from embodia.perception.structured.tracking.appearance import Embed, by_colour, by_encoder, crops
from embodia.perception.structured.tracking.optical_flow import optical_flow
from embodia.perception.structured.tracking.sort import Sort
from embodia.perception.structured.tracking.tracking_scores import Counts, Scene
from embodia.scripts.assembly.detectors import image_space
from embodia.scripts.bench.harness.once import Line, by_seed, minutes, once
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.structured.detector_worlds import detector, roads
from embodia.scripts.bench.structured.training import predicted, score_row, trained

SIDE, FILMS, TEST = 16, 30, 1_000_000
"""Side of crops [pixels]; number of test videos; seed of the first one."""
SCORES = ("HOTA", "MOTA", "IDF1", "switches")
UNITS = {"switches": "identity switches"}


class Crops:
    """Batches of crops of videos, for an encoder of appearance that learns without labels."""

    def __init__(self, films: Sequence[ShapeFilm], seed: int):
        parts = [crops(f, b, SIDE) for film in films for f, b in zip(film.frames, film.boxes)]
        self.images, self.rng = np.concatenate(parts), np.random.default_rng(seed)

    def batch(self, n: int) -> dict[str, Any]:
        return {"obs": {"rgb": torch.from_numpy(self.images[self.rng.integers(len(self.images), size=n)])}}

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


def shape_rows(options: Structured) -> list[Row]:
    """Tracking through occlusion: by motion alone, and with the appearance that an autoencoder learned."""
    jobs = [(f"shapes, seed {seed}", partial(shapes, options, seed)) for seed in range(options.seeds)]
    lines = by_seed(once(options.folder() / "tracking-shapes.jsonl", jobs))["shapes"]
    return compared("tracking shapes", lines, "autoencoder", ("no appearance", "colour histogram"))


def shapes(options: Structured, seed: int) -> Line:
    films = [shape_film(1000 * seed + k) for k in range(2 if options.smoke else 20)]
    config = FitConfig(steps=2 if options.smoke else 500, batch_size=64, log_every=100, device="cpu", seed=seed)
    encoder = trained(
        lambda: ImageAutoencoder(image_space((SIDE, SIDE)), dim=32, width=16, depth=2),
        Crops(films, seed),
        config,
        options.folder() / f"appearance-{seed}",
    )
    test = [shape_film(TEST + 1000 * seed + k) for k in range(1 if options.smoke else FILMS)]
    embeddings = {
        "no appearance": None,
        "colour histogram": by_colour,
        "autoencoder": centred(by_encoder(encoder), films),
    }
    return {
        name: reduce(add, (shape_counts(film, embed) for film in test)).scores() for name, embed in embeddings.items()
    }


def centred(embed: Embed, films: Sequence[ShapeFilm]) -> Embed:
    """Return the embedding minus its mean over training crops, so that cosines tell objects apart."""
    mean = embed(Crops(films, 0).batch(500)["obs"]["rgb"].numpy()).mean(0)
    return lambda images: embed(images) - mean


def shape_counts(film: ShapeFilm, embed: Embed | None) -> Counts:
    """Track true boxes with noise, a tenth of which are missing."""
    rng = np.random.default_rng(0)
    found = []
    for boxes in film.boxes:
        kept = boxes[rng.uniform(size=len(boxes)) < 0.9]
        noisy = (kept + rng.normal(0, 0.7, kept.shape)).astype(np.float32)
        found.append(Detections(noisy, np.ones(len(kept), np.float32), np.zeros(len(kept), np.int64)))
    return counts(film.frames, found, film.boxes, film.ids, embed)


def counts(
    frames: Array,
    found: Sequence[Detections],
    boxes: Sequence[Array],
    ids: Sequence[Array],
    embed: Embed | None = None,
    flow: Callable[[Array, Array], Array] | None = None,
) -> Counts:
    """Track the detections of a video and count them against the true boxes."""
    tracker, tracks = Sort(), []
    for t, (frame, each) in enumerate(zip(frames, found)):
        features = embed(crops(frame, each.boxes, SIDE)) if embed is not None else None
        moved = flow(frames[t - 1], frame) if flow is not None and t else None
        tracks.append(tracker.step(each, features, moved))
    return Scene(boxes, ids, [each.boxes for each in tracks], [each.ids for each in tracks]).counts()


def road_rows(options: Structured) -> list[Row]:
    """Tracks of the detector's boxes in unseen drives, beside those of true boxes and of trackers with more."""
    jobs = [(f"roads, seed {seed}", partial(on_roads, options, seed)) for seed in range(options.seeds)]
    lines = by_seed(once(options.folder() / "tracking-roads.jsonl", jobs))["roads"]
    return compared("tracking roads", lines, "detector", ("with appearance", "with optical flow", "true boxes"))


def on_roads(options: Structured, seed: int) -> Line:
    world = roads(options)
    found = predicted(detector(options, world, seed), world.test.images)
    perfect = [
        Detections(each.boxes[~each.crowd], np.ones((~each.crowd).sum()), each.labels[~each.crowd])
        for each in world.test.truth
    ]
    kinds: dict[str, tuple[Sequence[Detections], dict[str, Any]]] = {
        "detector": (found, {}),
        "with appearance": (found, {"embed": by_colour}),
        "with optical flow": (found, {"flow": optical_flow}),
        "true boxes": (perfect, {}),
    }
    return {name: reduce(add, drives(world.test, *kind)).scores() for name, kind in kinds.items()}


def drives(test: Any, found: Sequence[Detections], how: dict[str, Any]) -> list[Counts]:
    """Count every drive. Objects with few pixels are no objects: a track of one counts as wrong."""
    made = []
    for number in np.unique(test.sequence):
        where = np.flatnonzero(test.sequence == number)
        real = [~test.truth[i].crowd for i in where]
        boxes = [test.truth[i].boxes[mine] for i, mine in zip(where, real)]
        ids = [test.ids[i][mine] for i, mine in zip(where, real)]
        made.append(counts(test.images[where], [found[int(i)] for i in where], boxes, ids, **how))
    return made


def compared(name: str, lines: Sequence[Line], own: str, controls: Sequence[str]) -> list[Row]:
    made = []
    for score in SCORES:
        unit = UNITS.get(score, score)
        beside = [score_row(each, unit, [line[each][score] for line in lines]) for each in controls]
        cost = minutes(lines) if score == "HOTA" else None
        made.append(score_row(name, unit, [line[own][score] for line in lines], None, cost, beside))
    return made

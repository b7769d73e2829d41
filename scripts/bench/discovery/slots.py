"""Slot attention on Tetrominoes: slots compete for pieces, beside what colours alone can do."""

from pathlib import Path

import numpy as np
import torch

from embodia.perception.objects.k_means import k_means
from embodia.perception.objects.slot_attention import SlotAutoEncoder
from embodia.perception.pictures.scenes import Scenes
from embodia.perception.pictures.tetrominoes import tetrominoes
from embodia.perception.scores.clustering_scores import ari
from embodia.scripts.bench.discovery.records import (
    COMPILES,
    DEVICE,
    PICTURES,
    TEST,
    Array,
    Record,
    batches,
    budget_of,
    in_pieces,
    objects_scores,
    record,
)
from embodia.scripts.bench.harness.short_training import ShortTraining, warm_up
from embodia.scripts.report import mask_picture

TETROMINOES, SMALL = "Tetrominoes 35x35, 3 pieces", "Tetrominoes 16x16, 2 pieces"


def small_slots(out: Path, seed: int, name: str) -> list[Record]:
    """16x16 pictures of two pieces, a quarter of the weights and a rate of 1e-3: what a CPU can do in nine minutes.

    Two slots, one a piece: the ground is black, which costs nothing to draw.
    """
    train, test = small_tetrominoes(seed)
    torch.manual_seed(seed)
    model = SlotAutoEncoder(train.space(), num_slots=2, dim=32, width=16, hidden=64)
    rate = warm_up(1e-3, 500, 15_000)
    training = ShortTraining(out / name, 15_000, rate, 500, seed, compiled=COMPILES, clip=1.0, bf16=True)
    return slots(out, SMALL, model, training, train, test, batch=32)


def paper_slots(out: Path, seed: int, name: str) -> list[Record]:
    """The paper's network on 35x35 pictures of three pieces, for fewer steps; for a GPU."""
    train, test = tetrominoes(50_000, seed), tetrominoes(320, TEST + seed)
    torch.manual_seed(seed)
    model = SlotAutoEncoder(train.space(), num_slots=4)
    training = ShortTraining(out / name, 40_000, warm_up(4e-4, 2000), 2000, seed, compiled=True, bf16=True)
    return slots(out, TETROMINOES, model, training, train, test)


def slots(
    out: Path,
    dataset: str,
    model: SlotAutoEncoder,
    training: ShortTraining,
    train: Scenes,
    test: Scenes,
    batch: int = 64,
) -> list[Record]:
    model.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def score() -> tuple[dict[str, float], Array]:
        found = in_pieces(lambda images, _: model.segment(images).argmax(1), model, test.images, test.labels)
        return pieces_scores(test, found), found

    curve = training.run(model, batches(train, training.seed, batch), lambda: score()[0])
    scores, found = score()
    budget, name = budget_of(curve), training.folder.name
    pieces = np.where(test.labels > 0, found + 1, 0)  # FG-ARI leaves the ground out
    mask_picture.write(out / f"{name}.png", test, pieces, f"{name}: {budget}, FG-ARI {scores['FG-ARI']:.3f}")
    return [record(dataset, "slot attention", scores, budget)]


def small_tetrominoes(seed: int) -> tuple[Scenes, Scenes]:
    return tetrominoes(PICTURES, seed, 16, 3, 2), tetrominoes(320, TEST + seed, 16, 3, 2)


def pieces_scores(test: Scenes, found: Array) -> dict[str, float]:
    """Also of the pictures whose pieces all have one colour, where colour says nothing."""
    alike = [len(np.unique(image[label > 0], axis=0)) == 1 for image, label in zip(test.images, test.labels)]
    one_colour = ari(test.labels[alike], found[alike], background=False)
    return objects_scores(test, found) | {"FG-ARI, one colour": float(one_colour.mean())}


def slots_controls(out: Path) -> list[Record]:
    """What needs no learning: colours alone, and the same masks for every picture."""
    _, test = small_tetrominoes(0)
    colours = k_means(torch.from_numpy(test.images).flatten(1, 2).float(), 3).view(test.labels.shape).numpy()
    fixed = np.broadcast_to(np.arange(16) // 8, test.labels.shape)
    return [
        record(SMALL, "k-means of colours", pieces_scores(test, colours), "", control=True),
        record(SMALL, "fixed masks (two halves)", pieces_scores(test, fixed), "", control=True),
    ]

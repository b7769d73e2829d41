"""Slot attention on Tetrominoes, beside clustering of colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from embodia.agents.training.fit import FitConfig
from embodia.perception.objects.k_means import k_means
from embodia.perception.objects.slot_attention import SlotAutoEncoder
from embodia.perception.pictures.scenes import Scenes
from embodia.perception.pictures.tetrominoes import tetrominoes
from embodia.perception.scores.clustering_scores import ari
from embodia.scripts.bench.discovery.records import (
    ADAM,
    COMPILES,
    DEVICE,
    PICTURES,
    TEST,
    Array,
    Record,
    in_pieces,
    objects_scores,
    record,
    trained,
)
from embodia.scripts.report import mask_picture

BRIEF = replace(ADAM, steps=15_000, batch_size=32, clip=1.0, precision="bfloat16", compile=COMPILES, eval_every=500)
PAPER = replace(
    BRIEF,
    steps=40_000,
    batch_size=64,
    learning_rate=4e-4,
    schedule="constant",
    warmup=2_000,
    clip=None,
    eval_every=2_000,
)
TETROMINOES, SMALL = "Tetrominoes 35x35, 3 pieces", "Tetrominoes 16x16, 2 pieces"


def small_slots(out: Path, seed: int, name: str, steps: int = BRIEF.steps) -> list[Record]:
    """Images of 16x16 with two pieces, a quarter of the weights and a learning rate of 1e-3: nine minutes on a CPU.

    Two slots, one per piece: the background is black, which needs no slot.
    """
    train, test = small_tetrominoes(seed)
    torch.manual_seed(seed)
    model = SlotAutoEncoder(train.space(), num_slots=2, dim=32, width=16, hidden=64)
    return slots(out, SMALL, name, model, replace(BRIEF, steps=steps, seed=seed), train, test)


def paper_slots(out: Path, seed: int, name: str) -> list[Record]:
    """The paper's network on images of 35x35 with three pieces, for fewer steps. Needs a GPU."""
    train, test = tetrominoes(50_000, seed), tetrominoes(320, TEST + seed)
    torch.manual_seed(seed)
    model = SlotAutoEncoder(train.space(), num_slots=4)
    return slots(out, TETROMINOES, name, model, replace(PAPER, seed=seed), train, test)


def slots(
    out: Path,
    dataset: str,
    name: str,
    model: SlotAutoEncoder,
    config: FitConfig,
    train: Scenes,
    test: Scenes,
) -> list[Record]:
    model.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def score() -> tuple[dict[str, float], Array]:
        found = in_pieces(lambda images, _: model.segment(images).argmax(1), model, test.images, test.labels)
        return pieces_scores(test, found), found

    budget = trained(model, train, config, out / name, lambda: score()[0])
    scores, found = score()
    pieces = np.where(test.labels > 0, found + 1, 0)  # FG-ARI skips the background
    mask_picture.write(out / f"{name}.png", test, pieces, f"{name}: {budget}, FG-ARI {scores['FG-ARI']:.3f}")
    return [record(dataset, "slot attention", scores, budget)]


def small_tetrominoes(seed: int) -> tuple[Scenes, Scenes]:
    return tetrominoes(PICTURES, seed, 16, 3, 2), tetrominoes(320, TEST + seed, 16, 3, 2)


def pieces_scores(test: Scenes, found: Array) -> dict[str, float]:
    """Scores of all images, and FG-ARI of those whose pieces have the same colour, where colours do not help."""
    alike = [len(np.unique(image[label > 0], axis=0)) == 1 for image, label in zip(test.images, test.labels)]
    one_colour = ari(test.labels[alike], found[alike], background=False)
    return objects_scores(test, found) | {"FG-ARI, one colour": float(one_colour.mean())}


def slots_controls(out: Path) -> list[Record]:
    """Controls without learning: clusters of colours, and the same masks for every image."""
    _, test = small_tetrominoes(0)
    colours = k_means(torch.from_numpy(test.images).flatten(1, 2).float(), 3).view(test.labels.shape).numpy()
    fixed = np.broadcast_to(np.arange(16) // 8, test.labels.shape)
    return [
        record(SMALL, "k-means of colours", pieces_scores(test, colours), "", control=True),
        record(SMALL, "fixed masks (two halves)", pieces_scores(test, fixed), "", control=True),
    ]

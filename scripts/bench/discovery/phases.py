"""The complex autoencoder on outlined shapes: the pixels of one object share a phase."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from embodia.perception.objects.complex_autoencoder import ComplexAutoEncoder
from embodia.perception.objects.k_means import k_means
from embodia.perception.pictures.outlined_shapes import TWO_SHAPES, Shape, outlined_shapes
from embodia.perception.pictures.scenes import OVERLAP, Scenes
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
    record,
    trained,
)
from embodia.scripts.report import mask_picture

TRAINING = replace(ADAM, batch_size=64, precision="bfloat16", compile=COMPILES, eval_every=500)


def complex_autoencoder(
    out: Path, seed: int, steps: int, name: str, chi: float = 0.5, shapes: Sequence[Shape] = TWO_SHAPES
) -> list[Record]:
    """The paper's recipe (batches of 64, Adam at 1e-3 after 500 steps of warm-up), with a learning rate that decays.

    At a constant rate the loss still jumps in the last thousand steps, and ARI-BG by 0.02. `chi=1` is a plain
    autoencoder.
    """
    train, test = (outlined_shapes(n, s, shapes) for n, s in ((PICTURES, seed), (1000, TEST + seed)))
    torch.manual_seed(seed)
    model = ComplexAutoEncoder(train.space(), num_slots=len(shapes) + 1, chi=chi)
    model.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    few = Scenes(test.images[:200], test.labels[:200])
    config = replace(TRAINING, steps=steps, seed=seed)
    budget = trained(model, train, config, out / name, lambda: phase_scores(model, few)[0])
    scores, found = phase_scores(model, test)
    if chi == 1:  # its phases have no meaning, so its features are clustered
        scores, found = feature_scores(model, test)
    mask_picture.write(out / f"{name}.png", test, found, f"{name}: {budget}, ARI-BG {scores['ARI-BG']:.3f}")
    method = {0.5: "complex autoencoder", 0.0: "without chi", 1.0: "plain autoencoder + k-means"}[chi]
    return [record(f"{len(shapes)}Shapes", method, scores, budget, control=chi != 0.5)]


def phase_scores(model: ComplexAutoEncoder, test: Scenes) -> tuple[dict[str, float], Array]:
    """Scores of k-means on phases. Pixels in two objects are skipped, as in the paper."""
    found = in_pieces(
        lambda images, labels: model.segment(images, labels != OVERLAP).argmax(1), model, test.images, test.labels
    )
    return aris(test, found), found


def feature_scores(model: ComplexAutoEncoder, test: Scenes) -> tuple[dict[str, float], Array]:
    """Scores of k-means on the magnitudes of the last hidden layer."""

    def clusters(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        features = F.interpolate(model.features(images), images.shape[2:], mode="bilinear").flatten(2)
        counts = (labels != OVERLAP).flatten(1)
        return k_means(features.transpose(1, 2), model.num_tokens, counts, restarts=4).view(labels.shape)

    found = in_pieces(clusters, model, test.images, test.labels)
    return aris(test, found), found


def aris(test: Scenes, found: Array) -> dict[str, float]:
    without, whole = ari(test.labels, found, background=False), ari(test.labels, found)
    return {"ARI-BG": float(without.mean()), "ARI+BG": float(whole.mean())}

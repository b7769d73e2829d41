"""What the parts of the discovery bench share: records, batches that can be drawn again, and scores of masks."""

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embodia.perception.pictures.scenes import Scenes
from embodia.perception.scores.clustering_scores import ari, mean_iou

Array = NDArray[Any]
Record = dict[str, Any]
"""One method on one set: set, method, control (bool), scores {name: value}, budget, intervals {name: [low, high]}."""
TEST = 1_000_000
"""Seeds of test pictures are this far from those of training pictures."""
PICTURES = 20_000
COMPILES = shutil.which("g++") is not None
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def record(
    dataset: str,
    method: str,
    scores: dict[str, float],
    budget: str,
    control: bool = False,
    intervals: dict[str, list[float]] | None = None,
) -> Record:
    found = {"set": dataset, "method": method, "control": control, "scores": scores, "budget": budget}
    return found | {"intervals": intervals or {}}


def batches(scenes: Scenes, seed: int, size: int = 64) -> Callable[[int], dict[str, Any]]:
    """Of step s the same pictures every time."""

    def of(step: int) -> dict[str, Any]:
        chosen = np.random.default_rng((seed, step)).integers(len(scenes.images), size=size)
        return {"obs": {"image": torch.from_numpy(scenes.images[chosen]).to(DEVICE)}}

    return of


def budget_of(curve: list[dict[str, float]]) -> str:
    return f"{curve[-1]['step']:.0f} steps, {curve[-1]['cpu_s'] / 60:.0f} CPU-minutes"


def in_pieces(work: Callable[..., torch.Tensor], model: Any, images: Array, labels: Array, size: int = 100) -> Array:
    """work(pictures as the model takes them, labels) over pieces of the set, joined."""
    pieces = []
    with torch.no_grad():
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            taken, _ = model.images({key: torch.from_numpy(images[part]).to(DEVICE) for key in model.keys})
            pieces.append(work(taken, torch.from_numpy(labels[part]).to(DEVICE)).cpu().numpy())
    return np.concatenate(pieces)


def objects_scores(test: Scenes, found: Array) -> dict[str, float]:
    foreground = ari(test.labels, found, background=False)
    return {"FG-ARI": float(foreground.mean()), "mIoU": float(np.nanmean(mean_iou(test.labels, found)))}

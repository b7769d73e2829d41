"""Code shared by the parts of the discovery bench: records, repeatable batches, training, scores of masks."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embodia.agents.training.fit import Evaluate, FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.perception import SelfSupervised
from embodia.perception.pictures.scenes import Scenes
from embodia.perception.scores.clustering_scores import ari, mean_iou

Array = NDArray[Any]
Record = dict[str, Any]
"""One method on one set: set, method, control (bool), scores {name: value}, budget, intervals {name: [low, high]}."""
TEST = 1_000_000
"""Offset of the seeds of test images from those of training images."""
PICTURES = 20_000  # training images
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


class NumberedBatches:
    """Batches in which update u samples its images, and torch's generator is seeded, by (seed, u).

    Args:
        scenes: the images.
        seed: seed of all batches.
    """

    def __init__(self, scenes: Scenes, seed: int):
        self.scenes, self.seed, self.update = scenes, seed, 0

    def batch(self, n: int) -> dict[str, Any]:
        torch.manual_seed(self.seed * 10**9 + self.update)
        chosen = np.random.default_rng((self.seed, self.update)).integers(len(self.scenes.images), size=n)
        self.update += 1
        return {"obs": {"image": self.scenes.images[chosen]}}

    def state_dict(self) -> dict[str, Any]:
        return {"update": self.update}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.update = state["update"]


ADAM = FitConfig(
    optimizer="adam", schedule="trapezoid", warmup=500, weight_decay=0.0, clip=None, fused=False, log_every=500
)
"""Defaults of all trainings of this bench. A fused optimizer would round differently."""


def trained(
    learner: SelfSupervised, scenes: Scenes, config: FitConfig, folder: Path, evaluate: Evaluate | None = None
) -> str:
    """Train, resuming from `folder`, and return the budget in words. Raises KeyboardInterrupt if it was stopped."""
    data = NumberedBatches(scenes, config.seed)
    with Logger(folder, tensorboard=False) as logger:
        now = fit(learner, data, config, folder, logger=logger, evaluate=evaluate, resume=True)
        if now.updates < config.steps:
            raise KeyboardInterrupt
        return f"{now.updates} steps, {logger.cpu_seconds / 60:.0f} CPU-minutes"


def in_pieces(work: Callable[..., torch.Tensor], model: Any, images: Array, labels: Array, size: int = 100) -> Array:
    """Apply work(images as the model takes them, labels) to batches of the set, and concatenate the results."""
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

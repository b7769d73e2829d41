"""Labelled shapes as batches for detectors."""

from typing import Any

import numpy as np
import torch

from embodia.perception.pictures.shape_scenes import ShapeScenes
from embodia.perception.structured.detection import Boxes


class SceneBatches:
    """Random batches of labelled images, mirrored half of the time. All images stay in memory.

    Args:
        scenes: the images.
        seed: seed of all batches.
        mirror: whether to mirror images.
    """

    def __init__(self, scenes: ShapeScenes, seed: int, mirror: bool = True):
        self.scenes, self.mirror, self.rng = scenes, mirror, np.random.default_rng(seed)

    def batch(self, n: int) -> dict[str, Any]:
        chosen = self.rng.integers(len(self.scenes.images), size=n)
        images = self.scenes.images[chosen]
        width, most = images.shape[2], max(1, *(len(self.scenes.labels[i]) for i in chosen))
        boxes, labels = np.zeros((n, most, 4), np.float32), np.full((n, most), -1)
        for row, i in enumerate(chosen):
            boxes[row, : len(self.scenes.labels[i])] = self.scenes.boxes[i]
            labels[row, : len(self.scenes.labels[i])] = self.scenes.labels[i]
        if self.mirror:
            turned = self.rng.uniform(size=n) < 0.5
            images[turned] = images[turned][:, :, ::-1]
            boxes[turned] = np.where((labels[turned] >= 0)[..., None], mirrored(boxes[turned], width), 0)
        return {
            "obs": {"image": torch.from_numpy(images)},
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(labels),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


def mirrored(boxes: Any, width: int) -> Any:
    """Boxes (*B, 4) in a mirrored image."""
    return np.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], -1)


def truth(scenes: ShapeScenes) -> list[Boxes]:
    return [Boxes(box, label, np.zeros(len(label), bool)) for box, label in zip(scenes.boxes, scenes.labels)]

"""Labelled shapes as batches for detectors."""

from typing import Any

import numpy as np

from embodia.perception.pictures.shape_scenes import ShapeScenes
from embodia.perception.structured.detection import Boxes
from embodia.scripts.data.labelled import padded, turned


class SceneBatches:
    """Random batches of labelled images, half of them mirrored. All images stay in memory.

    Args:
        scenes: the images.
        seed: seed of all batches.
        mirror: whether to mirror images.
    """

    def __init__(self, scenes: ShapeScenes, seed: int, mirror: bool = True):
        self.pairs = list(zip(scenes.images, truth(scenes)))
        self.mirror, self.rng = mirror, np.random.default_rng(seed)

    def batch(self, n: int) -> dict[str, Any]:
        chosen = [self.pairs[i] for i in self.rng.integers(len(self.pairs), size=n)]
        mirrored = self.rng.uniform(size=n) < (0.5 if self.mirror else 0.0)
        return padded([turned(*pair) if turn else pair for pair, turn in zip(chosen, mirrored)])

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


def truth(scenes: ShapeScenes) -> list[Boxes]:
    return [Boxes(box, label, np.zeros(len(label), bool)) for box, label in zip(scenes.boxes, scenes.labels)]

"""Masks of a COCO file as label maps and instance maps, in batches for segmenters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from embodia.agents import Array
from embodia.perception.structured.segmentation import IGNORED
from embodia.scripts.assembly.detectors import KEY
from embodia.scripts.data.coco import CocoImage
from embodia.scripts.data.labelled import LabelledImages, letterbox
from embodia.scripts.mistake import Mistake


class Labelled(NamedTuple):
    """An image and its maps."""

    image: Array  # (H, W, 3) uint8
    labels: Array  # (H, W) int64: 0 for the background, 1 + the index of a category, or IGNORED
    instances: Array  # (H, W) int64: 0 for none


def painted(image: CocoImage, numbers: dict[int, int]) -> tuple[Array, Array]:
    """Return the label map and the instance map of an image. Smaller masks cover larger ones.

    Args:
        image: The image.
        numbers: Index of each category by its id; negative for those that count as background.

    Raises:
        Mistake: If a mask is missing or malformed.
    """
    labels, instances = (np.zeros((image.height, image.width), np.int64) for _ in range(2))
    masks = image.masks()
    for k in np.argsort(-masks.sum((1, 2)), kind="stable"):
        number = numbers[int(image.labels[k])]
        if number < 0:
            continue
        labels[masks[k]] = IGNORED if image.crowd[k] else number + 1
        instances[masks[k]] = 0 if image.crowd[k] else k + 1
    return labels, instances


class LabelMaps:
    """Random batches of some images with their maps; each epoch has its own order. Images are read once and kept.

    Pixels beside an image that does not have the shape of the segmenter's are ignored.

    Args:
        images: The labelled images.
        chosen: Indices of the images to use.
        seed: Random seed of the order and of mirroring.

    Raises:
        Mistake: If none of these images shows an object of the categories.
    """

    def __init__(self, images: LabelledImages, chosen: Sequence[int], seed: int = 0):
        self.images, self.chosen, self.rng = images, list(chosen), np.random.default_rng(seed)
        self.waiting: list[int] = []
        self.read: dict[int, Labelled] = {}
        rows = images.coco.rows_of(self.chosen)
        if not any(images.numbers[row["category_id"]] >= 0 for row in rows):
            names = ", ".join(images.categories)
            raise Mistake(f"{images.coco.path}: no image to learn from shows an object of {names}; add labelled images")

    def __getitem__(self, index: int) -> Labelled:
        if index not in self.read:
            image = self.images.coco[index]
            size = self.images.config.size
            fit = letterbox((image.height, image.width), size)
            small = (max(1, round(fit.scale * image.height)), max(1, round(fit.scale * image.width)))
            maps = [np.full(size, IGNORED, np.int64), np.zeros(size, np.int64)]
            for whole, scaled in zip(painted(image, self.images.numbers), maps):
                scaled[: small[0], : small[1]] = cv2.resize(
                    whole.astype(np.float64), small[::-1], interpolation=cv2.INTER_NEAREST
                )
            self.read[index] = Labelled(fit.image(image.pixels()), *maps)
        return self.read[index]

    def batch(self, n: int) -> dict[str, Any]:
        """Return "obs", "labels" and "instances" of n images."""
        while len(self.waiting) < n:
            self.waiting += self.rng.permutation(self.chosen).tolist()
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        mirrored = self.rng.uniform(size=n) < (0.5 if self.images.config.mirror else 0.0)
        return together([turned(self[i]) if turn else self[i] for i, turn in zip(taken, mirrored)])

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state, "waiting": list(self.waiting), "images": len(self.images)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a position. Raises Mistake if the number of images has changed."""
        if state["images"] != len(self.images):
            raise Mistake(
                f"{self.images.coco.path} lists {len(self.images)} images, but {state['images']} when the run started; "
                "restore the file, or start a new run"
            )
        self.rng.bit_generator.state, self.waiting = state["rng"], list(state["waiting"])


def turned(each: Labelled) -> Labelled:
    """Mirror an image and its maps."""
    return Labelled(each.image[:, ::-1], each.labels[:, ::-1], each.instances[:, ::-1])


def together(chosen: Sequence[Labelled]) -> dict[str, Any]:
    """Return images as a batch."""
    image, labels, instances = (torch.from_numpy(np.stack(part)) for part in zip(*chosen))
    return {"obs": {KEY: image}, "labels": labels, "instances": instances}

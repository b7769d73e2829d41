"""Labelled images of a COCO file as batches for detectors."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from embodia.agents import Array
from embodia.perception.structured.detection import Boxes, Detections
from embodia.scripts.assembly.detectors import KEY, LabelsConfig
from embodia.scripts.data.coco import JSON_NAME, CocoImage, read_coco
from embodia.scripts.mistake import Mistake, nearest

GREY = 114
"""Colour beside images that do not have the shape of the detector's."""


class Letterbox(NamedTuple):
    """Scales an image into another without distortion: to the top left, the rest is grey."""

    scale: float
    size: tuple[int, int]  # height and width of the result

    def image(self, picture: Array) -> Array:
        """Return the scaled image (H', W', 3) of an image (H, W, 3) uint8."""
        height, width = (max(1, round(self.scale * side)) for side in picture.shape[:2])
        found = np.full((*self.size, 3), GREY, np.uint8)
        how = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        found[:height, :width] = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how)
        return found

    def back(self, found: Detections, shape: Sequence[int]) -> Detections:
        """Return detections in pixels of the original image (H, W)."""
        boxes = (found.boxes / self.scale).clip(0, [shape[1], shape[0]] * 2).astype(np.float32)
        inside = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
        return Detections(boxes[inside], found.scores[inside], found.labels[inside])


def letterbox(shape: Sequence[int], size: tuple[int, int]) -> Letterbox:
    """Return how an image (H, W) fits into another."""
    return Letterbox(min(size[0] / shape[0], size[1] / shape[1]), size)


def find_coco(data: Path) -> Path:
    """Return the COCO file at a path: the file, or that of a folder. Raises Mistake if there is none, or several."""
    if data.is_file():
        return data
    if not data.exists():
        raise Mistake(f"--data {data}: no such path; give a COCO file, or a folder of `embodia collect --labels`")
    for known in (JSON_NAME, f"labels/{JSON_NAME}", "_annotations.coco.json"):
        if (data / known).is_file():
            return data / known
    found = sorted(data.glob("*.json"))
    if len(found) != 1:
        many = f"several JSON files ({', '.join(path.name for path in found[:4])})" if found else f"no {JSON_NAME}"
        raise Mistake(f"--data {data}: {many}; give the path of the COCO file itself")
    return found[0]


class LabelledImages:
    """Images of a COCO file, scaled, with the boxes of the chosen categories. They are read once and kept in memory.

    Args:
        config: path, size and categories.
        only: names of the categories to detect; by default those of the configuration, or all.

    Raises:
        Mistake: if the file is malformed, has no image, or no object of these categories.
    """

    def __init__(self, config: LabelsConfig, only: Sequence[str] = ()):
        self.config, self.coco = config, read_coco(find_coco(Path(config.path)))
        self.categories = tuple(only or config.categories or self.coco.names)
        if unknown := [name for name in self.categories if name not in self.coco.names]:
            raise Mistake(f"{self.coco.path} has no category {unknown[0]!r}. {nearest(unknown[0], self.coco.names)}")
        number = {name: k for k, name in enumerate(self.categories)}
        self.numbers = {i: number.get(name, -1) for i, name in self.coco.categories.items()}
        if not len(self.coco):
            raise Mistake(f"{self.coco.path} lists no images; there is nothing to learn from")
        self.read: dict[int, tuple[Array, Boxes]] = {}

    def __len__(self) -> int:
        return len(self.coco)

    def __getitem__(self, index: int) -> tuple[Array, Boxes]:
        """Return the image (H, W, 3) and its annotations in the image's pixels."""
        if index not in self.read:
            image = self.coco[index]
            self.read[index] = scaled(image, self.numbers, self.config.size)
        return self.read[index]

    def split(self) -> tuple[list[int], list[int]]:
        """Return the indices of training images and of held-out ones; images of one episode stay together."""
        every = self.config.held_out
        if every < 1:
            return list(range(len(self))), []
        groups = [
            (image.get("seed", i) if "seed" in image else image["id"]) for i, image in enumerate(self.coco.images)
        ]
        order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        held = [order[group] % every == every - 1 for group in groups]
        return [i for i, out in enumerate(held) if not out], [i for i, out in enumerate(held) if out]


def scaled(image: CocoImage, numbers: Mapping[int, int], size: tuple[int, int]) -> tuple[Array, Boxes]:
    """Read and scale an image and the boxes of its categories. Boxes outside the image are cut off or skipped."""
    fit = letterbox((image.height, image.width), size)
    limits = np.array([image.width, image.height] * 2)
    boxes = (image.boxes.clip(0, limits) * fit.scale).astype(np.float32)
    labels = np.array([numbers[int(label)] for label in image.labels], np.int64)
    kept = (labels >= 0) & ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    return fit.image(image.pixels()), Boxes(boxes[kept], labels[kept], image.crowd[kept])


class LabelledBatches:
    """Random batches of some of the images, without their crowds; each epoch has its own order.

    Args:
        images: the images.
        chosen: indices of the images to use.
        seed: random seed of the order and of mirroring.

    Raises:
        Mistake: if none of these images shows an object of the categories.
    """

    def __init__(self, images: LabelledImages, chosen: Sequence[int], seed: int):
        self.images, self.chosen, self.rng = images, list(chosen), np.random.default_rng(seed)
        self.waiting: list[int] = []
        rows = images.coco.rows_of(chosen)
        if not any(images.numbers[row["category_id"]] >= 0 for row in rows):
            names = ", ".join(images.categories)
            raise Mistake(f"{images.coco.path}: no training image shows an object of {names}; add labelled images")

    def batch(self, n: int) -> dict[str, Any]:
        while len(self.waiting) < n:
            self.waiting += self.rng.permutation(self.chosen).tolist()
        taken, self.waiting = self.waiting[:n], self.waiting[n:]
        pairs = [self.images[i] for i in taken]
        mirrored = self.rng.uniform(size=n) < (0.5 if self.images.config.mirror else 0.0)
        return padded([turned(*pair) if turn else pair for pair, turn in zip(pairs, mirrored)])

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


def turned(picture: Array, truth: Boxes) -> tuple[Array, Boxes]:
    """Mirror an image and its boxes."""
    left, top, right, bottom = truth.boxes.T
    width = picture.shape[1]
    return picture[:, ::-1], truth._replace(boxes=np.stack([width - right, top, width - left, bottom], 1))


def padded(pairs: Sequence[tuple[Array, Boxes]]) -> dict[str, Any]:
    """Return the batch of images with annotations, without crowds, padded with label -1."""
    most = max(1, *(len(truth.labels) for _, truth in pairs))
    boxes, labels = np.zeros((len(pairs), most, 4), np.float32), np.full((len(pairs), most), -1)
    for row, (_, truth) in enumerate(pairs):
        count = int((~truth.crowd).sum())
        boxes[row, :count], labels[row, :count] = truth.boxes[~truth.crowd], truth.labels[~truth.crowd]
    images = torch.from_numpy(np.stack([picture for picture, _ in pairs]))
    return {"obs": {KEY: images}, "boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)}

"""From scored boxes of a network to detections: best scores, non-maximum suppression, clipped to the image."""

import numpy as np
from torch import Tensor

from embodia.perception.structured.detection import Array, Detections
from embodia.perception.structured.detection.nms import nms

MOST = 300
"""Candidates per image that suppression looks at."""


def detected(
    scores: Tensor, boxes: Tensor, size: tuple[int, int], lowest: float, threshold: float, most: int = 100
) -> list[Detections]:
    """Return the detections of each image.

    Args:
        scores: (B, N, C), from 0 to 1.
        boxes: (B, N, 4), or (B, N, C, 4) with a box of its own for each class [pixels].
        size: height and width of the image.
        lowest: smallest score of a detection.
        threshold: largest IoU of two detections of a class.
        most: detections per image.
    """
    return [
        _of_image(s, b, size, lowest, threshold, most)
        for s, b in zip(scores.detach().float().cpu().numpy(), boxes.detach().float().cpu().numpy())
    ]


def _of_image(
    scores: Array, boxes: Array, size: tuple[int, int], lowest: float, threshold: float, most: int
) -> Detections:
    place, label = np.nonzero(scores >= lowest)
    score = scores[place, label]
    if len(score) > MOST:
        best = np.argpartition(-score, MOST)[:MOST]
        place, label, score = place[best], label[best], score[best]
    found = boxes[place, label] if boxes.ndim == 3 else boxes[place]
    found = np.clip(found, 0, [size[1], size[0], size[1], size[0]]).astype(np.float32)
    real = ((found[:, 2:] - found[:, :2]) > 0).all(1)
    found, label, score = found[real], label[real], score[real]
    kept = nms(found, score, threshold, label)[:most]
    return Detections(found[kept], score[kept].astype(np.float32), label[kept].astype(np.int64))

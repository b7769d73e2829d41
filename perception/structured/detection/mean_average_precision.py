"""Mean average precision, counted as COCO's evaluator counts it (Lin et al. 2014; pycocotools).

Precision is interpolated at 101 recalls, averaged over ten IoU thresholds and over classes. Annotated crowds are
ignored: detections inside them count neither as right nor as wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embodia.envs.compiled import compiled_exactly
from embodia.perception.structured.detection import Array, Boxes, Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Ranges of an object's area in square pixels."""
MOST = 100
"""Detections per image and class that count, by default."""


@dataclass(frozen=True)
class Matches:
    """The n detections of one class, in order of decreasing score, matched to annotations at T thresholds."""

    image: Array  # (n,) index of the image
    rank: Array  # (n,) place among the image's detections of this class
    right: Array  # (T, n) bool: matched to an annotation
    ignored: Array  # (T, n) bool: matched to a crowd or to an object outside the area range, or outside it itself
    positives: Array  # (images,) number of annotations to be found

    def precision(self, weights: Array, most: int = MOST) -> Array | None:
        """Return the interpolated precision (T, 101), or None if there is nothing to find.

        Args:
            weights: (images,), how often each image counts.
            most: detections per image that count.
        """
        total = float(weights @ self.positives)
        if total == 0:
            return None
        right, wrong = self.counts(weights, most)
        recall = right / total
        precision = right / np.maximum(right + wrong, np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        found = np.zeros((len(precision), len(RECALLS)))
        for row, reached, values in zip(found, recall, precision):
            place = np.searchsorted(reached, RECALLS, side="left")
            row[place < len(values)] = values[place[place < len(values)]]
        return found

    def recall(self, weights: Array, most: int = MOST) -> Array | None:
        """Return the largest recall (T,), or None if there is nothing to find."""
        total = float(weights @ self.positives)
        if total == 0:
            return None
        right, _ = self.counts(weights, most)
        return right[:, -1] / total if right.shape[1] else np.zeros(len(right))

    def counts(self, weights: Array, most: int) -> tuple[Array, Array]:
        """Return the numbers of right and of wrong detections (T, n) down to each score."""
        weight = weights[self.image] * (self.rank < most)
        counted = ~self.ignored * weight
        return np.cumsum(self.right * counted, 1), np.cumsum(~self.right * counted, 1)


class MeanAveragePrecision:
    """Detections of a set of images, matched to their annotations.

    Args:
        found: detections of each image.
        truth: annotations of each image.
        num_classes: number of classes.

    Raises:
        ValueError: if the numbers of images differ, or there are no images.
    """

    def __init__(self, found: Sequence[Detections], truth: Sequence[Boxes], num_classes: int):
        if len(found) != len(truth) or not found:
            raise ValueError(f"detections of {len(found)} images, but annotations of {len(truth)}; expected the same")
        self.num_images = len(found)
        self.matches = {
            name: [matched(found, truth, label, limits) for label in range(num_classes)]
            for name, limits in AREAS.items()
        }

    def scores(self, weights: Array | None = None) -> dict[str, float]:
        """Return COCO's twelve scores; NaN where there is nothing to find."""
        w = self.weights(weights)
        return {
            "AP": self.average(w),
            "AP50": self.average(w, threshold=0.5),
            "AP75": self.average(w, threshold=0.75),
            **{f"AP {name}": self.average(w, name) for name in ("small", "medium", "large")},
            **{f"AR{most}": self.average_recall(w, most=most) for most in (1, 10, 100)},
            **{f"AR {name}": self.average_recall(w, name) for name in ("small", "medium", "large")},
        }

    def average(self, weights: Array, areas: str = "all", threshold: float | None = None) -> float:
        """Return the average precision over classes, recalls and either all thresholds or one."""
        each = [found for table in self.matches[areas] if (found := table.precision(weights)) is not None]
        chosen = slice(None) if threshold is None else np.isclose(THRESHOLDS, threshold)
        return float(np.mean([precision[chosen] for precision in each])) if each else float("nan")

    def average_recall(self, weights: Array, areas: str = "all", most: int = MOST) -> float:
        each = [found for table in self.matches[areas] if (found := table.recall(weights, most)) is not None]
        return float(np.mean(each)) if each else float("nan")

    def by_class(self, threshold: float = 0.5) -> list[float]:
        """Return each class's average precision at one threshold; NaN where there is nothing to find."""
        place, w = np.isclose(THRESHOLDS, threshold), self.weights(None)
        tables = [table.precision(w) for table in self.matches["all"]]
        return [float("nan") if found is None else float(found[place].mean()) for found in tables]

    def resampled(self, threshold: float, times: int = 200, seed: int = 0) -> Array:
        """Return the average precision (times,) at a threshold of images resampled with replacement.

        The same seed resamples the same images, so that differences between detectors on one set are paired.
        """
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(self.num_images, np.full(self.num_images, 1 / self.num_images), size=times)
        return np.array([self.average(draw.astype(float), threshold=threshold) for draw in draws])

    def weights(self, weights: Array | None) -> Array:
        return np.ones(self.num_images) if weights is None else np.asarray(weights, float)


def matched(
    found: Sequence[Detections], truth: Sequence[Boxes], label: int, limits: tuple[float, float] = AREAS["all"]
) -> Matches:
    """Match the detections of one class to annotations: greedily, best scores first, each to the largest IoU."""
    parts = [_image(d, t, label, limits) for d, t in zip(found, truth)]
    scores = np.concatenate([part[0] for part in parts])
    order = np.argsort(-scores, kind="mergesort")
    image = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    rank = np.concatenate([np.arange(len(part[0])) for part in parts])
    right, ignored = (np.concatenate([part[k] for part in parts], 1)[:, order] for k in (1, 2))
    return Matches(image[order], rank[order], right, ignored, np.array([part[3] for part in parts], float))


def _image(found: Detections, truth: Boxes, label: int, limits: tuple[float, float]) -> tuple[Array, Array, Array, int]:
    """Scores (n,), right and ignored (T, n), and the number of annotations that count, of one image and class."""
    of = np.flatnonzero(found.labels == label)
    of = of[np.argsort(-found.scores[of], kind="mergesort")][:MOST]
    there = np.flatnonzero(truth.labels == label)
    outside = _outside(truth.boxes[there], limits) | truth.crowd[there]
    there, outside = there[np.argsort(outside, kind="mergesort")], np.sort(outside)
    boxes, crowd = found.boxes[of].astype(float), truth.crowd[there]
    overlaps = _overlaps(boxes, truth.boxes[there].astype(float), crowd)
    right, ignored = _match(overlaps, outside, crowd, THRESHOLDS)
    return found.scores[of], right, ignored | (~right & _outside(boxes, limits)), int((~outside).sum())


def _outside(boxes: Array, limits: tuple[float, float]) -> Array:
    size = boxes.astype(float)
    area = (size[:, 2] - size[:, 0]) * (size[:, 3] - size[:, 1])
    return (area < limits[0]) | (area > limits[1])


@compiled_exactly
def _overlaps(boxes: Array, others: Array, crowd: Array) -> Array:
    """IoU (n, m); for a crowd, the share of the detection that lies inside."""
    found = np.zeros((len(boxes), len(others)))
    for i in range(len(boxes)):
        for j in range(len(others)):
            width = min(boxes[i, 2], others[j, 2]) - max(boxes[i, 0], others[j, 0])
            height = min(boxes[i, 3], others[j, 3]) - max(boxes[i, 1], others[j, 1])
            if width > 0 and height > 0:
                own = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
                other = (others[j, 2] - others[j, 0]) * (others[j, 3] - others[j, 1])
                both = width * height
                found[i, j] = both / (own if crowd[j] else own + other - both)
    return found


@compiled_exactly
def _match(overlaps: Array, ignore: Array, crowd: Array, thresholds: Array) -> tuple[Array, Array]:
    """Right and ignored detections (T, n); annotations to be ignored come last."""
    n, m = overlaps.shape
    right, ignored = np.zeros((len(thresholds), n), np.bool_), np.zeros((len(thresholds), n), np.bool_)
    for t in range(len(thresholds)):
        taken = np.zeros(m, np.bool_)
        for i in range(n):
            best, chosen = min(thresholds[t], 1 - 1e-10), -1
            for j in range(m):
                if taken[j] and not crowd[j]:
                    continue
                if chosen >= 0 and not ignore[chosen] and ignore[j]:
                    break
                if overlaps[i, j] >= best:
                    best, chosen = overlaps[i, j], j
            if chosen >= 0:
                right[t, i], ignored[t, i] = True, ignore[chosen]
                taken[chosen] = True
    return right, ignored

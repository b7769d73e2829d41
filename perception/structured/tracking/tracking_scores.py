"""HOTA (Luiten et al. 2021), MOTA (Bernardin & Stiefelhagen 2008) and IDF1 (Ristani et al. 2016), as TrackEval counts.

A sequence is a list of frames. Scores of several sequences are those of their summed counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from embodia.perception.structured.detection.boxes import pairwise_iou
from embodia.perception.structured.tracking import Array

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""IoU thresholds of HOTA."""
THRESHOLD = 0.5
"""IoU threshold of MOTA and IDF1."""
EPSILON = np.finfo(float).eps


@dataclass
class Counts:
    """Counts of one or several sequences; arrays have one entry per threshold of ALPHAS."""

    right: Array = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    missed: Array = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    wrong: Array = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    association: Array = field(default_factory=lambda: np.zeros(len(ALPHAS)))  # summed over right detections
    clear_right: int = 0
    clear_missed: int = 0
    clear_wrong: int = 0
    switches: int = 0
    same: int = 0  # detections of an object by the one track that stands for it
    objects: int = 0  # true boxes
    detections: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def scores(self) -> dict[str, float]:
        """Return HOTA with its parts DetA and AssA, MOTA, IDF1, and the number of identity switches."""
        detection = self.right / np.maximum(1, self.right + self.missed + self.wrong)
        association = self.association / np.maximum(1, self.right)
        total = self.clear_right + self.clear_missed
        return {
            "HOTA": float(np.sqrt(detection * association).mean()),
            "DetA": float(detection.mean()),
            "AssA": float(association.mean()),
            "MOTA": (self.clear_right - self.clear_wrong - self.switches) / max(1, total),
            "IDF1": 2 * self.same / max(1, self.objects + self.detections),
            "switches": float(self.switches),
        }


class Scene:
    """One sequence of true and tracked boxes.

    Args:
        boxes: true boxes (n, 4) of each frame.
        ids: (n,) number of the object of each box.
        tracked: boxes (m, 4) of the tracker in each frame.
        tracks: (m,) number of the track of each box.

    Raises:
        ValueError: if lengths differ, or an id occurs twice in a frame.
    """

    def __init__(self, boxes: Sequence[Array], ids: Sequence[Array], tracked: Sequence[Array], tracks: Sequence[Array]):
        if not len(boxes) == len(ids) == len(tracked) == len(tracks):
            raise ValueError(f"{len(boxes)} true and {len(tracked)} tracked frames; expected the same number")
        for k, (own, other) in enumerate(zip(ids, tracks)):
            for each in (own, other):
                if len(np.unique(each)) < len(each):
                    raise ValueError(f"frame {k}: an id occurs twice; each object and each track has one box a frame")
        self.alike = [pairwise_iou(a.reshape(-1, 4), b.reshape(-1, 4)) for a, b in zip(boxes, tracked)]
        self.ids, self.num_ids = numbered(ids)
        self.tracks, self.num_tracks = numbered(tracks)

    def counts(self) -> Counts:
        counts = Counts(objects=sum(map(len, self.ids)), detections=sum(map(len, self.tracks)))
        self._hota(counts)
        self._clear(counts)
        self._identity(counts)
        return counts

    def lengths(self) -> tuple[Array, Array]:
        """Return the number of boxes of every object and of every track."""
        own = np.bincount(np.concatenate(self.ids), minlength=self.num_ids)
        return own, np.bincount(np.concatenate(self.tracks), minlength=self.num_tracks)

    def _hota(self, counts: Counts) -> None:
        shared = np.zeros((self.num_ids, self.num_tracks))
        for own, other, alike in zip(self.ids, self.tracks, self.alike):
            total = alike.sum(0)[None] + alike.sum(1)[:, None] - alike
            shared[np.ix_(own, other)] += np.divide(alike, total, out=np.zeros_like(alike), where=total > EPSILON)
        length, track_length = self.lengths()
        total = length[:, None] + track_length[None]
        aligned = shared / (total - shared)
        together = np.zeros((len(ALPHAS), self.num_ids, self.num_tracks))
        for own, other, alike in zip(self.ids, self.tracks, self.alike):
            rows, columns = linear_sum_assignment(-aligned[np.ix_(own, other)] * alike)
            for a, alpha in enumerate(ALPHAS):
                hit = alike[rows, columns] >= alpha - EPSILON
                together[a, own[rows[hit]], other[columns[hit]]] += 1
                counts.right[a] += hit.sum()
                counts.missed[a] += len(own) - hit.sum()
                counts.wrong[a] += len(other) - hit.sum()
        counts.association += (together * together / np.maximum(1, total - together)).sum((1, 2))

    def _clear(self, counts: Counts) -> None:
        last, before = np.full(self.num_ids, -1), np.full(self.num_ids, -1)  # ever, and in the frame before
        for own, other, alike in zip(self.ids, self.tracks, self.alike):
            if not len(own) or not len(other):
                counts.clear_missed += len(own)
                counts.clear_wrong += len(other)
                continue
            score = 1000.0 * (before[own][:, None] == other) + alike
            score[alike < THRESHOLD - EPSILON] = 0
            rows, columns = linear_sum_assignment(-score)
            hit = score[rows, columns] > EPSILON
            objects, found = own[rows[hit]], other[columns[hit]]
            counts.switches += int(((last[objects] >= 0) & (last[objects] != found)).sum())
            last[objects] = found
            before[:] = -1
            before[objects] = found
            counts.clear_right += len(objects)
            counts.clear_missed += len(own) - len(objects)
            counts.clear_wrong += len(other) - len(objects)

    def _identity(self, counts: Counts) -> None:
        together = np.zeros((self.num_ids, self.num_tracks))
        for own, other, alike in zip(self.ids, self.tracks, self.alike):
            together[np.ix_(own, other)] += alike >= THRESHOLD
        counts.same = int(together[linear_sum_assignment(-together)].sum())


def numbered(ids: Sequence[Array]) -> tuple[list[Array], int]:
    """Return the ids of each frame as numbers from 0, and how many there are."""
    names = np.unique(np.concatenate([np.asarray(each, np.int64) for each in ids])) if len(ids) else np.zeros(0)
    return [np.searchsorted(names, each) for each in ids], len(names)

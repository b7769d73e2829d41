"""SORT (Bewley et al. 2016): Kalman filter, IoU and the Hungarian algorithm; optionally with appearance and flow.

With features of the detections, tracks are first matched by appearance where motion allows it, which finds objects
again after an occlusion (DeepSORT, Wojke et al. 2017). With optical flow, predicted boxes also move with the camera.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from embodia.perception.structured.detection import Detections
from embodia.perception.structured.detection.boxes import pairwise_iou
from embodia.perception.structured.tracking import Array, Tracked, kalman_filter

FORBIDDEN = 1e5


@dataclass(frozen=True)
class SortConfig:
    """Tracker."""

    lowest: float = 0.3
    """Smallest score of detections that are tracked."""
    overlap: float = 0.2
    """Smallest IoU of a detection and a track's predicted box."""
    patience: int = 15
    """Number of frames after which a track that was not detected ends."""
    hits: int = 2
    """Number of detections before a track is reported, except in the first frames."""
    alike: float = 0.3
    """Largest cosine distance of features of one object."""
    gate: float = 16.0
    """Largest squared Mahalanobis distance of a detection with the right appearance, for each frame since the last
    detection: motion may change unseen."""
    memory: float = 0.9
    """Weight of the past in a track's features."""


class Sort:
    """Joins detections into tracks. Objects of different classes are never joined.

    Args:
        config: thresholds.
    """

    def __init__(self, config: SortConfig | None = None):
        self.config = config or SortConfig()
        self.mean, self.covariance = np.zeros((0, 8)), np.zeros((0, 8, 8))
        self.ids, self.labels, self.hits, self.unseen = (np.zeros(0, np.int64) for _ in range(4))
        self.scores, self.features = np.zeros(0, np.float32), np.zeros((0, 0))
        self.count = self.frame = 0

    def step(self, found: Detections, features: Array | None = None, flow: Array | None = None) -> Tracked:
        """Take the detections of the next frame, and return its tracked objects.

        Args:
            found: n detections.
            features: (n, D), one vector for each detection, at every step or at none.
            flow: (H, W, 2), optical flow [pixels] from the frame before to this one.

        Raises:
            ValueError: if the numbers of detections and features differ, or features are not finite.
        """
        vectors = checked(found, features)
        kept = found.scores >= self.config.lowest
        found, vectors = Detections(*(column[kept] for column in found)), vectors[kept]
        if not len(self.ids):
            self.features = vectors[:0]
        self.frame += 1
        self._predict(flow)
        pairs = self._match(found, vectors, features is not None)
        self._update(found, vectors, *pairs)
        new = np.setdiff1d(np.arange(len(found.scores)), pairs[1])
        self._begin(found, vectors, new)
        self._end()
        shown = (self.unseen == 0) & ((self.hits >= self.config.hits) | (self.frame <= self.config.hits))
        boxes = kalman_filter.to_corners(self.mean[shown]).astype(np.float32)
        return Tracked(boxes, self.ids[shown], self.labels[shown], self.scores[shown])

    def _predict(self, flow: Array | None) -> None:
        if flow is not None:
            self.mean[:, :2] += shift(kalman_filter.to_corners(self.mean), flow) - self.mean[:, 4:6]
        self.mean, self.covariance = kalman_filter.predict(self.mean, self.covariance)
        self.unseen += 1

    def _match(self, found: Detections, features: Array, seen: bool) -> tuple[Array, Array]:
        """Return tracks and detections that belong together."""
        other = self.labels[:, None] != found.labels
        overlaps = pairwise_iou(kalman_filter.to_corners(self.mean), found.boxes)
        tracks, detections = np.arange(len(self.ids)), np.arange(len(found.scores))
        first: tuple[Array, Array] = (tracks[:0], detections[:0])
        if seen and len(tracks) and len(detections):
            measured = kalman_filter.to_centres(found.boxes)
            apart = 1 - self.features @ features.T
            far = kalman_filter.distances(self.mean, self.covariance, measured)
            far = far > self.config.gate * self.unseen[:, None]
            first = assigned(apart + (1 - overlaps), other | far | (apart > self.config.alike))
        tracks, detections = np.setdiff1d(tracks, first[0]), np.setdiff1d(detections, first[1])
        left = np.ix_(tracks, detections)
        second = assigned(1 - overlaps[left], (other | (overlaps < self.config.overlap))[left])
        return np.concatenate([first[0], tracks[second[0]]]), np.concatenate([first[1], detections[second[1]]])

    def _update(self, found: Detections, features: Array, tracks: Array, detections: Array) -> None:
        measured = kalman_filter.to_centres(found.boxes[detections])
        state = kalman_filter.update(self.mean[tracks], self.covariance[tracks], measured)
        self.mean[tracks], self.covariance[tracks] = state
        self.hits[tracks] += 1
        self.unseen[tracks] = 0
        self.scores[tracks] = found.scores[detections]
        if features.shape[1]:
            memory = self.config.memory
            self.features[tracks] = unit(memory * self.features[tracks] + (1 - memory) * features[detections])

    def _begin(self, found: Detections, features: Array, new: Array) -> None:
        mean, covariance = kalman_filter.start(kalman_filter.to_centres(found.boxes[new]))
        self.mean, self.covariance = np.concatenate([self.mean, mean]), np.concatenate([self.covariance, covariance])
        self.ids = np.concatenate([self.ids, self.count + 1 + np.arange(len(new))])
        self.count += len(new)
        self.labels = np.concatenate([self.labels, found.labels[new]])
        self.hits = np.concatenate([self.hits, np.ones(len(new), np.int64)])
        self.unseen = np.concatenate([self.unseen, np.zeros(len(new), np.int64)])
        self.scores = np.concatenate([self.scores, found.scores[new]])
        self.features = np.concatenate([self.features, features[new]])

    def _end(self) -> None:
        """Remove tracks that were not seen for long, and new ones that were not confirmed at once."""
        stays = (self.unseen <= self.config.patience) & ((self.hits >= self.config.hits) | (self.unseen == 0))
        for name in ("mean", "covariance", "ids", "labels", "hits", "unseen", "scores", "features"):
            setattr(self, name, getattr(self, name)[stays])


def checked(found: Detections, features: Array | None) -> Array:
    """Return the features as unit vectors; (n, 0) if there are none. Raises ValueError."""
    if features is None:
        return np.zeros((len(found.scores), 0))
    vectors = np.asarray(features, float)
    if len(vectors) != len(found.scores) or not np.isfinite(vectors).all():
        raise ValueError(f"{len(found.scores)} detections need as many finite feature vectors; got {vectors.shape}")
    return unit(vectors)


def unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def assigned(cost: Array, forbidden: Array) -> tuple[Array, Array]:
    """Return rows and columns of the cheapest one-to-one assignment, without forbidden pairs."""
    rows, columns = linear_sum_assignment(np.where(forbidden, FORBIDDEN, cost))
    allowed = ~forbidden[rows, columns]
    return rows[allowed], columns[allowed]


def shift(boxes: Array, flow: Array) -> Array:
    """Return the median flow (n, 2) inside boxes (n, 4); 0 for boxes outside the image."""
    height, width = flow.shape[:2]
    found = np.zeros((len(boxes), 2))
    limits = np.array([width, height, width, height])
    for row, (left, top, right, bottom) in zip(found, np.clip(np.round(boxes), 0, limits).astype(int)):
        if right > left and bottom > top:
            row[:] = np.median(flow[top:bottom, left:right].reshape(-1, 2), axis=0)
    return found

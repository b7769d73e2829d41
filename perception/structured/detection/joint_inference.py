"""Joint inference over the boxes of an image by mean field, beside non-maximum suppression.

Two facts tie boxes together. A place in the world holds one object: boxes exclude each other as far as the space they
stand for is the same (unlike in suppression, a box may cover another in the image if it lies in front of it). And some
things occur together. Each box i has a label y_i, one of C classes or none, and the energy is

    sum_i unary_i(y_i) + sum_{i<j} [y_i and y_j are not none] (exclude * exclusion_ij - together_{y_i y_j})

The mean field Q is updated one box at a time, which never raises the free energy (Koller & Friedman 2009, 11.5).
"""

from dataclasses import dataclass

import numpy as np

from embodia.perception.structured.detection import Array, Boxes, Detections

THICK = 0.3
"""Half of an object's assumed extent along the line of sight [m]."""


@dataclass(frozen=True)
class JointInferenceConfig:
    """Weights of the energy."""

    exclude: float = 12.0
    """Energy of two objects at the same place."""
    together: float = 0.3
    """Weight of co-occurrence."""
    prior: float = 0.0
    """Energy of an object beside its log-odds; positive values expect fewer objects."""
    sweeps: int = 10
    """Number of updates of every box."""


def places(boxes: Array, depth: Array, intrinsics: Array) -> Array:
    """Return the boxes (n, 6) in space that image boxes stand for: x, y and z from, then x, y and z to [m].

    An object is where the median depth inside its box is.

    Args:
        boxes: (n, 4) [pixels].
        depth: (H, W) along the optical axis [m]; 0 or not finite where unknown.
        intrinsics: (3, 3).
    """
    found = np.empty((len(boxes), 6))
    focal, centre = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    for row, box in zip(found, np.asarray(boxes, float)):
        first = np.clip(np.floor(box[:2]).astype(int), 0, np.array(depth.shape[::-1]) - 1)
        last = np.maximum(np.ceil(box[2:]).astype(int), first + 1)
        inside = depth[first[1] : last[1], first[0] : last[0]]
        known = inside[np.isfinite(inside) & (inside > 0)]
        away = float(np.median(known)) if len(known) else np.inf
        metres = (box.reshape(2, 2) - centre) / focal * away
        row[:] = [*metres[0], away - THICK, *metres[1], away + THICK]
    return found


def exclusion(places: Array) -> Array:
    """Return how much (n, n) two boxes in space (n, 6) are the same place: shared volume by the smaller volume.

    Boxes of unknown depth exclude no other.
    """
    known = np.isfinite(places.sum(1))
    places = np.where(known[:, None], places, 0.0)
    size = np.minimum(places[:, None, 3:], places[None, :, 3:]) - np.maximum(places[:, None, :3], places[None, :, :3])
    volume = (places[:, 3:] - places[:, :3]).prod(1)
    shared = size.clip(0).prod(-1) / np.maximum(np.minimum(volume[:, None], volume), 1e-12)
    np.fill_diagonal(shared, 0.0)
    return shared


def co_occurrence(truth: list[Boxes], num_classes: int) -> Array:
    """Return log P(a and b in an image) - log P(a) P(b), (C, C), of annotated images, with one count added to each.

    On the diagonal, "a and a" are two objects of the class.
    """
    counts = np.array([np.bincount(each.labels[~each.crowd], minlength=num_classes) for each in truth])
    there = (counts > 0).astype(float)
    both = there.T @ there
    np.fill_diagonal(both, (counts > 1).sum(0))
    total = len(truth) + 1
    single = (there.sum(0) + 1) / total
    return np.log((both + 1) / total) - np.log(single[:, None] * single)


def mean_field(
    unary: Array, exclusion: Array, together: Array, config: JointInferenceConfig
) -> tuple[Array, list[float]]:
    """Return the mean field Q (n, C + 1), "none" last, and the free energy before and after each sweep.

    Args:
        unary: energies (n, C) of the classes; that of "none" is 0.
        exclusion: (n, n), symmetric, with zeros on the diagonal.
        together: (C, C), symmetric.
        config: weights and number of sweeps.
    """
    energy = np.concatenate([unary, np.zeros((len(unary), 1))], 1)
    q = np.zeros_like(energy)
    q[:, -1] = 1.0  # so that better boxes, which come first, hold their places against worse ones
    pair = np.pad(config.together * together, (0, 1))  # of labels; "none" goes with everything
    order = np.argsort(unary.min(1), kind="stable")
    others = 1 - np.eye(len(unary))
    free = [free_energy(q, energy, exclusion, pair, others, config.exclude)]
    for _ in range(config.sweeps):
        for i in order:
            present = exclusion[i] @ (1 - q[:, -1]) * config.exclude
            field = energy[i] - pair @ (others[i] @ q)
            field[:-1] += present
            q[i] = softmax(-field)
        free.append(free_energy(q, energy, exclusion, pair, others, config.exclude))
    return q, free


def free_energy(q: Array, energy: Array, exclusion: Array, pair: Array, others: Array, exclude: float) -> float:
    there = 1 - q[:, -1]
    pairs = exclude * there @ exclusion @ there - ((others @ q) * (q @ pair)).sum()
    return float((q * energy).sum() + pairs / 2 + (q * np.log(q + 1e-300)).sum())


def softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def joint_inference(
    found: Detections, exclusion: Array, together: Array, config: JointInferenceConfig | None = None
) -> Detections:
    """Return detections with the scores that the mean field gives, in order of decreasing score.

    Args:
        found: candidates of any overlap, such as detections after a lenient suppression.
        exclusion: (n, n) from 0 to 1: how much two candidates are the same place.
        together: (C, C) co-occurrence of classes, such as that of `co_occurrence`.
        config: weights.

    Raises:
        ValueError: if shapes do not fit.
    """
    config = config or JointInferenceConfig()
    n, classes = len(found.scores), len(together)
    if exclusion.shape != (n, n) or together.shape != (classes, classes):
        raise ValueError(f"{n} detections, exclusion {exclusion.shape}, co-occurrence {together.shape}: shapes differ")
    if n == 0:
        return found
    score = found.scores.astype(float).clip(1e-6, 1 - 1e-6)
    unary = np.full((n, classes), 20.0)
    unary[np.arange(n), found.labels] = config.prior + np.log1p(-score) - np.log(score)
    q, _ = mean_field(unary, exclusion, together, config)
    scores = q[np.arange(n), found.labels]
    order = np.argsort(-scores, kind="stable")
    return Detections(found.boxes[order], scores[order].astype(np.float32), found.labels[order])

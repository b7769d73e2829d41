"""Images of found objects beside true ones: image | found | true, one row per scene."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from embodia.perception.pictures.scenes import Scenes
from embodia.perception.scores.clustering_scores import contingency

Array = NDArray[Any]
SIDE, GAP, STRIP = 160, 6, 22  # [pixels]
COLOURS = np.array(
    [(90, 90, 90), (230, 97, 1), (59, 130, 246), (52, 168, 83), (221, 60, 151), (240, 196, 25), (129, 84, 214)],
    np.float64,
)


def write(path: Path, scenes: Scenes, found: Array, title: str, rows: int = 6) -> None:
    """Write the first `rows` scenes; each label of `found` (n, H, W) is coloured as the best matching true object."""
    lines = [beside(*each) for each in zip(scenes.images[:rows], found, scenes.labels)]
    head = np.full((STRIP, lines[0].shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate([head, *lines])[..., ::-1])


def beside(image: Array, found: Array, truth: Array) -> Array:
    """Return one row of the image, (SIDE + GAP, 3 SIDE + 2 GAP, 3) uint8."""
    picture = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float64)
    panels = [picture, overlaid(picture, named_as(found, truth)), overlaid(picture, truth)]
    white = np.full((SIDE, GAP, 3), 255, np.uint8)
    one, two, three = (enlarged(panel) for panel in panels)
    row = np.concatenate([one, white, two, white, three], 1)
    return np.concatenate([row, np.full((GAP, row.shape[1], 3), 255, np.uint8)])


def as_labels(masks: Array) -> Array:
    """Convert masks (N, K + 1, H, W), background last, to labels (N, H, W): background 0, objects 1..K."""
    return (masks.argmax(1) + 1) % masks.shape[1]


def enlarged(panel: Array) -> Array:
    return cv2.resize(panel.round().astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def overlaid(picture: Array, labels: Array) -> Array:
    """Draw objects in colour over an image; the background (0) is darkened, ignored pixels (< 0) are white."""
    colours = COLOURS[np.where(labels > 0, (labels - 1) % (len(COLOURS) - 1) + 1, 0)]
    strength = np.where(labels > 0, 0.75, 0.35)[..., None]
    mixed = (1 - strength) * picture + strength * colours
    return np.where(labels[..., None] < 0, 255.0, mixed)


def named_as(found: Array, truth: Array) -> Array:
    """Match found labels one-to-one to true ones by most shared pixels; unmatched ones get new labels."""
    counted = truth >= 0
    true_names, found_names = np.unique(truth[counted]), np.unique(found[counted])
    rows, columns = linear_sum_assignment(contingency(truth[counted], found[counted]), maximize=True)
    names = dict(zip(found_names[columns], true_names[rows]))
    named = np.zeros_like(truth)
    for name in np.unique(found):
        names.setdefault(name, max([*names.values(), 0]) + 1)
        named[found == name] = names[name]
    return named

"""Probes of image features in homes: room, visible objects, depth, own motion."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.homes.walks import Walks
from embodia.perception.encoders.image_encoder import ImageEncoder
from embodia.perception.scores.probe import (
    correlation,
    feature_maps,
    knn_probe,
    linear_probe,
    presence_probe,
    principal_axes,
    ridge_probe,
    summaries,
)

Array = NDArray[Any]
Read = Callable[[Array], tuple[Tensor, Tensor]]
"""Images (n, H, W, 3) uint8 to global features (n, D) and local features (n, rows, columns, C)."""
SCORES = {
    "room_linear": "room, linear probe",
    "room_knn": "room, 20 nearest neighbours",
    "objects_auc": "visible objects, AUC",
    "depth_r2": "depth, R²",
    "forward_r2": "forward motion, R²",
    "turn_r2": "turn, R²",
}


def scores(read: Read, seen: Walks, homes: int) -> dict[str, float]:
    """Fit probes in the first half of the homes and test them in the other half.

    Room: accuracy of logistic regression and of 20 nearest neighbours. Objects: area under the ROC curve, averaged over
    categories. Depth, forward, turn: R^2 of ridge regression. Own motion is regressed on the correlations of local
    features between two consecutive frames, because it is linear in their products only.
    """
    fit = np.arange(seen.rgb.shape[1]) % homes < homes // 2
    parts = [_part(read, seen, chosen, homes) for chosen in (fit, ~fit)]
    return _scores(*parts)


def pixels(seen: Walks, homes: int, count: int = 64) -> Read:
    """The control: principal components of the first half's pixels, at half the size."""
    fit = np.arange(seen.rgb.shape[1]) % homes < homes // 2
    mean, axes = principal_axes(_halved(seen.rgb[:, fit].reshape(-1, *seen.rgb.shape[2:])), count)
    return lambda rgb: ((_halved(rgb).flatten(1) - mean) @ axes, _blocks(_halved(rgb)))


def _blocks(pictures: Tensor, count: int = 4) -> Tensor:
    """The pixels (n, count, count, D) of count x count blocks of images (n, C, H, W)."""
    size = pictures.shape[2] // count
    return F.unfold(pictures, size, stride=size).transpose(1, 2).unflatten(1, (count, -1))


def reader(encoder: ImageEncoder) -> Read:
    (key,) = encoder.keys
    return lambda rgb: (summaries(encoder, {key: rgb}), feature_maps(encoder, {key: rgb}))


def _halved(rgb: Array) -> Tensor:
    return F.avg_pool2d(torch.from_numpy(rgb).permute(0, 3, 1, 2).float() / 255, 2)


def _part(read: Read, seen: Walks, chosen: Array, homes: int) -> dict[str, Tensor]:
    frames = seen.rgb[:, chosen]
    features, places = read(frames.reshape(-1, *frames.shape[2:]))
    pairs = torch.from_numpy(~seen.first[:, chosen][1:].ravel())
    by_time = places.unflatten(0, frames.shape[:2])
    home = torch.from_numpy(np.broadcast_to(np.flatnonzero(chosen) % homes, frames.shape[:2]).copy())
    return {
        "features": features,
        "home": home.flatten(),
        "pairs": correlation(by_time[:-1].flatten(0, 1)[pairs], by_time[1:].flatten(0, 1)[pairs]),
        "home_of_pair": home[1:].flatten()[pairs],
        "motion": torch.from_numpy(seen.motion[1:, chosen].reshape(-1, 2))[pairs],
        "room": torch.from_numpy(seen.room[:, chosen].ravel()),
        "objects": torch.from_numpy(seen.objects[:, chosen].reshape(-1, seen.objects.shape[2])),
        "depth": torch.from_numpy(seen.depth[:, chosen].ravel())[:, None],
    }


def _scores(fit: dict[str, Tensor], test: dict[str, Tensor]) -> dict[str, float]:
    inside, tested = fit["room"] >= 0, test["room"] >= 0
    rooms = (fit["features"][inside], fit["room"][inside], test["features"][tested], test["room"][tested])
    auc = presence_probe(fit["features"], fit["objects"], test["features"], test["objects"])
    depth = ridge_probe(fit["features"], fit["depth"], test["features"], test["depth"], fit["home"])
    motion = ridge_probe(fit["pairs"], fit["motion"], test["pairs"], test["motion"], fit["home_of_pair"])
    return {
        "room_linear": linear_probe(*rooms, decay=1e-3),
        "room_knn": knn_probe(*rooms),
        "objects_auc": float(auc.nanmean()),
        "depth_r2": float(depth[0]),
        "forward_r2": float(motion[0]),
        "turn_r2": float(motion[1]),
    }

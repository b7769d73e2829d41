"""Kalman filter of boxes that move with constant velocity (Kalman 1960; as in DeepSORT, Wojke et al. 2017).

The state of a track is (centre x, centre y, width, height) and their velocities per frame. Noise is relative to the
box's size. All functions take n tracks at once.
"""

import numpy as np

from embodia.perception.structured.tracking import Array

POSITION, VELOCITY = 1 / 20, 1 / 160
"""Standard deviations of the noise per frame, as shares of the box's size."""
MEASURED = np.eye(4, 8)
MOTION = np.eye(8) + np.eye(8, k=4)


def to_centres(boxes: Array) -> Array:
    """Convert boxes (n, 4) from corners to (centre x, centre y, width, height)."""
    boxes = np.asarray(boxes, float)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def to_corners(centres: Array) -> Array:
    """Convert boxes (n, 4) from (centre x, centre y, width, height) to corners."""
    half = np.maximum(centres[:, 2:4], 1.0) / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], 1)


def start(measured: Array) -> tuple[Array, Array]:
    """Return mean (n, 8) and covariance (n, 8, 8) of new tracks, which were measured (n, 4) once."""
    mean = np.concatenate([measured, np.zeros_like(measured)], 1)
    size = _size(measured)
    std = np.concatenate([2 * POSITION * size, 10 * VELOCITY * size], 1)
    return mean, _diagonal(std)


def predict(mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Return mean and covariance one frame later."""
    size = _size(mean)
    noise = _diagonal(np.concatenate([POSITION * size, VELOCITY * size], 1))
    return mean @ MOTION.T, MOTION @ covariance @ MOTION.T + noise


def innovation(mean: Array, covariance: Array) -> Array:
    """Return the covariance (n, 4, 4) of what will be measured."""
    return MEASURED @ covariance @ MEASURED.T + _diagonal(POSITION * _size(mean))


def update(mean: Array, covariance: Array, measured: Array) -> tuple[Array, Array]:
    """Return mean and covariance after measurements (n, 4)."""
    expected = innovation(mean, covariance)
    gain = np.linalg.solve(expected, MEASURED @ covariance).transpose(0, 2, 1)
    change = measured - mean[:, :4]
    after = mean + (gain @ change[..., None])[..., 0]
    return after, covariance - gain @ expected @ gain.transpose(0, 2, 1)


def distances(mean: Array, covariance: Array, measured: Array) -> Array:
    """Return the squared Mahalanobis distances (n, m) of measurements (m, 4) from what tracks expect."""
    change = measured[None] - mean[:, None, :4]
    solved = np.linalg.solve(innovation(mean, covariance)[:, None], change[..., None])[..., 0]
    return (change * solved).sum(-1)


def _size(boxes: Array) -> Array:
    """Width, height, width and height (n, 4), at least one pixel."""
    return np.maximum(boxes[:, [2, 3, 2, 3]], 1.0)


def _diagonal(std: Array) -> Array:
    return np.square(std)[..., None] * np.eye(std.shape[1])

"""Whether a ride is comfortable: six bounds on smoothed accelerations, jerks and yaw, as nuPlan smooths them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.signal import savgol_filter

from embodia.envs.driving.types import Floats, Ints, StateColumn
from embodia.envs.driving.vehicle.bicycle import center_accelerations

BOUNDS = {
    "lon_acceleration": (-4.05, 2.40),  # [m/s^2]
    "lat_acceleration": (-4.89, 4.89),  # [m/s^2]
    "jerk": (-8.37, 8.37),  # [m/s^3]
    "lon_jerk": (-4.13, 4.13),  # [m/s^3]
    "yaw_rate": (-0.95, 0.95),  # [rad/s]
    "yaw_acceleration": (-1.93, 1.93),  # [rad/s^2]
}
ACCELERATION_WINDOW, JERK_WINDOW, YAW_WINDOW = 8, 15, 5  # samples


@dataclass(frozen=True)
class Comfort:
    """Smoothed series (K,) by the names of BOUNDS."""

    series: dict[str, Floats]

    def within_bounds(self) -> dict[str, bool]:
        return {k: bool(np.all((self.series[k] > low) & (self.series[k] < high))) for k, (low, high) in BOUNDS.items()}

    def score(self) -> float:
        return float(all(self.within_bounds().values()))


@lru_cache(maxsize=64)
def filter_matrix(samples: int, window: int, degree: int, order: int, step: float) -> Floats:
    """(K, K) scipy's Savitzky-Golay filter, edges included, as a matrix to multiply K samples with: it is linear."""
    identity = np.eye(samples)
    return np.ascontiguousarray(savgol_filter(identity, window, degree, deriv=order, delta=step, axis=0))


def smooth(values: Floats) -> Floats:
    """Savitzky-Golay of order 2 over 8 samples; the even window is scipy's, and part of the definition."""
    samples = len(values)
    return np.asarray(np.round(filter_matrix(samples, min(ACCELERATION_WINDOW, samples), 2, 0, 1.0) @ values, 8))


def derivative(values: Floats, seconds: Floats, window: int, order: int = 1, degree: int = 2) -> Floats:
    """Savitzky-Golay derivative over at most `window` samples at the mean time step."""
    step, samples = float(np.diff(seconds).mean()), len(values)
    return np.asarray(np.round(filter_matrix(samples, min(window, samples), degree, order, step) @ values, 8))


def unwrap(headings: Floats) -> Floats:
    turns = np.zeros_like(headings)
    turns[1:] = np.cumsum(np.round(np.diff(headings) / (2 * np.pi)))
    return headings - 2 * np.pi * turns


def comfort(time_us: Ints, ego: Floats) -> Comfort:
    """Comfort of ego states (K, 11) at times (K,). Raises ValueError below 4 samples (the filters need them)."""
    if len(ego) < 4:
        raise ValueError(f"comfort needs at least 4 samples of history; got {len(ego)}")
    seconds = time_us / 1e6
    centre = center_accelerations(ego)
    lon, lat = smooth(centre[:, 0]), smooth(centre[:, 1])
    magnitude = smooth(np.hypot(ego[:, StateColumn.AX], ego[:, StateColumn.AY]))
    headings = unwrap(ego[:, StateColumn.HEADING])
    return Comfort(
        {
            "lon_acceleration": lon,
            "lat_acceleration": lat,
            "jerk": derivative(magnitude, seconds, JERK_WINDOW),
            "lon_jerk": derivative(lon, seconds, JERK_WINDOW),
            "yaw_rate": derivative(headings, seconds, YAW_WINDOW),
            "yaw_acceleration": derivative(headings, seconds, YAW_WINDOW, order=2, degree=3),
        }
    )

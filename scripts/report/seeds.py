"""Several seeds of one training: their scores together, with an interval over seeds and episodes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.scripts.report.statistics import Interval, interval

Floats = NDArray[np.float64]


def over_seeds(values: Sequence[ArrayLike], confidence: float = 0.95, resamples: int = 10_000) -> Interval:
    """Mean over seeds and its interval; values of each seed's episodes.

    The interval is a bootstrap that draws seeds first and then episodes of each, so that it covers the luck of training
    as well as that of the levels. With few seeds it is too narrow, as any interval over so few is; one seed has the
    interval of its episodes.

    Raises:
        ValueError: if there are no values, or one is not finite.
    """
    seeds = [np.asarray(each, float) for each in values]
    if not seeds or not all(len(each) and np.isfinite(each).all() for each in seeds):
        raise ValueError("each seed needs finite values")
    together = np.concatenate(seeds)
    if len(seeds) == 1 or np.ptp(together) == 0:  # Wilson's interval is not empty where all succeed
        return interval(together, confidence)
    rng = np.random.default_rng(0)
    means = np.stack([each[rng.integers(len(each), size=(resamples, len(each)))].mean(1) for each in seeds], 1)
    drawn = np.stack([means[rng.permutation(resamples)] for _ in seeds], 1)  # (R, draws, seeds): episodes drawn anew
    chosen = rng.integers(len(seeds), size=(resamples, len(seeds), 1))
    resampled = np.take_along_axis(drawn, chosen, 2)[..., 0].mean(1)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.mean([each.mean() for each in seeds])), float(low), float(high), "hierarchical")


def group_name(run: str) -> str:
    """Name of a run without its seed: ppo-empty-seed3 -> ppo-empty."""
    head, mark, seed = run.rpartition("-seed")
    return head if mark and seed.isdigit() else run

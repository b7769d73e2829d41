"""Confidence intervals and paired tests."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, ndtr, ndtri  # not scipy.stats, whose import takes a second

from embodia.agents.training.scores import Better

Floats = NDArray[np.float64]
CHUNK = 4_000_000
"""Maximum number of resampled values in memory."""


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    value: float
    low: float
    high: float
    method: Literal["wilson", "bca", "newcombe", "hierarchical"]

    def disjoint(self, other: "Interval") -> bool:
        """Return whether the intervals do not overlap."""
        return self.low > other.high or other.low > self.high


class Comparison(NamedTuple):
    """The difference A - B over the same seeds, with a paired test."""

    difference: Interval
    p_value: float
    test: Literal["mcnemar", "sign-flip"]
    n: int
    better: int  # pairs in which A scored better
    worse: int


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927), which is valid at 0 and n successes too.

    Raises:
        ValueError: if n < 1, or not 0 <= successes <= n.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} successes of {n} episodes is not a proportion")
    z = float(ndtri(0.5 + confidence / 2))
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else float(centre - half)
    high = 1.0 if successes == n else float(centre + half)
    return Interval(p, low, high, "wilson")


def resampled_means(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Return the means (resamples,) of bootstrap samples of values (n,)."""
    n = len(values)
    rows = max(1, CHUNK // n)
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([values[rng.integers(n, size=(size, n))].mean(1) for size in sizes])


def bootstrap(values: ArrayLike, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of the mean of values (n,) (Efron 1987).

    Raises:
        ValueError: if there are no values, or one is not finite.
    """
    x = finite(values)
    mean = float(x.mean())
    if len(x) == 1 or np.ptp(x) <= 1e-12 * np.abs(x).max():  # all equal up to rounding
        return Interval(mean, mean, mean, "bca")
    means = resampled_means(x, resamples, np.random.default_rng(seed))
    # Ties count half, so that the interval of a score with few distinct values is not shifted.
    bias = ndtri(((means < mean).mean() + (means <= mean).mean()) / 2)
    leave_one_out = (x.sum() - x) / (len(x) - 1)
    skew = leave_one_out.mean() - leave_one_out
    acceleration = (skew**3).sum() / (6 * (skew**2).sum() ** 1.5)
    z = ndtri(np.array([0.5 - confidence / 2, 0.5 + confidence / 2]))
    levels = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
    low, high = np.quantile(means, levels)
    return Interval(mean, float(low), float(high), "bca")


def interval(values: ArrayLike, confidence: float = 0.95, successes: bool | None = None) -> Interval:
    """Return Wilson's interval for successes, the bootstrap interval for other scores.

    Args:
        values: one per episode, (n,).
        confidence: level of the interval.
        successes: whether the values are successes; by default if all are 0 or 1.
    """
    x = finite(values)
    if binary(x) if successes is None else successes:
        return wilson(int(x.sum()), len(x), confidence)
    return bootstrap(x, confidence)


def by_level(levels: Sequence[str], *columns: ArrayLike) -> list[Floats]:
    """Return columns of values with a row for each distinct level, its mean, in the order in which levels first come.

    Episodes on the same level are no independent evidence about other levels, so repeats count once. Where all episodes
    are on one level, episodes that differ tell something about chance on it (a policy that draws its actions) and are
    all kept; equal ones are one.

    Args:
        levels: name of the level of each of n episodes.
        columns: (n,) values each.
    """
    values = np.stack([np.asarray(column, np.float64) for column in columns])
    numbers = {name: number for number, name in enumerate(dict.fromkeys(levels))}
    if len(numbers) == 1 and np.ptp(values, axis=1).any():
        return list(values)
    which = np.array([numbers[name] for name in levels])
    return [np.bincount(which, column) / np.bincount(which) for column in values]


def compare(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, better: Better = "higher", seed: int = 0
) -> Comparison:
    """Compare A with B by a paired test.

    Args:
        a, b: scores, (n,); a[i] and b[i] have the same seed.
        confidence: level of the interval of the difference.
        better: whether higher or lower scores are better.
        seed: random seed of the resampling.

    Raises:
        ValueError: if a and b have different lengths.
    """
    x, y = finite(a), finite(b)
    if len(x) != len(y):
        raise ValueError(f"a paired comparison needs the same seeds, but there are {len(x)} and {len(y)} scores")
    more, less = int((x > y).sum()), int((x < y).sum())
    counts = (more, less) if better == "higher" else (less, more)
    if binary(x) and binary(y):
        return Comparison(newcombe(x, y, confidence), mcnemar(more, less), "mcnemar", len(x), *counts)
    difference = bootstrap(x - y, confidence, seed=seed)
    return Comparison(difference, sign_flip(x - y, seed=seed), "sign-flip", len(x), *counts)


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p-value of McNemar's test from the numbers of discordant pairs."""
    n = better + worse
    return min(1.0, 2 * float(bdtr(min(better, worse), n, 0.5))) if n else 1.0


def newcombe(a: Floats, b: Floats, confidence: float = 0.95) -> Interval:
    """Interval of the difference of paired proportions from Wilson intervals (Newcombe 1998, method 10)."""
    n = len(a)
    first, second = wilson(int(a.sum()), n, confidence), wilson(int(b.sum()), n, confidence)
    phi = correlation(a, b)
    difference = first.value - second.value
    down, up = first.value - first.low, second.high - second.value
    low = difference - np.sqrt(max(0.0, down**2 - 2 * phi * down * up + up**2))
    down, up = second.value - second.low, first.high - first.value
    high = difference + np.sqrt(max(0.0, down**2 - 2 * phi * down * up + up**2))
    return Interval(difference, float(low), float(high), "newcombe")


def correlation(a: Floats, b: Floats) -> float:
    """Newcombe's phi with continuity correction; 0 if a margin is empty."""
    n = len(a)
    both, neither = float((a * b).sum()), float(((1 - a) * (1 - b)).sum())
    only_a, only_b = float((a * (1 - b)).sum()), float(((1 - a) * b).sum())
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    covariance = both * neither - only_a * only_b
    return (max(covariance - n / 2, 0.0) if covariance > 0 else covariance) / float(np.sqrt(margins))


def sign_flip(differences: Floats, resamples: int = 20_000, seed: int = 0) -> float:
    """Two-sided p-value of a zero mean by random sign flips; exact if there are at most 2**14 sign patterns."""
    d = differences[differences != 0]
    n = len(d)
    if n == 0:
        return 1.0
    observed = abs(d.sum()) * (1 - 1e-12)
    if n <= 14:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ d) >= observed).mean())
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // n)
    extreme = 0
    for start in range(0, resamples, rows):
        signs = rng.choice(np.array([-1.0, 1.0]), size=(min(rows, resamples - start), n))
        extreme += int((np.abs(signs @ d) >= observed).sum())
    return (extreme + 1) / (resamples + 1)


def binary(x: ArrayLike) -> bool:
    """Return whether all values are 0 or 1."""
    return bool(np.isin(x, (0.0, 1.0)).all())


def finite(values: ArrayLike) -> Floats:
    """Return the values as float64 (n,). Raises ValueError if there are none, or one is not finite."""
    x = np.asarray(values, np.float64).ravel()
    if len(x) == 0:
        raise ValueError("there are no episodes to compute statistics of")
    if not np.isfinite(x).all():
        raise ValueError(f"score {int(np.flatnonzero(~np.isfinite(x))[0])} of {len(x)} is not a finite number")
    return x

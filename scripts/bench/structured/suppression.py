"""Time of non-maximum suppression: 10,000 boxes on about 100 objects."""

from collections.abc import Callable

import numpy as np

from embodia.perception.structured.detection import Array
from embodia.perception.structured.detection.nms import nms, soft_nms
from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import rate, timing

REPEATS = 6


def rows(options: Structured) -> list[Row]:
    boxes, scores = crowd(100 if options.smoke else 10_000, 100)
    soft = timing("soft nms", [milliseconds(lambda: soft_nms(boxes, scores)) for _ in range(REPEATS)], "ms")
    hard = [milliseconds(lambda: nms(boxes, scores)) for _ in range(REPEATS)]
    return [timing("nms, 10,000 boxes", hard, "ms", [soft])]


def crowd(n: int, objects: int, seed: int = 0) -> tuple[Array, Array]:
    """Return n boxes (n, 4) scattered around objects in an image of 640 x 480 pixels, with scores (n,)."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(30, 120, (objects, 2))
    centre = rng.uniform(0, 1, (objects, 2)) * [640, 480]
    which = rng.integers(objects, size=n)
    middle = centre[which] + rng.normal(0, 0.06, (n, 2)) * size[which]
    half = size[which] * np.exp(rng.normal(0, 0.06, (n, 2))) / 2
    return np.concatenate([middle - half, middle + half], 1), rng.uniform(size=n)


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call, after one that is not counted."""

    def once() -> int:
        work()
        return 1

    once()
    return 1e3 / rate(once).cpu

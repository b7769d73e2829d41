"""Structured outputs: detection, segmentation and tracking, each beside its controls.

A part is a function from the options to rows. Parts keep what is finished in the bench's folder, so that an
interrupted bench goes on.
"""

import sys
from collections.abc import Callable

from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.structured import (
    detector_shapes,
    detector_worlds,
    instances,
    label_maps,
    sets,
    suppression,
    tracking,
)
from embodia.scripts.mistake import Mistake, nearest

PARTS: dict[str, Callable[[Structured], list[Row]]] = {
    "nms": suppression.rows,
    "detector-shapes": detector_shapes.rows,
    "detector-homes": detector_worlds.home_rows,
    "detector-roads": detector_worlds.road_rows,
    "crf": label_maps.crf_rows,
    "crf-rnn": label_maps.rnn_rows,
    "instances": instances.rows,
    "sets": sets.rows,
    "tracking-shapes": tracking.shape_rows,
    "tracking-roads": tracking.road_rows,
}


def measure(options: Structured) -> list[Row]:
    """Run the chosen parts. Raises Mistake for a word in `options.only` with which no part begins."""
    for word in options.only:
        if not any(part.startswith(word) for part in PARTS):
            raise Mistake(f"no part of this bench begins with {word!r}. {nearest(word, PARTS)}")
    found = []
    for name, part in PARTS.items():
        if not options.only or name.startswith(options.only):
            print(f"part {name}", file=sys.stderr)
            found += part(options)
    return found

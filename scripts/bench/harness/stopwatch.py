"""Wall and CPU time of one piece of work. On a busy machine the two differ."""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from embodia.scripts.bench.harness.results import Row


class Rate(NamedTuple):
    """Pieces per second."""

    wall: float
    cpu: float


def rate(work: Callable[[], int]) -> Rate:
    """Time `work`, which returns its number of pieces."""
    wall, cpu = time.perf_counter(), time.process_time()
    pieces = work()
    return Rate(pieces / (time.perf_counter() - wall), pieces / (time.process_time() - cpu))


def timing(name: str, values: Sequence[float], unit: str, controls: Sequence[Row] = ()) -> Row:
    """A row of repeated measurements: their median, and their range, which for six is a 97 % interval of the median."""
    found = tuple(float(value) for value in values)
    return Row(name, median(found), min(found), max(found), len(found), None, None, tuple(controls), unit, found)


def timings(name: str, rates: Sequence[Rate], pieces: str) -> list[Row]:
    """Two rows: pieces per second and per CPU second. Reports on the console if the machine was busy."""
    share = median(each.wall / each.cpu for each in rates)
    if share < 0.8:
        print(f"{name}: the machine was busy, this process ran {100 * share:.0f} % of the time", file=sys.stderr)
    return [
        timing(name, [each.wall for each in rates], f"{pieces}/s"),
        timing(name, [each.cpu for each in rates], f"{pieces} per CPU second"),
    ]

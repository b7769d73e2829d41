"""Wall and CPU time of one piece of work, because on a busy machine the two differ."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple


class Rate(NamedTuple):
    """Pieces per second."""

    wall: float
    cpu: float


def rate(work: Callable[[], int]) -> Rate:
    """Do the work, which says how many pieces it was."""
    wall, cpu = time.perf_counter(), time.process_time()
    pieces = work()
    return Rate(pieces / (time.perf_counter() - wall), pieces / (time.process_time() - cpu))


def middle(rates: list[Rate]) -> Rate:
    return Rate(median(each.wall for each in rates), median(each.cpu for each in rates))


def remark(found: Rate) -> dict[str, Any]:
    """Whether this process had the machine to itself; said on the console where it had not."""
    share = found.wall / found.cpu
    if share < 0.8:
        print(f"  the machine was busy: this process ran {100 * share:.0f} % of the time; see the CPU figures")
    return {"cpu_share": share}

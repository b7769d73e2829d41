"""Jobs that run once: each leaves a line in a file as soon as it is done, and the next call reads that line."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from embodia.scripts.assembly.json_lines import read_lines
from embodia.scripts.assembly.provenance import cpu_minutes
from embodia.scripts.report.progress import Progress

Line = dict[str, Any]


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of finished jobs. A line that a killed process left unfinished is skipped."""
    yield from read_lines(path)


def once(path: Path, work: Iterable[tuple[str, Callable[[], Line]]]) -> list[Line]:
    """Run the jobs that have no line in `path` yet.

    Args:
        path: a JSONL file with one line per finished job.
        work: name and function of each job.

    Returns:
        The line of every job, in their order, with its `name` and `cpu_minutes`.
    """
    jobs = list(work)
    known = {line["name"]: line for line in lines_of(path)}
    missing = [name for name, _ in jobs if name not in known]
    progress = Progress("bench", len(jobs), "jobs", done=len(jobs) - len(missing))
    for name, job in jobs:
        if name not in known:
            print(f"{progress.done + 1} of {len(jobs)}: {name}{progress.left()}", file=sys.stderr, flush=True)
            used = cpu_minutes()
            known[name] = {"name": name, **job(), "cpu_minutes": round(cpu_minutes() - used, 2)}
            with path.open("a") as file:
                file.write(json.dumps(known[name]) + "\n")
            progress.done += 1
    return [known[name] for name, _ in jobs]


def by_seed(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Lines named `NAME, seed S`, grouped by NAME in their order."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        name, separator, _ = line["name"].rpartition(", seed ")
        if separator:
            found.setdefault(name, []).append(line)
    return found


def minutes(lines: Iterable[Line]) -> float:
    """CPU minutes of all these jobs together."""
    return round(sum(line["cpu_minutes"] for line in lines), 2)

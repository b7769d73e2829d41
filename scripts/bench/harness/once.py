"""Jobs of a measurement that are done once: each a line of a file as soon as it is done, and not run again."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from embodia.scripts.assembly.provenance import cpu_minutes

Line = dict[str, Any]


def lines_of(path: Path) -> Iterator[Line]:
    """What earlier processes left; a line cut short by a kill is run again."""
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue


def once(path: Path, work: Iterable[tuple[str, Callable[[], Line]]]) -> list[Line]:
    """A line per named job, in their order, with `name` and `cpu_minutes`: those of `path`, and what it lacked."""
    jobs = list(work)
    known = {line["name"]: line for line in lines_of(path)}
    for done, (name, job) in enumerate(jobs, start=1):
        if name not in known:
            print(f"{done} of {len(jobs)}: {name}", file=sys.stderr, flush=True)
            used = cpu_minutes()
            known[name] = {"name": name, **job(), "cpu_minutes": round(cpu_minutes() - used, 2)}
            with path.open("a") as file:
                file.write(json.dumps(known[name]) + "\n")
    return [known[name] for name, _ in jobs]

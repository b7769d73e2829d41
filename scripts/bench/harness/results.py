"""Result files, `docs/results/<bench>.json`: numbers with the command, commit and machine that produced them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from embodia.agents.training.versions import versions
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.report import replace
from embodia.scripts.report.seeds import over_seeds
from embodia.scripts.report.statistics import bootstrap

ROOT = Path(__file__).resolve().parents[3]
"""The checkout, if the package runs from one."""
RESULTS = Path("docs/results")


@dataclass(frozen=True)
class Row:
    """One number with its 95 % interval, the paper's number, and the controls measured beside it."""

    name: str
    value: float
    low: float
    high: float
    seeds: int
    """Number of independent trainings, or of repetitions where time is measured."""
    paper: float | None = None
    cpu_minutes: float | None = None
    """CPU minutes of all seeds together, of the part of the bench that gave this number."""
    controls: tuple["Row", ...] = ()
    unit: str = ""
    """Name of the score, or unit of the number."""
    by_seed: tuple[float, ...] = field(default=())
    """The value of each seed, in order."""


def row(
    name: str,
    values: Sequence[Sequence[float]],
    unit: str = "",
    *,
    paper: float | None = None,
    cpu_minutes: float | None = None,
    controls: Sequence[Row] = (),
) -> Row:
    """Make a row from values per seed and episode: their mean, and an interval over seeds and episodes.

    Args:
        values: the episodes' values for each seed. A seed may have a single value, such as a share of its own
            samples: then the interval is that of a mean over seeds.
    """
    seeds = [np.asarray(each, float).ravel() for each in values]
    alone = all(len(each) == 1 for each in seeds) and len(seeds) > 1
    found = bootstrap(np.concatenate(seeds)) if alone else over_seeds(seeds)
    means = tuple(float(np.mean(each)) for each in values)
    return Row(name, found.value, found.low, found.high, len(values), paper, cpu_minutes, tuple(controls), unit, means)


def provenance(name: str, command: str) -> dict[str, Any]:
    """All of a result file but its rows; to be asked before the bench runs, in case that files change meanwhile."""
    return {
        "bench": name,
        "command": command,
        "commit": commit(),
        "machine": {**hardware(), "versions": versions()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def result(origin: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The content of a result file."""
    return {**origin, "rows": [asdict(each) for each in rows]}


def write(found: dict[str, Any], folder: Path) -> Path:
    """Write `folder/<bench>.json`. If it replaces an older result, a line on the console says which one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found['bench']}.json"
    if path.exists():
        old = content(path)
        print(
            f"{path} replaces the result of `{old['command']}` at commit {old['commit']}, {old['date']}, "
            f"{len(old['rows'])} rows",
            file=sys.stderr,
        )
    replace(path, json.dumps(found, indent=1) + "\n")
    return path


def folder() -> Path:
    """`docs/results` if the current folder lies in the checkout, else `results` in the current folder."""
    in_checkout = (ROOT / ".git").exists() and Path.cwd().is_relative_to(ROOT)
    return ROOT / RESULTS if in_checkout else Path("results")


def content(path: Path) -> dict[str, Any]:
    """Read a result file. Raises Mistake if it is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        missing = {"bench", "command", "commit", "machine", "date", "rows"} - set(found)
    except (ValueError, TypeError) as error:
        raise Mistake(f"{path} is no result file ({error}); remove it and run its bench again") from error
    if missing:
        raise Mistake(f"{path} lacks {', '.join(sorted(missing))}; remove it and run its bench again")
    return found


def read(path: Path) -> list[Row]:
    """The rows of a result file."""
    return [restored(each) for each in content(path)["rows"]]


def restored(data: dict[str, Any]) -> Row:
    controls = tuple(restored(each) for each in data["controls"])
    return Row(**{**data, "controls": controls, "by_seed": tuple(data["by_seed"])})


def commit() -> str | None:
    """The checkout's commit, with `+` if files differ from it; None outside a checkout."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        name = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return name.stdout.strip() + ("+" if changed else "")

"""Result files, `docs/results/<bench>.json`: what README and docs quote, with the command, commit and machine."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from embodia.agents.training.versions import versions
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.report.report import replace
from embodia.scripts.report.statistics import Interval, interval

RESULTS = Path("docs/results")


@dataclass(frozen=True)
class Row:
    """One number with its 95 % interval, the paper's number, and the controls measured beside it."""

    name: str
    value: float
    low: float
    high: float
    seeds: int
    """Independent trainings; or repetitions, where speed is measured."""
    paper: float | None = None
    cpu_minutes: float | None = None
    """Of all seeds together."""
    controls: tuple["Row", ...] = ()
    unit: str = ""
    by_seed: tuple[float, ...] = field(default=())
    """The value of each seed, in order."""


def row(name: str, values: Sequence[Sequence[float]], unit: str = "", **more: object) -> Row:
    """A row from values per seed and episode: the mean of the seeds, and the interval of all episodes together.

    Args:
        values: for each seed its episodes' values; seeds with one number each are allowed.
        more: `paper`, `cpu_minutes`, `controls`.
    """
    found: Interval = interval(np.concatenate([np.asarray(each, float).ravel() for each in values]))
    means = tuple(float(np.mean(each)) for each in values)
    return Row(name, found.value, found.low, found.high, len(values), unit=unit, by_seed=means, **more)  # type: ignore[arg-type]


def write(bench: str, command: str, rows: Sequence[Row], folder: Path = RESULTS) -> Path:
    """Write `folder/<bench>.json`; a reader meets the old file or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {
        "bench": bench,
        "command": command,
        "commit": commit(),
        "machine": {**hardware(), "versions": versions()},
        "date": datetime.now(UTC).date().isoformat(),
        "rows": [asdict(each) for each in rows],
    }
    path = folder / f"{bench}.json"
    replace(path, json.dumps(said, indent=1) + "\n")
    return path


def read(path: Path) -> list[Row]:
    """The rows of a result file."""
    return [restored(each) for each in json.loads(path.read_text())["rows"]]


def restored(data: dict) -> Row:
    controls = tuple(restored(each) for each in data["controls"])
    return Row(**{**data, "controls": controls, "by_seed": tuple(data["by_seed"])})


def commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside a checkout."""
    place = Path(__file__).parent
    try:
        asked = ["git", "rev-parse", "--short", "HEAD"]
        name = subprocess.run(asked, cwd=place, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=place, check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return name.stdout.strip() + ("+" if changed else "")

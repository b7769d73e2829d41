"""README and docs as text, the table of docs/papers.md, and rows of result files by name and unit."""

import re
from pathlib import Path
from typing import NamedTuple

from embodia.scripts.bench.harness import results

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
EXTENDING = (ROOT / "docs/extending.md").read_text()
PAPERS = (ROOT / "docs/papers.md").read_text()
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}


class Row(NamedTuple):
    """The four cells of a row."""

    what: str
    paper: str
    here: str
    control: str

    @property
    def seeds(self) -> int:
        """The number in "3 seeds" or "one seed"."""
        found = re.search(r"(\d+|one) seed", self.what)
        assert found, f"{self.what}: of how many seeds?"
        return 1 if found[1] == "one" else int(found[1])


class Said(NamedTuple):
    """A number with its interval; by default the rounding interval of its last digit."""

    value: float
    low: float
    high: float

    def meets(self, low: float, high: float) -> bool:
        return self.low <= high and low <= self.high


def rows() -> list[Row]:
    """Return all rows; a cell "the same" has the content of the cell above."""
    found: list[Row] = []
    for line in PAPERS.splitlines():
        if line.startswith("| `embodia "):
            cells = line.strip("| ").split(" | ")
            found.append(Row(*(found[-1][i] if cell == "the same" else cell for i, cell in enumerate(cells))))
    return found


def row(command: str, about: str = "") -> Row:
    """Return the only row of `embodia command` whose first cell contains `about`."""
    (found,) = (each for each in rows() if each.what.startswith(f"`embodia {command}`") and about in each.what)
    return found


def said(cell: str, words: str = "") -> Said:
    """Return the first number after the words, as in "open loop 0.49 [0.39, 0.59]"."""
    number = r"(-?\d+(?:\.(\d+))?)"
    found = re.search(rf"{re.escape(words)}\s*{number}(?: \[{number}, {number}\])?", cell)
    assert found, f"no number behind {words!r} in {cell!r}"
    value, half = float(found[1]), 0.5 * 10.0 ** -len(found[2] or "")
    return Said(value, float(found[3]), float(found[5])) if found[3] else Said(value, value - half, value + half)


def flat(found: list[results.Row]) -> dict[tuple[str, str], results.Row]:
    """Rows and their controls by name and unit."""
    return {(each.name, each.unit): each for own in found for each in (*own.controls, own)}

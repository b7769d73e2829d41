"""Result rows as tables: on the console, and in README.md and docs between markers.

`<!-- results: planning -->` ... `<!-- end -->` holds all rows of `docs/results/planning.json`;
`<!-- results: planning: swung up; updates -->` holds those whose name or unit contains one of these words.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from embodia.scripts.bench.harness.results import RESULTS, Row, read
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.chart import span

Cells = dict[str, Row]
"""The rows of one name, by unit."""
Table = list[list[str]]
"""Lines of cells, the header first."""
FEW = 4
"""Controls that fit into one cell."""
BLOCK = re.compile(r"<!-- results: ([\w-]+)(?:: ([^>]*?))? -->\n(.*?)<!-- end -->", re.S)


def rewrite(root: Path) -> None:
    """Rewrite the generated tables of README.md and docs/*.md."""
    for page in pages(root):
        old = page.read_text()
        new = filled(old, root / RESULTS)
        if new != old:
            page.write_text(new)
            print(f"rewritten: {page.relative_to(root)}")


def pages(root: Path) -> list[Path]:
    """README.md and the pages of docs. Raises Mistake outside a checkout."""
    if not (root / "docs").is_dir():
        raise Mistake(f"{root} holds no docs folder; run `embodia bench tables` from a checkout of the project")
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def filled(page: str, folder: Path) -> str:
    """The page with the tables that the result files in `folder` give."""

    def block(found: re.Match[str]) -> str:
        name, words, _ = found.groups()
        head = found[0].splitlines()[0]
        return f"{head}\n{generated(folder / f'{name}.json', words)}\n<!-- end -->"

    return BLOCK.sub(block, page)


def generated(path: Path, words: str | None) -> str:
    """The Markdown tables of one result file."""
    if not path.exists():
        return "No result file yet."
    wanted = [word.strip() for word in (words or "").split(";")]
    rows = [row for row in read(path) if any(word in f"{row.name}, {row.unit}" for word in wanted)]
    if not rows:
        raise Mistake(f"{path} has no row whose name or unit contains {' or '.join(wanted)!r}; mend the marker")
    return "\n\n".join(map(markdown, tables(rows)))


def text(rows: Sequence[Row]) -> str:
    """The tables for the console."""
    return "\n\n".join(map(plain, tables(rows)))


def tables(rows: Sequence[Row]) -> Iterator[Table]:
    """One line per name and one column per unit.

    A line belongs to the table above it if it shares a unit and the group with it: "grid" in the name "grid: dreamer".
    """
    block: dict[str, Cells] = {}
    for name, cells in by_name(rows).items():
        if block and not (group(next(iter(block))) == group(name) and units(block).keys() & cells.keys()):
            yield table(block)
            block = {}
        block[name] = cells
    yield table(block)


def group(name: str) -> str:
    return name.rpartition(": ")[0]


def by_name(rows: Sequence[Row]) -> dict[str, Cells]:
    found: dict[str, Cells] = {}
    for row in rows:
        found.setdefault(row.name, {})[row.unit] = row
    return found


def units(block: dict[str, Cells]) -> dict[str, None]:
    return {unit: None for cells in block.values() for unit in cells}


def table(block: dict[str, Cells]) -> Table:
    """Controls that all lines share come last, with columns for the units that only they have.

    If the lines themselves have one unit and few controls of their own, these stand in one column, else below the line.
    """
    owned = {name: controls(cells) for name, cells in block.items()}
    shared = in_common(list(owned.values()))
    most = max(len(own.keys() - shared.keys()) for own in owned.values())
    inline = len(units(block)) == 1 and most <= FEW
    below = {} if inline else {unit: None for own in owned.values() for unit in units(own)}
    columns = list(units(block) | units(shared) | below)
    beside = inline and any(own.keys() - shared.keys() for own in owned.values())
    title = group(next(iter(block)))
    found = [[title, *columns, *["controls"] * beside, "seeds", "CPU minutes"]]
    for name, cells in block.items():
        own = {other: each for other, each in owned[name].items() if other not in shared}
        said = "; ".join(
            f"{other} {spelled(row)}" + f" ({unit})" * (unit not in cells)
            for other, each in own.items()
            for unit, row in each.items()
        )
        found.append(line(name.removeprefix(f"{title}: "), cells, columns, [said] * beside))
        if not inline:
            found += [line(f"*{other}*", each, columns, []) for other, each in own.items()]
    return found + [line(f"*{name}*", each, columns, [""] * beside) for name, each in shared.items()]


def in_common(owned: Sequence[dict[str, Cells]]) -> dict[str, Cells]:
    """The controls that all lines have, with the same numbers wherever two lines have the same unit."""
    together: dict[str, Cells] = {}
    different = set()
    for own in owned:
        for name, cells in own.items():
            for unit, row in cells.items():
                if together.setdefault(name, {}).setdefault(unit, row) != row:
                    different.add(name)
    return {
        name: cells for name, cells in together.items() if name not in different and all(name in own for own in owned)
    }


def controls(cells: Cells) -> dict[str, Cells]:
    return by_name([control for row in cells.values() for control in row.controls])


def line(name: str, cells: Cells, columns: Sequence[str], beside: list[str]) -> list[str]:
    rows = list(cells.values())
    minutes = [row.cpu_minutes for row in rows if row.cpu_minutes is not None]
    seeds = str(max(row.seeds for row in rows))
    values = [spelled(cells[unit]) if unit in cells else "" for unit in columns]
    return [name, *values, *beside, seeds, f"{max(minutes):.1f}" if minutes else ""]


def spelled(row: Row) -> str:
    """The value, its interval if it has one, and the paper's value if there is one."""
    if row.low < row.high:
        value = span(row.value, row.low, row.high)
    else:
        value = f"{row.value:,.0f}" if abs(row.value) >= 1000 else f"{row.value:.3g}"
    return value if row.paper is None else f"{value} (paper {row.paper:g})"


def markdown(table: Table) -> str:
    head, *lines = table
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def plain(table: Table) -> str:
    """Columns under each other, without the asterisks of controls."""
    lines = [[cell.replace("*", "") for cell in cells] for cells in table]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines)

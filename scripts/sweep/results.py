"""What a sweep found: a table with intervals over seeds, a picture, and the best cell."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embodia.agents.training import checkpoint
from embodia.agents.training.scores import SIGN
from embodia.scripts.report.chart import span
from embodia.scripts.report.curves import COLOURS
from embodia.scripts.report.seeds import over_seeds
from embodia.scripts.report.statistics import Interval
from embodia.scripts.sweep import Job
from embodia.scripts.sweep.cells import Sweep


@dataclass(frozen=True)
class Cell:
    """The finished runs of one cell."""

    name: str
    values: tuple[str, ...]
    """Values of the sweep's flags."""
    seeds: int
    score: str
    """The score that heads the reports."""
    better: str
    """`higher` or `lower`."""
    test: Interval
    """The score on test levels, over seeds and episodes."""
    validation: float | None
    """Mean score of the best checkpoints on validation levels; None if the runs were not evaluated in training."""
    cpu_minutes: float


def cells(sweep: Sweep, jobs: Sequence[Job]) -> list[Cell]:
    """The cells with at least one finished run, the best first."""
    found = []
    for values in sweep.cells():
        name = sweep.name(values)
        done = [job for job in jobs if job.folder.name.rpartition("-seed")[0] == name and job.finished]
        if done:
            found.append(cell(name, values, done))
    return sorted(found, key=merit, reverse=True)


def merit(cell: Cell) -> float:
    """What cells are ranked by; the larger the better."""
    score = cell.test.value if cell.validation is None else cell.validation
    return -score if cell.better == "lower" else score


def cell(name: str, values: tuple[str, ...], done: Sequence[Job]) -> Cell:
    reports = [json.loads((job.folder / "report.json").read_text()) for job in done]
    score, better = reports[0]["headline"], reports[0]["better"].get(reports[0]["headline"], "higher")
    found = [validation(job.folder) for job in done]
    known = [SIGN[better] * value for value in found if value is not None]
    return Cell(
        name,
        values,
        len(done),
        score,
        better,
        over_seeds([[episode[score] for episode in report["episodes"]] for report in reports]),
        float(np.mean(known)) if len(known) == len(done) else None,
        round(sum(report["cpu_minutes"] for report in reports), 2),
    )


def validation(run: Path) -> float | None:
    """The score by which the run's best checkpoint was chosen, the larger the better; None without evaluations."""
    merits = [
        value for path in checkpoint.list_steps(run / "checkpoints") if (value := checkpoint.merit(path)) is not None
    ]
    return max(merits, default=None)


def table(found: Sequence[Cell], total: int) -> str:
    """The cells as lines of text; `total` is the number of seeds that each should have."""
    width = max(len(each.name) for each in found)
    head = f"{'':{width}}  {'validation':>10}  {'test ' + found[0].score:<24} seeds  CPU minutes"
    lines = [
        f"{each.name:{width}}  {'-' if each.validation is None else f'{each.validation:.3f}':>10}  "
        f"{span(each.test.value, each.test.low, each.test.high):<24} {each.seeds} of {total}  {each.cpu_minutes:8.1f}"
        for each in found
    ]
    return "\n".join([head, *lines])


def draw(sweep: Sweep, found: Sequence[Cell], out: Path) -> None:
    """Draw the test score against the first flag's values, a line a combination of the others."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    flag, values = sweep.over[0] if sweep.over else ("", (sweep.preset,))
    places, scale = positions(values)
    axis.set_xscale(scale)
    groups: dict[str, list[Cell]] = {}
    for each in found:
        groups.setdefault(", ".join(each.values[1:]), []).append(each)
    for (name, members), colour in zip(sorted(groups.items()), COLOURS * len(groups)):
        members.sort(key=lambda each: places[each.values[0]] if each.values else 0.0)
        x = [places[each.values[0]] if each.values else 0.0 for each in members]
        means = [each.test.value for each in members]
        errors = [
            [each.test.value - each.test.low for each in members],
            [each.test.high - each.test.value for each in members],
        ]
        axis.errorbar(x, means, yerr=np.maximum(errors, 0), color=colour, marker="o", capsize=3, label=name or None)
    axis.set_xticks(list(places.values()), list(places))
    axis.minorticks_off()
    axis.set_xlabel(flag)
    axis.set_ylabel(f"test {found[0].score}")
    axis.grid(alpha=0.3)
    if len(groups) > 1:
        axis.legend(title=", ".join(name.rpartition(".")[2] for name, _ in sweep.over[1:]))
    figure.savefig(out, dpi=150)


def positions(values: Sequence[str]) -> tuple[dict[str, float], str]:
    """Where the values lie on the axis, and its scale: numbers in their place, on a logarithmic axis if they span more
    than a factor of 10; other values side by side."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return {value: float(i) for i, value in enumerate(values)}, "linear"
    scale = "log" if min(numbers) > 0 and max(numbers) >= 10 * min(numbers) else "linear"
    return dict(zip(values, numbers)), scale


def written(sweep: Sweep, found: Sequence[Cell], rule: str, folder: Path) -> dict[str, Any]:
    """Write results.json and sweep.png; return the results."""
    made = {
        "preset": sweep.preset,
        "rule": rule,
        "best": found[0].name,
        "cells": [{**vars(each), "values": list(each.values), "test": each.test._asdict()} for each in found],
    }
    (folder / "results.json").write_text(json.dumps(made, indent=2) + "\n")
    draw(sweep, found, folder / "sweep.png")
    return made

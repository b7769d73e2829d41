"""Rewards from experts, each beside its control: MaxEnt IRL, max-margin planning, structured SVMs, adversaries."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from embodia.scripts.bench.generative.training import Budget, Numbers
from embodia.scripts.bench.harness.once import Line, once
from embodia.scripts.bench.harness.options import Irl
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.imitation.object_worlds import max_ent
from embodia.scripts.bench.imitation.pictures import draw_pictures
from embodia.scripts.bench.imitation.race import DRIVES, race
from embodia.scripts.bench.imitation.reaching import reaching
from embodia.scripts.bench.imitation.terrain import max_margin
from embodia.scripts.bench.imitation.words import segments, words
from embodia.scripts.bench.imitation.worlds import homes, lava, rooms

PARTS: dict[str, Callable[[int, Budget], Numbers]] = {
    "maxent": max_ent,
    "margin": max_margin,
    "words": words,
    "segments": segments,
    "reaching": reaching,
    "race": race,
    "lava": lava,
    "rooms": rooms,
    "homes": homes,
}


def measure(options: Irl) -> list[Row]:
    """Run the parts that are not finished yet, draw the images, and return the rows."""
    out = options.folder()
    budget = Budget(options.smoke, out / "arrays")
    jobs = [
        (f"{name} {seed}", partial(part, seed, budget)) for seed in range(options.seeds) for name, part in PARTS.items()
    ]
    lines = once(out / "lines.jsonl", jobs)
    for path in draw_pictures(out / "arrays", out):
        print(path, file=sys.stderr)
    return rows({name: [line for line in lines if line["name"].startswith(f"{name} ")] for name in PARTS})


def rows(lines: dict[str, list[Line]]) -> list[Row]:
    """The rows of the result file, each from the lines of its part, one line a seed."""

    def of(part: str, name: str, unit: str = "", label: str | None = None, **more: Any) -> Row:
        values = [np.atleast_1d(line[name]).tolist() for line in lines[part]]
        return row(label or name, values, unit, **more)

    def main(label: str, part: str, name: str, unit: str, controls: Sequence[str]) -> Row:
        minutes = round(sum(line["cpu_minutes"] for line in lines[part]), 2)
        beside = [of(part, each, unit) for each in controls]
        return of(part, name, unit, label, cpu_minutes=minutes, controls=beside)

    drives = [each for each in DRIVES if f"BC, {each}" in lines["race"][0]]
    return [
        main(
            "maxent",
            "maxent",
            "64 demonstrations",
            "value difference",
            ("16 demonstrations", "256 demonstrations", "visits as reward"),
        ),
        main(
            "maxent, reward",
            "maxent",
            "correlation, 64",
            "correlation",
            ("correlation, 16", "correlation, 256", "correlation, visits as reward"),
        ),
        main(
            "max-margin",
            "margin",
            "max-margin",
            "true cost ratio",
            ("without a margin", "cost loop", "uniform costs", "max-margin, other style", "costs of the other style"),
        ),
        main(
            "max-margin, path",
            "margin",
            "overlap, max-margin",
            "overlap",
            ("overlap, without a margin", "overlap, cost loop", "overlap, uniform costs", "overlap, other style"),
        ),
        main("ssvm", "words", "ssvm", "share of the unary's errors left", ("chain CRF",)),
        main(
            "ssvm, characters",
            "words",
            "errors, chain SVM",
            "share of characters wrong",
            ("errors, unary SVM", "errors, chain CRF"),
        ),
        main("ssvm, gap", "words", "duality gap, chain SVM", "duality gap", ("duality gap, unary SVM",)),
        main("segmentation", "segments", "IoU, graph cut", "IoU", ("IoU, single pixels",)),
        main("guided cost learning", "reaching", "guided", "relative error of the weights", ("fixed proposal",)),
        main(
            "adversarial",
            "race",
            f"adversarial, {drives[0]}",
            "share of the expert's score",
            [f"{name}, {each}" for each in drives for name in ("adversarial", "BC", "DAgger")][1:],
        ),
        *(world(main, part, name) for part in ("lava", "rooms", "homes") for name in ("success", "path ratio")),
    ]


def world(main: Callable[..., Row], part: str, score: str) -> Row:
    """The row of a score in a world: max-margin planning beside the other rules and the references."""
    others = {"lava": ("MaxEnt", "cost loop", "BC"), "rooms": ("MaxEnt",), "homes": ()}[part]
    controls = [f"{name}, {score}" for name in (*others, "uniform costs", "expert")]
    return main(f"{part}, {score}", part, f"max-margin, {score}", score, controls)

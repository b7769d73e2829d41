"""The cells of a sweep: every combination of the values of `--over`, and the file that remembers them."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from embodia.scripts.mistake import Mistake, nearest
from embodia.scripts.sweep import Job

FILE = "sweep.json"
RULE = "the best mean validation score over the seeds, of each run's best checkpoint"
"""How the best cell is chosen. It is fixed before the sweep begins; test scores play no part in it."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep runs."""

    preset: str
    over: tuple[tuple[str, tuple[str, ...]], ...]
    """Flags, without `--`, and their values."""
    seeds: tuple[int, ...]
    flags: tuple[str, ...] = ()
    """Further flags of `embodia train`, the same in every run."""

    def cells(self) -> list[tuple[str, ...]]:
        """The values of the flags, one tuple a cell."""
        return list(product(*(values for _, values in self.over)))

    def name(self, cell: Sequence[str]) -> str:
        """Name of a cell, `learning-rate=1e-4,gamma=0.9`: the last parts of the flags and their values."""
        pairs = [(flag.rpartition(".")[2], value) for (flag, _), value in zip(self.over, cell)]
        return ",".join(f"{flag}={value.replace('/', '_')}" for flag, value in pairs) or self.preset

    def jobs(self, folder: Path) -> list[Job]:
        """All runs, seed by seed, so that every cell has a result early."""
        return [
            Job(self.preset, (*self.flags, *self.settings(cell)), seed, folder / f"{self.name(cell)}-seed{seed}")
            for seed in self.seeds
            for cell in self.cells()
        ]

    def settings(self, cell: Sequence[str]) -> list[str]:
        """The flags of `embodia train` for a cell. A value with commas is given as several words."""
        return [word for (flag, _), value in zip(self.over, cell) for word in (f"--{flag}", *value.split(","))]


def taken(arguments: Sequence[str]) -> tuple[list[str], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Take every `--over FLAG VALUE ...` out of the arguments.

    Raises:
        Mistake: if a flag has no values, or is named twice.
    """
    rest: list[str] = []
    over: dict[str, tuple[str, ...]] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word != "--over":
            rest.append(word)
            continue
        values = []
        while words and not (words[0].startswith("--") or (words[0].startswith("-") and words[0][1:2].isalpha())):
            values.append(words.pop(0))
        if len(values) < 2:
            raise Mistake(
                f"--over {' '.join(values)}: give a flag and its values: --over agent.learning-rate 1e-4 3e-4"
            )
        flag = values[0].replace("_", "-")
        if flag in over:
            raise Mistake(f"--over {flag} is given twice; list all its values after one --over")
        over[flag] = tuple(dict.fromkeys(values[1:]))
    return rest, tuple(over.items())


def check_flag(flag: str, config: Any) -> None:
    """Raise Mistake if a flag of `--over` is no field of the preset's configuration."""
    node, names = config, flag.replace("-", "_").split(".")
    for depth, name in enumerate(names):
        fields = [each.name for each in dataclasses.fields(node)] if dataclasses.is_dataclass(node) else []
        if name not in fields:
            near = nearest(name, fields, 3)
            above = ".".join(names[:depth]).replace("_", "-")
            raise Mistake(
                f"--over {flag}: {f'{above} has' if above else 'a preset has'} no field {name}. {near}".strip()
            )
        node = getattr(node, name)


def write(sweep: Sweep, folder: Path) -> None:
    """Write the sweep's file into its folder."""
    (folder / FILE).write_text(json.dumps({**asdict(sweep), "rule": RULE}, indent=2) + "\n")


def read(folder: Path) -> Sweep:
    """Read a sweep's file. Raises Mistake if there is none, or it is damaged."""
    try:
        found = json.loads((folder / FILE).read_text())
        over = tuple((str(flag), tuple(map(str, values))) for flag, values in found["over"])
        return Sweep(str(found["preset"]), over, tuple(map(int, found["seeds"])), tuple(map(str, found["flags"])))
    except FileNotFoundError as error:
        raise Mistake(f"{folder} is no sweep: it has no {FILE}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Mistake(f"{folder / FILE} is damaged: {error}") from error

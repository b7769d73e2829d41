"""Where a batch gets its levels: made one by one by seed, or a pool that was made ahead and is kept on disk."""

import hashlib
import json
import multiprocessing
import os
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embodia.envs import Split, level_seed
from embodia.envs.cache import cache_folder
from embodia.envs.grid.mission import mission_length
from embodia.envs.grid.native.arrays import Levels, stack
from embodia.envs.grid.native.levels import compile_level
from embodia.envs.grid.world import make_world, start_level

FORMAT = 1
"""Part of a pool file's name; raise it when compiled levels change."""
CHUNK = 250  # levels that a worker makes at a time
TORN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What reading an incomplete or foreign file raises."""


class Made(NamedTuple):
    """Compiled levels, with their names."""

    levels: Levels
    names: list[str]


@dataclass(frozen=True)
class Recipe:
    """What a level depends on besides its seed.

    Args:
        task: minigrid's id.
        max_steps: Time limit in steps, or None for the task's.
    """

    task: str
    max_steps: int | None = None

    def options(self) -> dict[str, Any]:
        return {} if self.max_steps is None else {"max_steps": self.max_steps}


class Maker:
    """Makes levels with minigrid's own generators, in this process."""

    def __init__(self, recipe: Recipe):
        self.task, self.length = recipe.task, mission_length(recipe.task)
        self.world = make_world(recipe.task, **recipe.options())

    def make(self, seeds: Sequence[int]) -> Made:
        """Make the levels of generator seeds."""
        rows, names = [], []
        for seed in seeds:
            start_level(self.world, seed)
            level = compile_level(self.task, self.world, seed, self.length)
            rows.append(level.arrays)
            names.append(level.name)
        return Made(stack(rows), names)


class NewLevels:
    """A new level for every episode.

    Args:
        recipe: Task and options.
        workers: Number of processes that make levels ahead.
    """

    def __init__(self, recipe: Recipe, workers: int = 0):
        self.maker = Maker(recipe)
        self.executor = _processes(recipe, workers) if workers else None
        self.waiting: dict[int, Future[Made]] = {}

    def ahead(self, seed: int) -> None:
        """Announce a seed that will be needed soon."""
        if self.executor is not None and seed not in self.waiting:
            self.waiting[seed] = self.executor.submit(_make, [seed])

    def get(self, seeds: Sequence[int]) -> Made:
        """Return the levels of generator seeds."""
        made = [self.waiting.pop(seed).result() if seed in self.waiting else self.maker.make([seed]) for seed in seeds]
        return made[0] if len(made) == 1 else joined(made)

    def close(self) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)


_MAKERS: dict[Recipe, Maker] = {}  # of a worker process


def _start(recipe: Recipe) -> None:
    _MAKERS[recipe] = Maker(recipe)


def _make(seeds: Sequence[int]) -> Made:
    (maker,) = _MAKERS.values()
    return maker.make(seeds)


def _processes(recipe: Recipe, count: int) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, spawn, initializer=_start, initargs=(recipe,))


def joined(parts: Sequence[Made]) -> Made:
    """Join levels that were made apart."""
    rows = [dict(zip(Levels._fields, row)) for part in parts for row in zip(*part.levels)]
    return Made(stack(rows), [name for part in parts for name in part.names])


@dataclass(frozen=True)
class Pool:
    """Levels 0 to count - 1 of a split, made once and kept in the user's cache folder.

    Args:
        recipe: Task and options.
        split: Split of the levels.
        count: Number of levels.
    """

    recipe: Recipe
    split: Split
    count: int

    def load(self, workers: int = 0) -> Made:
        """Return the levels: from the file, if it is there and whole, else newly made by `workers` processes."""
        path = self.path()
        if path.exists():
            try:
                return self._read(path)
            except TORN as error:
                print(f"grids: {path} is damaged ({error}); its levels are made again", file=sys.stderr)
        made = joined(list(self._made(workers)))
        self._keep(path, made)
        return made

    def path(self) -> Path:
        """Return the pool's file. Its name tells task, split, count, options and versions apart."""
        digest = hashlib.sha256(self._head().encode()).hexdigest()[:12]
        return cache_folder() / "grids" / f"{self.recipe.task}-{self.split}-{self.count}-{digest}.npz"

    def _head(self) -> str:
        versions = {name: version(name) for name in ("minigrid", "numpy")}
        return json.dumps({**asdict(self), "format": FORMAT, **versions}, sort_keys=True)

    def _made(self, workers: int) -> Iterator[Made]:
        """Make all levels chunk by chunk, and report on stderr if it takes long."""
        seeds = [level_seed(self.split, number) for number in range(self.count)]
        chunks = [seeds[first : first + CHUNK] for first in range(0, self.count, CHUNK)]
        said = time.monotonic()
        executor = _processes(self.recipe, workers) if workers else None
        for done, made in enumerate(executor.map(_make, chunks) if executor else map(Maker(self.recipe).make, chunks)):
            yield made
            if time.monotonic() - said > 10:
                said = time.monotonic()
                number = min((done + 1) * CHUNK, self.count)
                print(f"grids: {number} of {self.count} levels of {self.recipe.task} made", file=sys.stderr, flush=True)
        if executor:
            executor.shutdown()

    def _keep(self, path: Path, made: Made) -> None:
        """Write the file. If it cannot be written, the levels are made again next time."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f"{path.name}.{os.getpid()}")
            with aside.open("wb") as file:
                np.savez(file, head=np.array(self._head()), names=np.array(made.names), **made.levels._asdict())
            aside.replace(path)
        except OSError:
            return

    def _read(self, path: Path) -> Made:
        """Read the file; its checksums are those of the zip format."""
        with np.load(path, allow_pickle=False) as file:
            levels, names = Levels(*(file[name] for name in Levels._fields)), file["names"].tolist()
            if str(file["head"]) != self._head() or any(len(part) != self.count for part in (*levels, names)):
                raise ValueError("another pool's content")
        return Made(levels, names)


class PooledLevels:
    """The levels of a pool, by generator seed.

    Args:
        pool: The pool.
        workers: Number of processes that make it if it is not on disk.
    """

    def __init__(self, pool: Pool, workers: int = 0):
        self.made = pool.load(workers)
        self.first = level_seed(pool.split, 0)
        self.distinct = len(set(self.made.names))

    def rows(self, seeds: Sequence[int]) -> NDArray[np.int64]:
        """Return the rows of generator seeds."""
        return np.asarray(seeds) - self.first

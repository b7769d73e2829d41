"""A growing data set of whole episodes, used in shuffled epochs (behaviour cloning, DAgger)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from embodia.agents import Array, Row
from embodia.agents.training.buffers.tables import empty, write
from embodia.agents.training.distributed import own_part
from embodia.agents.training.rows import copy, flatten, stack
from embodia.planners.trees import index


class DatasetBuffer:
    """A growing data set of whole episodes, used in shuffled epochs: for behaviour cloning, DAgger, offline learning.

    An episode joins the set when its last row is added. A batch is rows {obs, action, extras, reward, first, ...},
    each (B, ...), without last rows, whose action has no meaning. With `length` a batch is sequences (length, B, ...)
    with `mask` (length, B), False after the episode's end and in last rows.

    Args:
        batch_size: rows or sequences per batch.
        length: rows per sequence; None gives single rows.
        every: number of added rows (each of n environments) between two rounds of batches.
        updates: batches per round.
        learning_starts: rows in the set before the first batch.
        capacity: maximum number of rows; the oldest episodes are removed first.
        seed: random seed.
    """

    def __init__(
        self,
        batch_size: int,
        length: int | None = None,
        *,
        every: int = 1,
        updates: int = 1,
        learning_starts: int = 1,
        capacity: int | None = None,
        seed: int = 0,
    ):
        self.batch_size, self.length = batch_size, length
        self.every, self.updates, self.learning_starts, self.capacity = every, updates, learning_starts, capacity
        self.rng = np.random.default_rng(seed)
        self.added = 0
        self.bounds: list[tuple[int, int]] = []  # first and end row of each episode in the table
        self._table: Any = None  # all episodes, concatenated, with room to grow
        self._size = 0
        self._open: dict[int, list[Any]] = {}
        self._order = np.empty(0, int)  # the rest of this epoch
        self._starts: Array | None = None

    def __len__(self) -> int:
        """Number of rows in the set."""
        return self.bounds[-1][1] - self.bounds[0][0] if self.bounds else 0

    @property
    def episodes(self) -> list[Any]:
        """The episodes in the set, oldest first, each leaf (T, ...); views, not copies."""
        return [index(self._table, slice(a, b)) for a, b in self.bounds]

    def extend(self, episodes: Iterable[Mapping[str, Any]]) -> None:
        """Add whole episodes, each leaf (T, ...), such as `StoredEpisode.rows`.

        Raises:
            ValueError: if the episodes have different keys.
        """
        for episode in episodes:
            length = len(episode["reward"])
            if self._table is not None and flatten(episode).keys() != flatten(self._table).keys():
                odd = sorted(flatten(episode).keys() ^ flatten(self._table).keys())
                raise ValueError(f"{odd} are in some episodes but not in others; all episodes must have the same keys")
            if self._table is None or self._size + length > len(self._table["reward"]):
                self._grow(episode, length)
            write(self._table, episode, slice(self._size, self._size + length))
            self.bounds.append((self._size, self._size + length))
            self._size += length
            while self.capacity is not None and len(self) > self.capacity and len(self.bounds) > 1:
                self.bounds.pop(0)
        self._starts, self._order = None, np.empty(0, int)

    def _grow(self, episode: Any, length: int) -> None:
        """Allocate a table of twice the size; removed episodes are not copied."""
        kept, begin = len(self), self.bounds[0][0] if self.bounds else 0
        table = empty(index(episode, 0), 2 * (kept + length))
        if kept:
            write(table, index(self._table, slice(begin, begin + kept)), slice(0, kept))
        self._table, self._size = table, kept
        self.bounds = [(a - begin, b - begin) for a, b in self.bounds]

    def add(self, row: Row) -> None:
        self.added += 1
        for world in range(len(row["reward"])):
            if row["first"][world]:
                self._open[world] = []
            if world in self._open:
                self._open[world].append(copy(index(row, world)))
                if row["last"][world]:
                    self.extend([stack(self._open.pop(world))])

    def batches(self) -> Iterator[Any]:
        if self.added % self.every == 0 and len(self) >= max(1, self.learning_starts):
            for _ in range(self.updates):
                yield self.sample()

    def epoch(self) -> Iterator[Any]:
        """Yield every row (or sequence) once, shuffled."""
        starts = self._begin()
        order = self.rng.permutation(len(starts))
        for i in range(0, len(order), self.batch_size):
            yield self._batch(starts[order[i : i + self.batch_size]])

    def sample(self) -> Any:
        """Return this process's part of the next batch; it may hold the end of one epoch and the start of the next."""
        starts = self._begin()
        while len(self._order) < self.batch_size:
            self._order = np.concatenate([self._order, self.rng.permutation(len(starts))])
        chosen, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
        return self._batch(starts[own_part(chosen)])

    def _begin(self) -> Array:
        """First rows of the rows or sequences in the table."""
        if not self.bounds:
            raise ValueError("the data set is empty; record episodes first")
        if self._starts is None:
            self._starts = np.concatenate([np.arange(a, b - 1, self.length or 1) for a, b in self.bounds])
        return self._starts

    def _batch(self, starts: Array) -> Any:
        if self.length is None:
            return index(self._table, starts)
        ends = np.array([b for _, b in self.bounds])
        end = ends[np.searchsorted(ends, starts, side="right")]
        t = starts + np.arange(self.length)[:, None]
        batch = index(self._table, np.minimum(t, end - 1))
        return {**batch, "mask": (t < end) & ~batch["last"]}

    def state_dict(self) -> dict[str, Any]:
        return {
            "episodes": self.episodes,
            "open": {world: list(rows) for world, rows in self._open.items()},
            "order": self._order,
            "added": self.added,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bounds, self._table, self._size = [], None, 0
        self.extend(state["episodes"])
        self._open = {world: list(rows) for world, rows in state["open"].items()}
        self._order, self.added = state["order"], state["added"]
        self.rng.bit_generator.state = state["rng"]

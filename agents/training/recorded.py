"""Batches of recorded rows, from data sets that may be larger than memory."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from embodia.agents import Array, Pieces, Row
from embodia.agents.training.rows import EpisodeError
from embodia.planners.trees import index, tree_map


class Recording(Protocol):
    """A set of recorded episodes, read one at a time."""

    name: str
    """Name used in messages."""
    lengths: Sequence[int]
    """Number of rows of each episode, including the last one."""
    advised: bool
    """Whether rows have `extras["expert_action"]`; episodes without it use the action taken as the label."""

    def rows(self, number: int) -> Row:
        """Read the rows of one episode, each leaf (T, ...). Raises EpisodeError if it cannot be read."""


class RecordedBatches:
    """Batches from recordings, in proportion to their number of rows; an `agents.Data` for `fit`.

    Each epoch goes through all episodes in a new order, in groups that fit into `capacity` rows, and through the
    sequences of a group in a new order. No sequence is used twice in an epoch; those of a group that do not fill a
    batch are skipped. If all episodes fit, each is read only once. The order depends on the seed alone, so a resumed
    run continues with the same batches.

    Args:
        recordings: sets whose rows have the same leaves.
        pieces: layout of a batch.
        capacity: maximum number of rows in memory; at least the longest episode plus a sequence are held.
        seed: random seed of the order.

    Raises:
        EpisodeError: if the data hold no complete sequence.
    """

    def __init__(self, recordings: Sequence[Recording], pieces: Pieces, capacity: int, seed: int = 0):
        self.recordings, self.pieces, self.seed = recordings, pieces, seed
        self.places = [(each, number) for each in recordings for number in range(len(each.lengths))]
        self.lengths = np.array([each.lengths[number] for each, number in self.places], np.int64)
        self.advised = any(each.advised for each in recordings)
        if (pieces.crossing and self.lengths.sum() < pieces.rows) or not (self.lengths > 1).any():
            names = ", ".join(each.name for each in recordings)
            raise EpisodeError(f"{names}: {self.lengths.sum()} rows, too few for a sequence of {pieces.rows}")
        self.capacity = max(capacity, int(self.lengths.max()) + pieces.rows)  # so that every group has a sequence
        self.epoch, self.group, self.drawn = 0, 0, 0  # of the next sequence
        self._groups: list[Array] = []  # of this epoch: episodes held together
        self._held: frozenset[int] = frozenset()
        self._table: Any = None  # their rows, concatenated
        self._begins: dict[int, int] = {}  # first row of each episode in the table
        self._order: Array | None = None  # rows (sequences, T) of the table, shuffled; -1 after an episode's end

    @property
    def axis(self) -> int:
        """The batch axis of its arrays."""
        return 0 if self.pieces.length is None else 1

    def __len__(self) -> int:
        """Number of rows in all recordings."""
        return int(self.lengths.sum())

    def batch(self, n: int) -> dict[str, Any]:
        """Return n sequences, rows (T, n, ...) with `mask` (T, n), or n single rows (n, ...); see `Pieces`."""
        while self._order is None or (self.drawn and self.drawn + n > len(self._order)) or not len(self._order):
            if self._order is not None:
                self._next_group()
            self._order = self._shuffled()
        chosen = self._order[self.drawn : self.drawn + n]
        self.drawn += n
        chosen = np.resize(chosen, (n, *chosen.shape[1:]))  # a group of fewer sequences than a batch repeats them
        rows = index(self._table, np.maximum(chosen, 0).T)
        if self.pieces.length is None:
            return index(rows, 0)
        return {**rows, "mask": (chosen.T >= 0) & ~rows["last"]}

    def _next_group(self) -> None:
        self.group, self.drawn = self.group + 1, 0
        if self.group == len(self._groups):
            self.epoch, self.group, self._groups = self.epoch + 1, 0, []

    def _shuffled(self) -> Array:
        """The sequences of this group in random order."""
        self._groups = self._groups or self._divided()
        episodes = self._groups[self.group]
        self._hold(episodes)
        rng = np.random.default_rng([self.seed, self.epoch, self.group])
        spans = [np.arange(self.lengths[i]) + self._begins[i] for i in episodes.tolist()]
        pieces = self._across(spans, rng) if self.pieces.crossing else self._within(spans)
        return pieces[rng.permutation(len(pieces))]

    def _divided(self) -> list[Array]:
        """All episodes in this epoch's order, in groups that fit into memory."""
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.lengths))
        groups: list[list[int]] = []
        room = 0
        for episode in order.tolist():
            if not groups or self.lengths[episode] > room:
                groups.append([])
                room = self.capacity
            groups[-1].append(episode)
            room -= int(self.lengths[episode])
        return [np.array(group) for group in groups]

    def _hold(self, episodes: Array) -> None:
        """Read these episodes into the table, unless it holds them."""
        wanted = frozenset(episodes.tolist())
        if wanted == self._held:
            return
        self._table, self._held, self._begins = None, frozenset(), {}  # free the old table first
        begin, total = 0, int(self.lengths[episodes].sum())
        for i in sorted(wanted):
            rows = self._rows(i)
            if self._table is None:
                self._table = tree_map(lambda leaf: np.zeros((total, *leaf.shape[1:]), leaf.dtype), rows)
            span = slice(begin, begin + len(rows["reward"]))
            tree_map(lambda ours, new, span=span: ours.__setitem__(span, new), self._table, rows)
            self._begins[i], begin = begin, span.stop
        self._held = wanted

    def _rows(self, episode: int) -> Any:
        recording, number = self.places[episode]
        rows = recording.rows(number)
        if len(rows["reward"]) != self.lengths[episode]:
            raise EpisodeError(f"{recording.name}: episode {number} has changed; restore the original file")
        advice = {"expert_action": rows["extras"].get("expert_action", rows["action"])} if self.advised else {}
        return {**rows, "extras": advice}

    def _within(self, spans: Sequence[Array]) -> Array:
        """Sequences that begin every T rows of an episode; or single rows, without last ones (no meaningful action)."""
        step = self.pieces.rows
        return np.concatenate([np.zeros((0, step), np.int64), *(_cut(span, step) for span in spans)])

    def _across(self, spans: Sequence[Array], rng: np.random.Generator) -> Array:
        """Sequences from the concatenated episodes, with another offset in each epoch."""
        step, whole = self.pieces.rows, np.concatenate(spans)
        if len(whole) < step:
            return np.zeros((0, step), np.int64)
        phase = int(rng.integers(min(step, len(whole) - step + 1)))
        return whole[phase : phase + (len(whole) - phase) // step * step].reshape(-1, step)

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the order; the rows themselves are read again."""
        return {"epoch": self.epoch, "group": self.group, "drawn": self.drawn, "rows": len(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a position. Raises EpisodeError if the number of rows has changed."""
        if state["rows"] != len(self):
            names = ", ".join(each.name for each in self.recordings)
            raise EpisodeError(
                f"{names}: {len(self)} rows, but {state['rows']} when the run began; restore the original files"
            )
        self.epoch, self.group, self.drawn = state["epoch"], state["group"], state["drawn"]
        self._groups, self._order = [], None


def _cut(span: Array, step: int) -> Array:
    """Cut the rows (T,) of an episode into sequences (P, step), with -1 after its end; none begins at the last row."""
    starts = np.arange(0, len(span) - 1, step)
    rows = starts[:, None] + np.arange(step)
    return np.where(rows < len(span), span[np.minimum(rows, len(span) - 1)], -1)

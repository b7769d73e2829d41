"""Where rows wait until there is something to learn from: rollout, replay, data set.

Rows come from n worlds side by side and are kept time-major, (T, n, ...). A row that is `last` has no successor and
its action was never carried out, so it opens no transition; it is kept because its observation closes the one before,
and because a truncated episode is bootstrapped from it. Every buffer draws from its own generator, and its
`state_dict` gives back the same batches in the same order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from embodia.agents import Array, Row
from embodia.agents.training.rows import copy, flatten, stack
from embodia.planners.trees import index, tree_map


class NoBuffer:
    """For agents that do not learn."""

    def add(self, row: Row) -> None:
        pass

    def batches(self) -> Iterator[Any]:
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def advantages(
    reward: Array, value: Array, last: Array, terminal: Array, gamma: float, gae_lambda: float
) -> tuple[Array, Array]:
    """Generalized advantage estimation over rows (Schulman et al. 2016, eq. 16) for next-step autoreset.

    reward, value, last, terminal: (T + 1, n) rows. delta_t = r_{t+1} + gamma V_{t+1} (1 - terminal_{t+1}) - V_t, and
    the sum stops behind a last row. A truncated episode is thus bootstrapped from its own last observation.

    Returns advantage and return (advantage + value), each (T, n) float32; 0 and V_t in rows that are last.
    """
    steps = len(reward) - 1
    next_value = np.where(terminal[1:], 0.0, value[1:])
    delta = np.where(last[:-1], 0.0, reward[1:] + gamma * next_value - value[:-1])
    decay = np.where(last[1:] | last[:-1], 0.0, gamma * gae_lambda)
    advantage = np.zeros((steps + 1, reward.shape[1]))
    for t in reversed(range(steps)):
        advantage[t] = delta[t] + decay[t] * advantage[t + 1]
    return advantage[:-1].astype(np.float32), (advantage[:-1] + value[:-1]).astype(np.float32)


class RolloutBuffer:
    """Gives the last `n_steps` transitions of every world once, then starts again.

    A rollout is n_steps + 1 rows, the last of which opens the next rollout. One batch: the rows {obs, action, extras,
    first, ...} each (n_steps, n, ...), with `valid` (n_steps, n) where the row is not a last one, and `advantage` and
    `return` (n_steps, n) from `extras["value"]`. `keys` are the observations kept, by default all.
    """

    def __init__(self, n_steps: int, gamma: float, gae_lambda: float, keys: Sequence[str] | None = None):
        self.n_steps, self.gamma, self.gae_lambda = n_steps, gamma, gae_lambda
        self.keys = keys
        self.rows: Any = None
        self.length = 0

    def add(self, row: Row) -> None:
        row = _only(row, self.keys)
        if self.rows is None:
            self.rows = _empty(row, self.n_steps + 1)
        elif self.length == self.n_steps + 1:
            newest = index(self.rows, -1)
            self.rows, self.length = _empty(row, self.n_steps + 1), 1  # new arrays: a batch may outlive its rollout
            _write(self.rows, newest, 0)
        _write(self.rows, row, self.length)
        self.length += 1

    def batches(self) -> Iterator[dict[str, Any]]:
        if self.length == self.n_steps + 1:
            rows = self.rows
            advantage, returns = advantages(
                rows["reward"], rows["extras"]["value"], rows["last"], rows["terminal"], self.gamma, self.gae_lambda
            )
            kept = index({key: value for key, value in rows.items() if key != "reward"}, slice(0, -1))
            yield {**kept, "valid": ~kept["last"], "advantage": advantage, "return": returns}

    def state_dict(self) -> dict[str, Any]:
        return {"rows": index(self.rows, slice(0, self.length)) if self.length else None, "length": self.length}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.length = None, 0
        for t in range(state["length"]):
            self.add(index(state["rows"], t))


class ReplayBuffer:
    """A ring of the newest rows, sampled uniformly.

    Args:
        capacity: rows kept, counted over all worlds.
        batch_size: transitions, or sequences where `length` is given.
        length: None gives transitions {obs, action, extras, reward, next_obs, terminal}, each (B, ...), where reward,
            next_obs and terminal follow the action. A number gives rows (length, B, ...), one world's, consecutive.
        cross_episodes: whether a sequence may run over the border of two episodes (the model then heeds `first`).
        keys: the observations kept, by default all.
        learning_starts: transitions before the first batch.
        every: rows (of n worlds) between batches.
        updates: batches at a time.
        seed: of the buffer's own generator.
    """

    def __init__(
        self,
        capacity: int,
        batch_size: int,
        length: int | None = None,
        *,
        cross_episodes: bool = True,
        keys: Sequence[str] | None = None,
        learning_starts: int = 0,
        every: int = 1,
        updates: int = 1,
        seed: int = 0,
    ):
        if length is not None and length < 1:
            raise ValueError(f"a sequence has at least one row, not {length}")
        self.capacity, self.batch_size, self.length = capacity, batch_size, length
        self.cross_episodes, self.learning_starts, self.keys = cross_episodes, learning_starts, keys
        self.every, self.updates = every, updates
        self.rng = np.random.default_rng(seed)
        self.rows: Any = None
        self.added = 0  # rows (of n worlds) ever; row t lies at t % slots
        self.transitions = 0

    @property
    def slots(self) -> int:
        return len(self.rows["reward"])

    def __len__(self) -> int:
        """Rows held, over all worlds."""
        return 0 if self.rows is None else min(self.added, self.slots) * self.rows["reward"].shape[1]

    def add(self, row: Row) -> None:
        row = _only(row, self.keys)
        if self.rows is None:
            worlds = len(row["reward"])
            slots = self.capacity // worlds
            if slots < (self.length or 1) + 1:
                raise ValueError(f"capacity {self.capacity} holds {slots} rows of {worlds} worlds; give more")
            self.rows = _empty(row, slots)
        _write(self.rows, row, self.added % self.slots)
        self.added += 1
        self.transitions += int(len(row["last"]) - np.count_nonzero(row["last"]))

    def batches(self) -> Iterator[Any]:
        ready = self.added > (self.length or 1) and self.transitions >= self.learning_starts
        if ready and self.added % self.every == 0:
            for _ in range(self.updates):
                yield self.sample()

    def sample(self, batch_size: int | None = None) -> Any:
        """One batch, each row drawn with equal probability from those it may start at."""
        size = batch_size or self.batch_size
        return self._transitions(size) if self.length is None else self._sequences(size, self.length)

    def _transitions(self, size: int) -> dict[str, Any]:
        t, world = self._draw(size, 2, lambda t, world: ~self.rows["last"][t[0], world])
        here, after = (t[0], world), (t[1], world)
        keys = ("obs", "action", "extras")
        batch = {key: index(self.rows[key], here) for key in keys}
        later = {key: self.rows[key][after] for key in ("reward", "terminal")}
        return {**batch, **later, "next_obs": index(self.rows["obs"], after)}

    def _sequences(self, size: int, length: int) -> Any:
        def whole(t: Array, world: Array) -> Array:
            return self.cross_episodes | ~self.rows["first"][t[1:], world].any(0)

        t, world = self._draw(size, length, whole)
        return index(self.rows, (t, world[None]))

    def _draw(self, size: int, length: int, accept: Any) -> tuple[Array, Array]:
        """Places of `size` windows of consecutive rows (length, size) and their worlds (size,), by rejection."""
        oldest, worlds = max(0, self.added - self.slots), self.rows["reward"].shape[1]
        times, drawn = [np.empty((length, 0), int)], [np.empty(0, int)]
        missing = size
        for _ in range(1000):
            start = self.rng.integers(oldest, self.added - length + 1, missing)
            world = self.rng.integers(worlds, size=missing)
            t = (start + np.arange(length)[:, None]) % self.slots
            good = np.broadcast_to(accept(t, world), (missing,))
            times.append(t[:, good])
            drawn.append(world[good])
            missing -= int(good.sum())
            if missing == 0:
                return np.concatenate(times, 1), np.concatenate(drawn)
        raise ValueError(
            f"hardly any of the {len(self)} rows held starts {length} rows of one episode; shorten the sequences"
        )

    def state_dict(self) -> dict[str, Any]:
        held = min(self.added, self.slots) if self.rows is not None else 0
        return {
            "rows": index(self.rows, slice(0, held)) if held else None,
            "slots": self.slots if held else 0,
            "added": self.added,
            "transitions": self.transitions,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows = None
        if state["rows"] is not None:
            self.rows = _empty(index(state["rows"], 0), state["slots"])
            tree_map(lambda ours, theirs: ours.__setitem__(slice(0, len(theirs)), theirs), self.rows, state["rows"])
        self.added, self.transitions = state["added"], state["transitions"]
        self.rng.bit_generator.state = state["rng"]


class DatasetBuffer:
    """A growing set of whole episodes, gone through in shuffled epochs: for cloning, DAgger, offline learning.

    Rows added are kept with their world until the episode ends, then it joins the set. A batch is rows {obs, action,
    extras, reward, first, ...}, each (B, ...), without the last rows, whose action means nothing. With `length` it is
    pieces of episodes (length, B, ...) with `mask` (length, B): False behind a piece's end and in last rows.

    Args:
        batch_size: rows or pieces per batch.
        length: rows of a piece; None gives single rows.
        every: rows (of n worlds) between learning.
        updates: batches at a time.
        learning_starts: rows in the set before the first batch.
        capacity: rows kept at most; the oldest episodes go first.
        seed: of the buffer's own generator.
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
        self.bounds: list[tuple[int, int]] = []  # of each episode in the table
        self._table: Any = None  # all episodes one behind the other, with room to grow
        self._size = 0
        self._open: dict[int, list[Any]] = {}
        self._order = np.empty(0, int)  # what is left of this epoch
        self._starts: Array | None = None

    def __len__(self) -> int:
        """Rows of whole episodes in the set."""
        return self.bounds[-1][1] - self.bounds[0][0] if self.bounds else 0

    @property
    def episodes(self) -> list[Any]:
        """The episodes in the set, oldest first, each leaf (T, ...); views, not copies."""
        return [index(self._table, slice(a, b)) for a, b in self.bounds]

    def extend(self, episodes: Iterable[Mapping[str, Any]]) -> None:
        """Add whole episodes, each leaf (T, ...): `StoredEpisode.rows`, say."""
        for episode in episodes:
            length = len(episode["reward"])
            if self._table is not None and flatten(episode).keys() != flatten(self._table).keys():
                odd = sorted(flatten(episode).keys() ^ flatten(self._table).keys())
                raise ValueError(f"{odd} are in some episodes and not in others; a data set has the same keys in all")
            if self._table is None or self._size + length > len(self._table["reward"]):
                self._grow(episode, length)
            _write(self._table, episode, slice(self._size, self._size + length))
            self.bounds.append((self._size, self._size + length))
            self._size += length
            while self.capacity is not None and len(self) > self.capacity and len(self.bounds) > 1:
                self.bounds.pop(0)
        self._starts, self._order = None, np.empty(0, int)

    def _grow(self, episode: Any, length: int) -> None:
        """Room for twice what is kept; rows that were dropped at the front are let go."""
        kept, begin = len(self), self.bounds[0][0] if self.bounds else 0
        table = _empty(index(episode, 0), 2 * (kept + length))
        if kept:
            _write(table, index(self._table, slice(begin, begin + kept)), slice(0, kept))
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
        """Every row (or piece) once, shuffled."""
        starts = self._begin()
        order = self.rng.permutation(len(starts))
        for i in range(0, len(order), self.batch_size):
            yield self._batch(starts[order[i : i + self.batch_size]])

    def sample(self) -> Any:
        """The next batch of the present epoch; epochs follow one another without a border between batches."""
        starts = self._begin()
        while len(self._order) < self.batch_size:
            self._order = np.concatenate([self._order, self.rng.permutation(len(starts))])
        chosen, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
        return self._batch(starts[chosen])

    def _begin(self) -> Array:
        """Where rows or pieces begin in the table."""
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


def _only(row: Row, keys: Sequence[str] | None) -> Row:
    """The row with these observations alone."""
    return row if keys is None else Row(**{**row, "obs": {key: row["obs"][key] for key in keys}})


def _empty(row: Any, slots: int) -> Any:
    return tree_map(lambda leaf: np.zeros((slots, *np.shape(leaf)), np.asarray(leaf).dtype), row)


def _write(rows: Any, row: Any, t: int | slice) -> None:
    tree_map(lambda ours, new: ours.__setitem__(t, new), rows, row)

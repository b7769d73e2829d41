"""Replay buffer: the newest rows, sampled uniformly (Lin 1992)."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from embodia.agents import Array, Row
from embodia.agents.training.buffers.tables import empty, only, write
from embodia.agents.training.distributed import own_part
from embodia.planners.trees import index, tree_map


class ReplayBuffer:
    """A ring buffer of the newest rows, sampled uniformly.

    Args:
        capacity: number of rows, counted over all environments.
        batch_size: transitions per batch, or sequences if `length` is given.
        length: None gives transitions {obs, action, extras, reward, next_obs, terminal}, each (B, ...), where reward,
            next_obs and terminal follow the action. A number gives sequences of consecutive rows (length, B, ...).
        cross_episodes: whether a sequence may span two episodes (the model must then reset where `first` is set).
        keys: the observations to store; by default all.
        learning_starts: transitions before the first batch.
        every: number of added rows (each of n environments) between two rounds of batches.
        updates: batches per round.
        seed: random seed.

    Raises:
        ValueError: if `length` is below 1, or (on `add`) if the capacity is too small for a sequence.
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
            raise ValueError(f"length is {length}; a sequence needs at least one row")
        self.capacity, self.batch_size, self.length = capacity, batch_size, length
        self.cross_episodes, self.learning_starts, self.keys = cross_episodes, learning_starts, keys
        self.every, self.updates = every, updates
        self.rng = np.random.default_rng(seed)
        self.rows: Any = None
        self.added = 0  # number of added rows (each of n environments); row t is stored at t % slots
        self.transitions = 0

    @property
    def slots(self) -> int:
        return len(self.rows["reward"])

    def __len__(self) -> int:
        """Number of stored rows, over all environments."""
        return 0 if self.rows is None else min(self.added, self.slots) * self.rows["reward"].shape[1]

    def add(self, row: Row) -> None:
        row = only(row, self.keys)
        if self.rows is None:
            worlds = len(row["reward"])
            slots = self.capacity // worlds
            if slots < (self.length or 1) + 1:
                raise ValueError(
                    f"capacity {self.capacity} is only {slots} rows of each of {worlds} environments; increase it"
                )
            self.rows = empty(row, slots)
        write(self.rows, row, self.added % self.slots)
        self.added += 1
        self.transitions += int(len(row["last"]) - np.count_nonzero(row["last"]))

    def batches(self) -> Iterator[Any]:
        ready = self.added > (self.length or 1) and self.transitions >= self.learning_starts
        if ready and self.added % self.every == 0:
            for _ in range(self.updates):
                yield self.sample()

    def sample(self, batch_size: int | None = None) -> Any:
        """Sample this process's part of a batch; all valid starting rows are equally probable.

        Raises:
            ValueError: if hardly any row starts a sequence of `length` rows within one episode.
        """
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
        """Sample `size` windows of consecutive rows by rejection: indices (length, size), environments (size,)."""
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
                return own_part(np.concatenate(times, 1), 1), own_part(np.concatenate(drawn))
        raise ValueError(
            f"hardly any of the {len(self)} stored rows starts {length} rows of one episode; use shorter sequences"
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
            self.rows = empty(index(state["rows"], 0), state["slots"])
            tree_map(lambda ours, theirs: ours.__setitem__(slice(0, len(theirs)), theirs), self.rows, state["rows"])
        self.added, self.transitions = state["added"], state["transitions"]
        self.rng.bit_generator.state = state["rng"]

"""Replay with a fixed ratio of replayed rows to rows of experience (Hafner et al. 2023, DreamerV3)."""

from collections.abc import Iterator, Sequence
from typing import Any

from embodia.agents.training.buffers.replay import ReplayBuffer


class TrainRatioReplay(ReplayBuffer):
    """A replay buffer of sequences that yields `ratio` replayed rows per row of experience.

    The ratio does not depend on the number of environments. For the other arguments see `ReplayBuffer`.
    """

    def __init__(
        self,
        ratio: float,
        capacity: int,
        batch_size: int,
        length: int,
        learning_starts: int,
        seed: int,
        keys: Sequence[str] | None = None,
    ):
        super().__init__(capacity, batch_size, length, learning_starts=learning_starts, seed=seed, keys=keys)
        self.per_row = ratio / (batch_size * length)
        self.owed = 0.0  # batches that are due

    def batches(self) -> Iterator[Any]:
        if self.transitions < self.learning_starts or self.added <= (self.length or 1):
            return
        self.owed += self.per_row * self.rows["reward"].shape[1]
        while self.owed >= 1:
            self.owed -= 1
            yield self.sample()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "owed": self.owed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.owed = state["owed"]

"""Data for `fit` that a function generates at random."""

from collections.abc import Callable
from typing import Any

import numpy as np


class RandomBatches:
    """An `agents.Data` whose batches a function generates.

    Args:
        draw: (generator, n) -> a batch of n examples, in the learner's format.
        seed: random seed of the generator.
    """

    def __init__(self, draw: Callable[[np.random.Generator, int], Any], seed: int = 0):
        self.draw, self.generator = draw, np.random.default_rng(seed)

    def batch(self, n: int) -> Any:
        return self.draw(self.generator, n)

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.bit_generator.state = state["generator"]

"""Energy models, p(x) = exp(-E(x)) / Z: Boltzmann machines, neural energies, small graphical models.

The promise of this folder. A model that is sampled by a Markov chain also gives the chain itself, step by step.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from embodia.perception.generative import Condition, Generative


class EnergyModel(Generative):
    """A density known up to its normaliser, sampled by a Markov chain."""

    sampling_steps: int
    """Default number of steps of the chain."""

    def energy(self, x: Tensor) -> Tensor:
        """x (B, *event) -> (B,) [nats]; the log density is -energy(x) - log Z."""
        raise NotImplementedError("energy(x) -> (B,)")

    def chain(
        self, n: int, condition: Condition | None = None, generator: Any = None, steps: int | None = None
    ) -> Iterator[Tensor]:
        """Yield n samples (n, *event) after each step of their chains.

        Args:
            n: number of chains.
            condition: n rows; None samples unconditionally.
            generator: `torch.Generator` of all random numbers; None takes torch's global one.
            steps: number of steps; None takes the model's own.

        Raises:
            NonFinite: naming the step.
            ValueError: if the condition does not have n rows, or the model takes none.
        """
        raise NotImplementedError("chain(n, condition, generator, steps) -> iterator of (n, *event)")

    def sample(
        self, n: int, condition: Condition | None = None, generator: Any = None, steps: int | None = None
    ) -> Tensor:
        *_, last = self.chain(n, condition, generator, steps)
        return last


__all__ = ["EnergyModel"]

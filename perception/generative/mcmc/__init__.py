"""Markov chain Monte Carlo: kernels that leave a law invariant, batches of chains, and diagnostics of convergence.

The promise of this folder. A kernel moves C independent chains at once; `start` and `step` are all that `chains.py`
needs. A law is given by its log density up to a constant, and gradients come from autograd.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LogProb = Callable[[Tensor], Tensor]
"""x (C, *event) -> log density up to a constant, (C,) [nats]."""


@dataclass(frozen=True)
class State:
    """C chains after a number of steps."""

    x: Tensor
    """Positions, (C, *event)."""
    accepted: Tensor
    """Chains whose last proposal was accepted, (C,) bool; all, for kernels that reject nothing."""
    step: int = 0
    """Number of steps so far."""
    log_prob: Tensor | None = None
    """Log density at x, (C,), for kernels that use it."""
    score: Tensor | None = None
    """Gradient of the log density at x, (C, *event), for kernels that use it."""


class Kernel:
    """A random transition of C independent chains."""

    def start(self, x: Tensor) -> State:
        """Return the state of chains that begin at x (C, *event).

        Raises:
            NonFinite: if the log density is not finite there.
        """
        raise NotImplementedError("start(x) -> State")

    def step(self, state: State, generator: torch.Generator | None = None) -> State:
        """Return the state one transition later.

        Raises:
            NonFinite: if the log density is NaN or the position infinite; the message names the step.
        """
        raise NotImplementedError("step(state, generator) -> State")


__all__ = ["Kernel", "LogProb", "State"]

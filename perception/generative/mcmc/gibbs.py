"""Gibbs sampling: one block of variables after the other, each from its law given the rest (Geman and Geman 1984)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from embodia.perception.generative.mcmc import Kernel, State
from embodia.perception.generative.noise import check_finite

Update = Callable[[Tensor, torch.Generator | None], Tensor]
"""(x (C, *event), generator) -> x with one block sampled given the rest."""


class Gibbs(Kernel):
    """One step samples all blocks in their order.

    Args:
        updates: one function per block.
    """

    def __init__(self, updates: Sequence[Update]):
        if not updates:
            raise ValueError("Gibbs sampling without a block; give at least one update")
        self.updates = list(updates)

    def start(self, x: Tensor) -> State:
        return State(x, torch.ones(len(x), dtype=torch.bool, device=x.device))

    @torch.no_grad()
    def step(self, state: State, generator: torch.Generator | None = None) -> State:
        x = state.x
        for update in self.updates:
            x = update(x, generator)
        check_finite(x, "the chain", state.step + 1)
        return State(x, state.accepted, state.step + 1)

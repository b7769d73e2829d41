"""Run C chains of a kernel and keep their draws."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.perception.generative.mcmc import Kernel, State


@dataclass(frozen=True)
class Draws:
    """Draws of C chains after the burn-in."""

    x: Tensor
    """(D, C, *event)."""
    acceptance: Tensor
    """Share of accepted proposals of each chain, (C,)."""


def iterate(kernel: Kernel, x: Tensor, generator: torch.Generator | None = None) -> Iterator[State]:
    """Yield the state after each step, without end. The chains start at x (C, *event)."""
    state = kernel.start(x)
    while True:
        state = kernel.step(state, generator)
        yield state


def run_chains(
    kernel: Kernel,
    x: Tensor,
    draws: int,
    burn: int = 0,
    thin: int = 1,
    generator: torch.Generator | None = None,
) -> Draws:
    """Return `draws` draws of each chain.

    Args:
        kernel: the transition.
        x: (C, *event), where the chains start.
        draws: number of draws kept of each chain (D).
        burn: steps before the first draw.
        thin: steps from one draw to the next.
        generator: `torch.Generator` of all random numbers; None takes torch's global one.

    Raises:
        NonFinite: naming the step.
        ValueError: if a number of steps is not positive.
    """
    if draws < 1 or burn < 0 or thin < 1:
        raise ValueError(f"{draws} draws after {burn} steps, every {thin} steps; give draws >= 1, burn >= 0, thin >= 1")
    kept, accepted = [], torch.zeros(len(x), device=x.device)
    for state in iterate(kernel, x, generator):
        if state.step > burn:
            accepted += state.accepted
            if (state.step - burn) % thin == 0:
                kept.append(state.x)
        if len(kept) == draws:
            break
    return Draws(torch.stack(kept), accepted / (draws * thin))

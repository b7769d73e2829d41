"""All states of a small discrete model, a piece at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

LIMIT = 2**20
"""Most states that are enumerated."""
PIECE = 2**14


def binary_states(units: int, like: Tensor) -> Iterator[Tensor]:
    """Yield all states of binary units as numbers 0 and 1, (B, units) each, with the type and device of `like`."""
    for states in all_states(units, 2, like.device):
        yield states.to(like.dtype)


def all_states(variables: int, values: int, device: torch.device | str | None = None) -> Iterator[Tensor]:
    """Yield all states of variables with `values` values each, int64 (B, variables).

    Raises:
        ValueError: if there are more than 2^20 states.
    """
    if values**variables > LIMIT:
        raise ValueError(
            f"{variables} variables with {values} values each have too many states to enumerate (at most {LIMIT:,}); "
            "estimate by annealed importance sampling or message passing"
        )
    place = values ** torch.arange(variables, device=device)
    for first in range(0, values**variables, PIECE):
        index = torch.arange(first, min(first + PIECE, values**variables), device=device)
        yield index[:, None] // place % values

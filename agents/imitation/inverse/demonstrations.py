"""Walks of an expert through a finite set of states: their visits, and checks of them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from embodia.agents.imitation.inverse.dynamics import Dynamics


class DemonstrationError(ValueError):
    """Demonstrations cannot be learned from; the message says which one, and why."""


def state_action_visits(walks: Sequence[tuple[ArrayLike, ArrayLike]], dynamics: Dynamics) -> Tensor:
    """Return how often each state and action is visited in a walk, (S, A), averaged over the walks.

    Args:
        walks: for each walk the states (T,) and the actions (T,) taken in them.
        dynamics: the states, actions and possible moves.

    Raises:
        DemonstrationError: if there are no walks, a walk is empty, leaves the states, or makes an impossible move.
    """
    if not walks:
        raise DemonstrationError("there are no demonstrations; give at least one walk")
    states, actions = dynamics.outcome.shape[:2]
    visits = torch.zeros(states * actions)
    for number, (states_, actions_) in enumerate(walks):
        s, a = (
            checked(states_, states, f"demonstration {number}: state"),
            checked(actions_, actions, f"demonstration {number}: action"),
        )
        if len(s) != len(a):
            raise DemonstrationError(f"demonstration {number}: {len(s)} states but {len(a)} actions; give one each")
        check_moves(s, a, dynamics, number)
        visits += torch.bincount(s * actions + a, minlength=states * actions)
    return (visits / len(walks)).view(states, actions)


def checked(indices: ArrayLike, count: int, what: str) -> Tensor:
    """Return the indices (T,) int64. Raises DemonstrationError if there are none, or one is not in 0 to count - 1."""
    found = np.asarray(indices)
    if found.ndim != 1 or len(found) == 0 or found.dtype.kind not in "iu":
        raise DemonstrationError(f"{what}s have shape {found.shape} and type {found.dtype}; give integers (T,), T > 0")
    outside = np.flatnonzero((found < 0) | (found >= count))
    if len(outside):
        t = int(outside[0])
        raise DemonstrationError(f"{what} {found[t]} at step {t} is off the map, whose {what.split()[-1]}s are 0 to "
                                 f"{count - 1}")  # fmt: skip
    return torch.from_numpy(found.astype(np.int64))


def check_moves(s: Tensor, a: Tensor, dynamics: Dynamics, number: int) -> None:
    """Raise DemonstrationError if a state does not follow from the one before it and its action."""
    reachable = (dynamics.outcome[s[:-1], a[:-1]] == s[1:, None]) & (dynamics.probability[s[:-1], a[:-1]] > 0)
    impossible = (~reachable.any(-1)).nonzero()[:, 0]
    if len(impossible):
        t = int(impossible[0])
        raise DemonstrationError(
            f"demonstration {number}: state {int(s[t + 1])} at step {t + 1} cannot follow state {int(s[t])} and action "
            f"{int(a[t])}"
        )

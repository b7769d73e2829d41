"""Encode actions for networks: discrete actions as one-hot vectors, a bounded Box scaled to [-1, 1]."""

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional as F


def action_width(space: spaces.Space[Any]) -> int:
    """Return the width of an encoded action.

    Raises:
        TypeError: For action spaces other than Discrete and one-dimensional Box.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return space.shape[0]
    raise TypeError(f"a world model takes Discrete or one-dimensional Box actions, not {space}")


def encode_action(action: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Encode actions: (*B,) int64 -> one-hot (*B, n); (*B, A) -> (*B, A) float, in [-1, 1] for a bounded Box."""
    if isinstance(space, spaces.Discrete):
        return F.one_hot(action.long() - int(space.start), int(space.n)).float()
    return unit_action(action.float(), space)


def unit_action(action: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Scale actions (*B, A) of a bounded Box to [-1, 1]. Actions of an unbounded Box are unchanged."""
    assert isinstance(space, spaces.Box)
    if not space.is_bounded():
        return action
    low, high = box_bounds(space, action)
    return 2 * (action - low) / (high - low) - 1


def box_bounds(space: spaces.Box, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return low and high (A,) with the dtype and device of `like`."""
    return torch.as_tensor(space.low).to(like), torch.as_tensor(space.high).to(like)

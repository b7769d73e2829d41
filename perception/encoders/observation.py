"""Convert observations to tensors, and classify observation spaces."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor

from embodia.perception import Obs

Kind = Literal["image", "depth", "symbols", "vector", "tokens", "discrete"]

MOST_CLASSES = 2**16  # integers with a larger range are quantities, not codes


class WrongObservation(ValueError):
    """An observation lacks a key or has another shape than the encoder's observation space."""


def kind(space: Space[Any]) -> Kind:
    """Classify an observation space.

    Args:
        space: The space of one key.

    Returns:
        "image": uint8 (H, W, C) with values up to 255. "symbols": uint8 (H, W, C) with smaller codes. "depth": float
        (H, W, C). "tokens": int (L,) with one vocabulary. "discrete": Discrete, MultiDiscrete, MultiBinary, or an int
        Box (L,) with a range per element. "vector": any other Box.

    Raises:
        TypeError: If no encoder reads the space (Text, Sequence, Graph).
    """
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return "discrete"
    if not isinstance(space, spaces.Box):
        raise TypeError(f"no encoder reads a {type(space).__name__} space; give arrays of a fixed shape")
    integers = np.issubdtype(space.dtype, np.integer)
    if len(space.shape) == 3:
        if not integers:
            return "depth"
        return "image" if space.high.max() >= 255 else "symbols"
    if not integers or len(space.shape) != 1 or space.low.min() < 0 or space.high.max() > MOST_CLASSES:
        return "vector"
    return "tokens" if (space.high == space.high[0]).all() else "discrete"


def keys_of(space: spaces.Dict, kinds: Sequence[Kind], reader: str) -> tuple[str, ...]:
    """Return the keys of these kinds, in the space's order.

    Raises:
        ValueError: If there is none. `reader` names the encoder in the message.
    """
    found = tuple(key for key, value in space.items() if kind(value) in kinds)
    if not found:
        raise ValueError(f"{reader} reads {' or '.join(kinds)}; the observation space has none: {space}")
    return found


def take(obs: Obs, space: spaces.Dict, key: str) -> tuple[Tensor, tuple[int, ...]]:
    """Return one key with its batch axes flattened, (N, *shape), and the batch axes *B.

    Raises:
        WrongObservation: If the key is missing or its shape does not end in the space's shape.
    """
    shape = space[key].shape or ()
    if key not in obs:
        raise WrongObservation(f"observation {key!r} is missing; got {sorted(obs)}")
    value = obs[key]
    batch = tuple(value.shape[: value.ndim - len(shape)])
    if value.ndim < len(shape) or tuple(value.shape[len(batch) :]) != shape:
        raise WrongObservation(f"observation {key!r} has shape {tuple(value.shape)}; expected (*B, {_listed(shape)})")
    return value.reshape(-1, *shape), batch


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape)) or "no further axes"


def take_images(obs: Obs, space: spaces.Dict, keys: Sequence[str]) -> tuple[Tensor, tuple[int, ...]]:
    """Return images and depth of one size, stacked along channels, (N, C, H, W) float32 of about -0.5 to 0.5, and *B.

    Raises:
        WrongObservation: If a key is missing, a shape is wrong, or batch axes differ.
    """
    taken = [take(obs, space, key) for key in keys]
    batch = taken[0][1]
    if any(other != batch for _, other in taken):
        raise WrongObservation(f"batch axes differ: { {key: other for key, (_, other) in zip(keys, taken)} }")
    scaled = [_scaled(value, space[key]) for key, (value, _) in zip(keys, taken)]
    return torch.cat(scaled, -1).permute(0, 3, 1, 2), batch  # a view: memory keeps the channels last


def _scaled(value: Tensor, space: Space[Any]) -> Tensor:
    assert isinstance(space, spaces.Box)
    low, high = float(space.low.min()), float(space.high.max())
    if not np.isfinite([low, high]).all() or low >= high:
        return value.float()
    return (value.float() - low) / (high - low) - 0.5


def image_shape(space: spaces.Dict, keys: Sequence[str]) -> tuple[int, int, int]:
    """Return (C, H, W) of these keys stacked along the channels.

    Raises:
        ValueError: If their sizes differ or are below 16 pixels.
    """
    shapes = {key: space[key].shape or () for key in keys}
    sizes = {shape[:2] for shape in shapes.values()}
    if len(sizes) != 1:
        raise ValueError(f"images of different sizes cannot be stacked: {shapes}; read each with its own encoder")
    height, width = sizes.pop()
    if min(height, width) < 16:
        raise ValueError(f"image encoders need at least 16x16 pixels; got {shapes}")
    return sum(shape[2] for shape in shapes.values()), height, width

"""Gymnasium spaces as JSON, and checks whether arrays or another space fit a space."""

from typing import Any

import numpy as np
from gymnasium import Space, spaces


class Incompatible(ValueError):
    """An array does not fit a space; the message names the key."""


def space_to_json(space: Space[Any]) -> dict[str, Any]:
    """Describe a space as JSON; a Box whose bound is the same everywhere has one number.

    Raises:
        TypeError: if the space has no fixed shape (Text, Sequence, Graph).
    """
    if isinstance(space, spaces.Dict):
        return {"type": "Dict", "spaces": {key: space_to_json(value) for key, value in space.items()}}
    if isinstance(space, spaces.Tuple):
        return {"type": "Tuple", "spaces": [space_to_json(value) for value in space.spaces]}
    if isinstance(space, spaces.Box):
        bounds = {"low": _bound(space.low), "high": _bound(space.high)}
        return {"type": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, spaces.Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    raise TypeError(
        f"{type(space).__name__} has no fixed shape; use arrays (tokens for a text, a fixed number of slots for a set)"
    )


def _bound(bound: np.ndarray) -> Any:
    values = bound.astype(object) if bound.dtype.kind in "iub" else bound.astype(np.float64)
    listed = np.where(np.isfinite(bound), values, bound.astype(str)).tolist() if bound.size else []
    same = bound.size and (bound == bound.flat[0]).all()
    return np.asarray(listed, object).flat[0] if same else listed


def space_from_json(data: dict[str, Any]) -> Space[Any]:
    """Make the space that `space_to_json` described.

    Raises:
        ValueError: if the type is unknown.
    """
    kind = data["type"]
    if kind == "Dict":
        return spaces.Dict({key: space_from_json(value) for key, value in data["spaces"].items()})
    if kind == "Tuple":
        return spaces.Tuple([space_from_json(value) for value in data["spaces"]])
    if kind == "Box":
        dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
        low, high = (np.broadcast_to(_numbers(data[end], dtype), shape) for end in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        return spaces.Discrete(data["n"], start=data["start"])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(data["nvec"], start=data["start"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    raise ValueError(f'"{kind}" is not a space with a fixed shape')


def _numbers(listed: Any, dtype: np.dtype[Any]) -> np.ndarray:
    if dtype.kind in "iub":
        return np.asarray(listed, dtype)
    return np.vectorize(float, otypes=[np.float64])(np.asarray(listed, object)).astype(dtype)


def check_batch(value: Any, space: Space[Any], name: str) -> None:
    """Check that `value`, leaves (T, ...), has the keys, shapes and types of T samples of `space`.

    Raises:
        Incompatible: if not; the message names the key.
    """
    if isinstance(space, spaces.Dict):
        for key, sub in space.items():
            if not isinstance(value, dict) or key not in value:
                raise Incompatible(f"{name}/{key}: missing")
            check_batch(value[key], sub, f"{name}/{key}")
        return
    if value.shape[1:] != space.shape:
        raise Incompatible(f"{name}: shape {value.shape[1:]}, but the space says {space.shape}")
    if space.dtype is not None and value.dtype.kind != space.dtype.kind:
        raise Incompatible(f"{name}: {value.dtype}, but the space says {space.dtype}")


def difference(ours: Space[Any], theirs: Space[Any], name: str) -> str | None:
    """Describe the first difference between a space and that of a checkpoint; None if they are equal."""
    if ours == theirs:
        return None
    if isinstance(ours, spaces.Dict) and isinstance(theirs, spaces.Dict):
        for key in sorted({*ours.spaces, *theirs.spaces}):
            if key not in theirs.spaces:
                return f"{name}/{key} is not in the checkpoint"
            if key not in ours.spaces:
                return f"{name}/{key} is in the checkpoint, but missing here"
            if found := difference(ours[key], theirs[key], f"{name}/{key}"):
                return found
    return f"{name} is {ours} here, but {theirs} in the checkpoint"

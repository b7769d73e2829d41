"""Serialization of training state as tensors and plain values, which torch loads with `weights_only=True`."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embodia.planners.trees import object_array

KIND = "__kind__"


def encode(value: Any, path: str = "state") -> Any:
    """Convert a nested state to types that `weights_only=True` allows.

    Args:
        value: nested dicts, lists and tuples of arrays, tensors, numbers, strings, bytes and None.
        path: name of `value` in error messages.

    Raises:
        TypeError: for any other type; the message names its path.
    """
    if isinstance(value, np.ndarray | np.generic):
        return _encode_array(value, path)
    if isinstance(value, torch.Tensor):
        whole = value.untyped_storage().nbytes() == value.nbytes
        return value.detach() if whole else value.detach().clone()  # a view would be saved with its whole storage
    if value is None or isinstance(value, bool | float | str):
        return value
    if type(value) is int:
        return value if abs(value) < 2**63 else {KIND: "int", "value": hex(value)}
    if isinstance(value, bytes):
        return {KIND: "bytes", "data": _bytes(np.frombuffer(value, np.uint8))}
    if isinstance(value, Mapping):
        return {KIND: "dict", "items": [(encode(k, path), encode(v, f"{path}/{k}")) for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [encode(item, f"{path}/{i}") for i, item in enumerate(value)]
        return items if type(value) is list else {KIND: "tuple", "items": items}
    raise TypeError(f"{path} is a {type(value).__name__}; training state may hold tensors, arrays and plain values")


def _encode_array(value: np.ndarray | np.generic, path: str) -> dict[str, Any]:
    array = np.asarray(value)
    if array.dtype == object:
        items = [encode(item, f"{path}/{i}") for i, item in enumerate(array.ravel())]
        return {KIND: "objects", "shape": list(array.shape), "items": items}
    kind = "array" if isinstance(value, np.ndarray) else "scalar"
    data = _bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return {KIND: kind, "dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def _bytes(data: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(data if data.flags.writeable else data.copy())


def decode(value: Any) -> Any:
    """Undo `encode`, with the same types and bit for bit."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value[KIND]
    if kind == "dict":
        return {decode(k): decode(v) for k, v in value["items"]}
    if kind == "tuple":
        return tuple(decode(item) for item in value["items"])
    if kind == "int":
        return int(value["value"], 16)
    if kind == "objects":
        return object_array(decode(item) for item in value["items"]).reshape(value["shape"])
    data = value["data"].numpy()
    if kind == "bytes":
        return data.tobytes()
    array = data.view(np.dtype(value["dtype"])).reshape(value["shape"])
    return array if kind == "array" else array[()]


def write_state(state: Any, path: Path) -> None:
    """Write an encoded state. If that fails, raise the operating system's error instead of torch's."""
    reasons: list[OSError] = []

    class Telling(io.FileIO):
        def write(self, data: Any) -> int:
            try:
                return super().write(data)
            except OSError as error:
                reasons.append(error)
                raise

    with Telling(path, "wb") as raw:
        try:
            with io.BufferedWriter(raw, 2**20) as file:
                torch.save(state, file)
        except (OSError, RuntimeError):
            if reasons:
                raise reasons[0] from None
            raise


def read_state(path: Path) -> Any:
    """Read and decode a file of `write_state`; tensors are on the CPU."""
    return decode(torch.load(path, map_location="cpu", weights_only=True))

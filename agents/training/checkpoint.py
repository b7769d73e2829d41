"""Checkpoints that explain themselves and are either whole or not there.

    checkpoints/000100000/agent.safetensors   all that `act` needs
                          training.pt         all that going on bit for bit needs; loads with `weights_only=True`
                          meta.json           step, configuration, spaces, versions, size and SHA-256 of the others

A checkpoint is written into a folder aside, brought to the disk, and then given its name; `meta.json` is written last.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import Space
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from embodia.agents.training.spaces import difference, space_from_json, space_to_json

FORMAT = 1
KIND = "__kind__"


class Saved(Protocol):
    """What a checkpoint holds: an `Agent` with its spaces, or a learner, which has none."""

    def save(self, folder: Path) -> None: ...


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message names file and field and says what to do."""


# What training is, as tensors and plain values


def encode(value: Any, path: str = "state") -> Any:
    """Nested dicts, lists, tuples of arrays, tensors, numbers, strings, bytes and None as `weights_only` allows them.

    Raises:
        TypeError: naming the path of anything else.
    """
    if isinstance(value, np.ndarray | np.generic):
        return _encode_array(value, path)
    if isinstance(value, torch.Tensor):
        whole = value.untyped_storage().nbytes() == value.nbytes
        return value.detach() if whole else value.detach().clone()  # a view would be saved with all that it views
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
    raise TypeError(f"{path} is a {type(value).__name__}; training state is tensors, arrays and plain values only")


def _encode_array(value: np.ndarray | np.generic, path: str) -> dict[str, Any]:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise TypeError(f"{path} is an array of Python objects; training state is numbers")
    kind = "array" if isinstance(value, np.ndarray) else "scalar"
    data = _bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return {KIND: kind, "dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def _bytes(data: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(data if data.flags.writeable else data.copy())


def decode(value: Any) -> Any:
    """What `encode` was given, type for type and bit for bit."""
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
    data = value["data"].numpy()
    if kind == "bytes":
        return data.tobytes()
    array = data.view(np.dtype(value["dtype"])).reshape(value["shape"])
    return array if kind == "array" else array[()]


# Weights


def _named_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and saved buffers, each once though several names lead to it."""
    saved = module.state_dict(keep_vars=True)
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor for name, tensor in named if name in saved}


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's parameters and buffers as safetensors."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in _named_tensors(module).items()}, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote into a module of the same build, on whatever device it is.

    Raises:
        CheckpointError: naming file and tensor where the module is built differently or the file is cut off.
    """
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cut off or corrupt ({error})") from error
    ours = _named_tensors(module)
    for name in sorted({*ours, *stored}):
        if name not in stored or name not in ours:
            side = "the file lacks it" if name in ours else "this agent has none"
            raise CheckpointError(f"{path}: {name}: {side}; build the agent with the checkpoint's own configuration")
        if ours[name].shape != stored[name].shape:
            shapes = f"{tuple(stored[name].shape)} in the file, {tuple(ours[name].shape)} in this agent"
            raise CheckpointError(f"{path}: {name}: {shapes}; build the agent with the checkpoint's own configuration")
    with torch.no_grad():
        for name, tensor in ours.items():
            tensor.copy_(stored[name])


# Writing


def save(
    folder: Path, step: int, agent: Saved, training: Mapping[str, Any], meta: Mapping[str, Any] | None = None
) -> Path:
    """Write `folder/<step>` and return it; one that is already there and whole is kept.

    Raises:
        CheckpointError: where the disk is full or cannot be written; nothing of the attempt remains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{step:09d}"
    state = encode(training)
    aside = folder / f".aside-{uuid.uuid4().hex}"
    try:
        aside.mkdir()
        agent.save(aside)
        _save_state(state, aside / "training.pt")
        files = {path.name: _stamp(path) for path in sorted(aside.iterdir())}
        text = json.dumps({**_about(agent, step), **(meta or {}), "files": files}, indent=2)
        (aside / "meta.json").write_text(text)
        for path in [*aside.iterdir(), aside]:
            _to_disk(path)
        if final.exists():  # a run resumed and stopped on the spot writes the same again
            final.rename(folder / f".aside-{uuid.uuid4().hex}")
        aside.rename(final)
        _to_disk(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        last = latest(folder)
        free = shutil.disk_usage(folder).free / 2**20
        raise CheckpointError(
            f"{final}: could not be written ({error}; {free:.0f} MiB free on this disk). "
            + (f"The last good checkpoint is {last}" if last else "There is no earlier checkpoint")
        ) from error
    for left in folder.glob(".aside-*"):  # of a process that was killed while it wrote
        shutil.rmtree(left, ignore_errors=True)
    return final


def _save_state(state: Any, path: Path) -> None:
    """torch.save, but where writing fails the operating system's reason is told, not torch's consequence of it."""
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


def _about(agent: Saved, step: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "step": step,
        "agent": type(agent).__name__,
        **{name: space_to_json(space) for name, space in _spaces(agent).items()},
        "versions": versions(),
    }


def _spaces(agent: Saved) -> dict[str, Space[Any]]:
    names = ("observation_space", "action_space")
    return {name: getattr(agent, name) for name in names if hasattr(agent, name)}


def versions() -> dict[str, str]:
    """The versions a result depends on."""
    found = {"python": platform.python_version()}
    for name in ("embodia", "torch", "numpy", "gymnasium", "minigrid", "stable-baselines3"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _stamp(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# Reading


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    path: Path
    step: int
    meta: dict[str, Any]

    def training(self) -> dict[str, Any]:
        """What `save` was given as `training`."""
        file = self.path / "training.pt"
        try:
            return decode(torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:
            raise CheckpointError(f"{file}: cannot be read ({error}); use an earlier checkpoint") from error


def load(path: Path | str) -> Checkpoint:
    """Open one checkpoint folder and verify every file in it.

    Raises:
        CheckpointError: naming the file that is missing, cut off, changed, or of another version.
    """
    path = Path(path)
    try:
        meta = json.loads((path / "meta.json").read_text())
        step, files = meta["step"], meta["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}/meta.json: not a whole checkpoint ({error}); use an earlier one") from error
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}/meta.json: format {meta.get('format')}, this version reads {FORMAT}; "
            f"it was written by embodia {meta.get('versions', {}).get('embodia')}"
        )
    for name, stamp in files.items():
        if not (path / name).exists():
            raise CheckpointError(f"{path / name}: missing; use an earlier checkpoint")
        if (path / name).stat().st_size != stamp["bytes"] or _stamp(path / name) != stamp:
            size = (path / name).stat().st_size
            raise CheckpointError(
                f"{path / name}: cut off or changed ({size} of {stamp['bytes']} bytes); use an earlier checkpoint"
            )
    return Checkpoint(path, step, meta)


def list_steps(folder: Path | str) -> list[Path]:
    """The checkpoints of a folder by name, oldest first, whole or not."""
    folder = Path(folder)
    return sorted(path for path in folder.iterdir() if path.name.isdigit()) if folder.is_dir() else []


def latest(folder: Path | str) -> Path | None:
    """The newest whole checkpoint; warns of every newer one that is not whole. None where there is none."""
    for path in reversed(list_steps(folder)):
        try:
            return load(path).path
        except CheckpointError as error:
            warnings.warn(f"passed over: {error}", stacklevel=2)
    return None


def score(path: Path) -> float | None:
    """The evaluation score a checkpoint was saved with."""
    try:
        return json.loads((path / "meta.json").read_text()).get("score")
    except (OSError, ValueError):
        return None


def best(folder: Path | str) -> Path | None:
    """The checkpoint with the highest score, the newest of equals; the newest of all where none has a score."""
    paths = list_steps(folder)
    scored = [(value, path) for path in paths if (value := score(path)) is not None]
    return max(scored)[1] if scored else (paths[-1] if paths else None)


def prune(folder: Path | str, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints and the best one."""
    paths = list_steps(folder)
    spared = {*paths[-keep:], best(folder)} if keep > 0 else set(paths)
    for path in paths:
        if path not in spared:
            shutil.rmtree(path, ignore_errors=True)


def check_fits(checkpoint: Checkpoint, agent: Saved) -> None:
    """Whether a checkpoint was written by such an agent for such spaces.

    Raises:
        CheckpointError: naming the first difference.
    """
    meta, where = checkpoint.meta, checkpoint.path / "meta.json"
    if meta["agent"] != type(agent).__name__:
        raise CheckpointError(f"{where}: written by {meta['agent']}, this agent is {type(agent).__name__}")
    for name, ours in _spaces(agent).items():
        if found := difference(ours, space_from_json(meta[name]), name):
            raise CheckpointError(f"{where}: {found}; use the environment and options it was trained with")

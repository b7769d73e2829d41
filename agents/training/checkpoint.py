"""Checkpoints that explain themselves and are either whole or not there.

    checkpoints/000100000/agent.safetensors   all that `act` needs
                          training.pt         all that going on bit for bit needs; loads with `weights_only=True`
                          meta.json           step, configuration, spaces, versions, size and SHA-256 of the others

A checkpoint is written into a folder aside, brought to the disk, and then given its name; `meta.json` is written last.
"""

import hashlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gymnasium import Space
from safetensors import SafetensorError

from embodia.agents.training.scores import SIGN
from embodia.agents.training.serialization import encode, read_state, write_state
from embodia.agents.training.spaces import difference, space_from_json, space_to_json
from embodia.agents.training.versions import versions

FORMAT = 1


class Saved(Protocol):
    """What a checkpoint holds: an `Agent` with its spaces, or a learner, which has none."""

    def save(self, folder: Path) -> None: ...


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message names file and field and says what to do."""


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
        write_state(state, aside / "training.pt")
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
            return read_state(file)
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


def merit(path: Path) -> float | None:
    """The evaluation score a checkpoint was saved with, negative where lower is better."""
    try:
        meta = json.loads((path / "meta.json").read_text())
    except (OSError, ValueError):
        return None
    score = meta.get("score")
    return None if score is None else SIGN[meta.get("better", "higher")] * score


def best(folder: Path | str) -> Path | None:
    """The checkpoint with the best score, the newest of equals; the newest of all where none has a score."""
    paths = list_steps(folder)
    scored = [(value, path) for path in paths if (value := merit(path)) is not None]
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

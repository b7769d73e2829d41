"""Self-describing checkpoints, written atomically.

    checkpoints/000100000/agent.safetensors   the weights that `act` needs
                          training.pt         all else that exact resume needs; loads with `weights_only=True`
                          meta.json           step, configuration, spaces, versions, size and SHA-256 of the other files

A checkpoint is written to a temporary folder, flushed to disk, and then renamed; `meta.json` is written last.
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
    """What a checkpoint can hold: an `Agent`, whose spaces are stored too, or a learner."""

    def save(self, folder: Path) -> None: ...


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message names the file and field and says what to do."""


# Writing


def save(
    folder: Path, step: int, agent: Saved, training: Mapping[str, Any], meta: Mapping[str, Any] | None = None
) -> Path:
    """Write the checkpoint `folder/<step>` and return its path; an existing one of this step is replaced.

    Args:
        folder: the run's `checkpoints` folder.
        step: steps trained so far; names the checkpoint.
        agent: writes its weights with its `save`.
        training: the training state, of the types that `serialization.encode` accepts.
        meta: further entries of meta.json.

    Raises:
        CheckpointError: if the disk is full or cannot be written; no partial checkpoint remains.
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
        if final.exists():  # a run that is resumed and stopped at once writes the same step again
            final.rename(folder / f".aside-{uuid.uuid4().hex}")
        aside.rename(final)
        _to_disk(folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        last = latest(folder)
        free = shutil.disk_usage(folder).free / 2**20
        raise CheckpointError(
            f"{final}: could not be written ({error}; {free:.0f} MiB free on this disk). "
            + (f"The newest intact checkpoint is {last}" if last else "There is no earlier checkpoint")
        ) from error
    for left in folder.glob(".aside-*"):  # left by a process that was killed while writing
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
    """An intact checkpoint."""

    path: Path
    step: int
    meta: dict[str, Any]

    def training(self) -> dict[str, Any]:
        """Read the training state that was passed to `save`."""
        file = self.path / "training.pt"
        try:
            return read_state(file)
        except Exception as error:
            raise CheckpointError(f"{file}: cannot be read ({error}); use an earlier checkpoint") from error


def load(path: Path | str) -> Checkpoint:
    """Open a checkpoint folder and verify every file in it.

    Raises:
        CheckpointError: if a file is missing, truncated, changed, or of another version; the message names it.
    """
    path = Path(path)
    try:
        meta = json.loads((path / "meta.json").read_text())
        step, files = int(meta["step"]), dict(meta["files"])
        stamps = {name: (int(stamp["bytes"]), str(stamp["sha256"])) for name, stamp in files.items()}
        if not isinstance(meta["agent"], str) or any(Path(name).name != name for name in files):
            raise ValueError("agent or files is malformed")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path}/meta.json: incomplete checkpoint ({error}); use an earlier one") from error
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}/meta.json: format {meta.get('format')}, but this version reads format {FORMAT}; "
            f"it was written by {meta.get('versions')}"
        )
    for name, (size, digest) in stamps.items():
        if not (path / name).is_file():
            raise CheckpointError(f"{path / name}: missing; use an earlier checkpoint")
        found = (path / name).stat().st_size
        if found != size or _stamp(path / name)["sha256"] != digest:
            raise CheckpointError(
                f"{path / name}: truncated or changed ({found} of {size} bytes); use an earlier checkpoint"
            )
    return Checkpoint(path, step, meta)


def list_steps(folder: Path | str) -> list[Path]:
    """Return the paths of all checkpoints in a folder, oldest first, intact or not."""
    folder = Path(folder)
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in there if path.name.isascii() and path.name.isdigit() and path.is_dir())


def latest(folder: Path | str) -> Path | None:
    """Return the newest intact checkpoint, or None; warns about each damaged one that it skips."""
    for path in reversed(list_steps(folder)):
        try:
            return load(path).path
        except CheckpointError as error:
            warnings.warn(f"skipped: {error}", stacklevel=2)
    return None


def merit(path: Path) -> float | None:
    """Return the evaluation score that a checkpoint was saved with, negated if lower is better; None without one."""
    try:
        meta = json.loads((path / "meta.json").read_text())
        score = meta.get("score")
        return None if score is None else SIGN[meta.get("better", "higher")] * float(score)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def best(folder: Path | str) -> Path | None:
    """Return the intact checkpoint with the best score (the newest of equals), or the newest if none has a score.

    Warns about each damaged one that it skips; None if no checkpoint is intact.
    """
    scored = [(value, path) for path in list_steps(folder) if (value := merit(path)) is not None]
    for _, path in sorted(scored, reverse=True):
        try:
            return load(path).path
        except CheckpointError as error:
            warnings.warn(f"skipped: {error}", stacklevel=2)
    return latest(folder)


def prune(folder: Path | str, keep: int) -> None:
    """Remove all intact checkpoints except the newest `keep` and the best one; `keep=0` removes none.

    Damaged checkpoints do not count. They are renamed to `<step>.damaged` and never removed.
    """
    if keep <= 0:
        return
    for path in list_steps(folder):
        if not _intact(path):
            _set_aside(path)
    paths = list_steps(folder)
    spared = {*paths[-keep:], best(folder)}
    for path in paths:
        if path not in spared:
            shutil.rmtree(path, ignore_errors=True)


_verified: dict[Path, tuple[tuple[str, int, int], ...]] = {}
"""Size and modification time of the files of checkpoints that this process has verified."""


def _intact(path: Path) -> bool:
    """Verify a checkpoint; one whose files have not been touched since the last call is not read again."""
    files = tuple((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in sorted(path.iterdir()))
    if _verified.get(path) == files:
        return True
    try:
        load(path)
    except CheckpointError:
        return False
    _verified[path] = files
    return True


def _set_aside(path: Path) -> None:
    free = path.with_name(f"{path.name}.damaged")
    number = 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.damaged-{number}")
    path.rename(free)
    warnings.warn(f"{path} is damaged; it was renamed to {free.name}", stacklevel=3)


def check_fits(checkpoint: Checkpoint, agent: Saved) -> None:
    """Check that a checkpoint was written by this class of agent for these spaces.

    Raises:
        CheckpointError: if not; the message names the first difference.
    """
    meta, where = checkpoint.meta, checkpoint.path / "meta.json"
    if meta["agent"] not in (type(agent).__name__, *getattr(agent, "former_names", ())):
        raise CheckpointError(f"{where}: written by {meta['agent']}, but this agent is {type(agent).__name__}")
    for name, ours in _spaces(agent).items():
        try:
            saved = space_from_json(meta[name])
        except Exception as error:  # Gymnasium raises whatever a wrong value makes it raise
            raise CheckpointError(f"{where}: {name}: malformed ({type(error).__name__}: {error})") from error
        if found := difference(ours, saved, name):
            raise CheckpointError(f"{where}: {found}; use the environment and options it was trained with")

"""Rows of experience: what one does to nested dicts of arrays, and episodes of rows on disk.

One file holds one episode: a compressed `.npz` whose members are the rows (`obs/image`, `reward`, `first`, ...,
each (T, ...)) and a JSON header (environment id, seed, spaces, versions). A file is written aside and then given its
name, and no file is ever overwritten, so a reader never meets half an episode.
"""

import json
import os
import re
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Row
from embodia.agents.training.spaces import Incompatible, check_batch, space_from_json, space_to_json
from embodia.planners.trees import index, tree_map

FORMAT = 1
ROW_KEYS = ("reward", "first", "last", "terminal", "action")


def stack(trees: Sequence[Any], axis: int = 0) -> Any:
    """Join trees of equal shapes along a new axis: T rows (n, ...) -> rows (T, n, ...)."""
    return tree_map(lambda *leaves: np.stack(leaves, axis), *trees)


def concatenate(trees: Sequence[Any], axis: int = 0) -> Any:
    """Join trees along an axis they have: n1 worlds and n2 worlds -> n1 + n2 worlds."""
    return tree_map(lambda *leaves: np.concatenate(leaves, axis), *trees)


def copy(tree: Any) -> Any:
    """A tree that shares no memory with the given one."""
    return tree_map(np.array, tree)


def to_torch(tree: Any, device: Any = "cpu") -> Any:
    """Arrays to tensors of the same type on `device`; arrays of objects (snapshots) stay as they are."""
    import torch  # here, so that reading and writing episodes needs no torch

    def convert(leaf: Any) -> Any:
        array = np.ascontiguousarray(leaf)
        return array if array.dtype.hasobject else torch.as_tensor(array, device=device)

    return tree_map(convert, tree)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"obs": {"image": x}} -> {"obs/image": x}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"obs/image": x} -> {"obs": {"image": x}}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


class NonFinite(FloatingPointError):
    """An environment gave NaN; the message names environment, world, seed and step."""


def check_finite(obs: Mapping[str, Any], reward: Array, where: Callable[[int], str]) -> None:
    """Refuse NaN in an observation and anything but finite numbers in a reward, before a learner swallows it.

    obs: leaves (n, ...); reward (n,); `where(world)` names the world for the message. Integers cannot be NaN, so
    images and tokens cost nothing; this runs once per step on the whole batch.

    Raises:
        NonFinite: naming the field and `where(world)`.
    """
    if not np.isfinite(reward).all():
        world = int(np.flatnonzero(~np.isfinite(reward))[0])
        raise NonFinite(f"reward is {reward[world]} in {where(world)}; mend the environment's reward")
    for key, value in obs.items():
        if isinstance(value, Mapping):
            check_finite(value, reward, where)
        elif value.dtype.kind == "f" and np.isnan(value).any():
            world = int(np.flatnonzero(np.isnan(value).reshape(len(value), -1).any(1))[0])
            raise NonFinite(f'observation "{key}" is NaN in {where(world)}; mend the environment\'s sensor')


class EpisodeError(ValueError):
    """An episode file cannot be read; the message names the file and the field."""


@dataclass(frozen=True)
class StoredEpisode:
    """One episode read from disk."""

    rows: Row
    """Each leaf (T, ...); the first row has `first`, the last one `last`."""
    env_id: str
    seed: int | None
    """The seed of its `reset`; None where the environment drew the level itself."""
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    header: dict[str, Any] = field(default_factory=dict)
    """Everything else that was written beside the rows."""
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.rows["reward"])


class EpisodeWriter:
    """Writes episodes into a folder, one file each, numbered onward from what lies there.

    Further keyword arguments (agent, split, ...) go into every header; they must be JSON.
    """

    def __init__(
        self,
        folder: Path | str,
        env_id: str,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        **header: Any,
    ):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.header = {
            "format": FORMAT,
            "env_id": env_id,
            "observation_space": space_to_json(observation_space),
            "action_space": space_to_json(action_space),
            **header,
        }
        self._open: dict[int, list[Row]] = {}
        self._number = 0

    def add(self, row: Row, world: int = 0, seed: int | None = None) -> Path | None:
        """Take one world's row (leaves without the world axis); at its last row the episode is written.

        Rows of an episode that was joined after its first row are passed over: a file holds a whole episode.
        """
        if row["first"]:
            self._open[world] = []
        if world not in self._open:
            return None
        self._open[world].append(copy(row))
        if not row["last"]:
            return None
        return self.write(stack(self._open.pop(world)), seed)

    def add_rows(self, row: Row) -> list[Path]:
        """Take a row of n worlds, as the loop's buffers do; the files written by it."""
        paths = (self.add(index(row, world), world) for world in range(len(row["reward"])))
        return [path for path in paths if path is not None]

    def write(self, rows: Row, seed: int | None = None, **header: Any) -> Path:
        """Write a whole episode, each leaf (T, ...), under the next free name."""
        if len(rows["reward"]) == 0 or not rows["first"][0] or not rows["last"][-1]:
            raise EpisodeError(f"{self.folder}: an episode begins with first and ends with last; these rows do not")
        text = json.dumps({**self.header, "seed": seed, "length": len(rows["reward"]), **header})
        members = {"header": np.frombuffer(text.encode(), np.uint8), **flatten(rows)}
        for name, value in members.items():
            if np.asarray(value).dtype.hasobject:
                raise EpisodeError(f"{self.folder}: {name} holds Python objects; give arrays of numbers")
        aside = self.folder / f".episode-{uuid.uuid4().hex}.tmp"
        try:
            with open(aside, "xb") as file:
                np.savez_compressed(file, **members)
                file.flush()
                os.fsync(file.fileno())
            return self._name(aside)
        finally:
            aside.unlink(missing_ok=True)

    def _name(self, written: Path) -> Path:
        """Give a finished file the next free number; a hard link refuses where a name is taken, a rename would not."""
        while True:
            path = self.folder / f"episode-{self._number:06d}.npz"
            self._number += 1
            try:
                os.link(written, path)
                return path
            except FileExistsError:
                continue


UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What NumPy raises for an archive that is cut off or corrupt."""


def read_episode(path: Path | str) -> StoredEpisode:
    """Read one episode file.

    Raises:
        EpisodeError: naming the file and the field where something is missing, cut off or of another shape.
    """
    path = Path(path)
    name = "file"
    try:
        with np.load(path, allow_pickle=False) as archive:
            members = {}
            for name in archive.files:
                members[name] = archive[name]
        name = "header"
        header = json.loads(members.pop("header").tobytes().decode())
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise _unreadable(path, name, error) from error
    return _checked(path, header, unflatten(members))


def read_header(path: Path | str) -> tuple[dict[str, Any], list[str]]:
    """What was written beside the rows, with `length`, and the names of the rows' fields (`obs/image`, `reward`, ...).

    Raises:
        EpisodeError: where the file cannot be read.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes().decode())
            return {**header, "length": int(header["length"])}, [name for name in archive.files if name != "header"]
    except FileNotFoundError:
        raise
    except (TypeError, *UNREADABLE) as error:
        raise _unreadable(path, "header", error) from error


def _unreadable(path: Path, name: str, error: Exception) -> EpisodeError:
    return EpisodeError(f"{path}: {name}: cut off or corrupt ({error}); record this episode again")


def _checked(path: Path, header: dict[str, Any], rows: dict[str, Any]) -> StoredEpisode:
    if header.get("format") != FORMAT:
        raise EpisodeError(f"{path}: format: written as version {header.get('format')}, this reads {FORMAT}")
    try:
        observation_space = space_from_json(header.pop("observation_space"))
        action_space = space_from_json(header.pop("action_space"))
        env_id, seed, length = header.pop("env_id"), header.pop("seed"), header.pop("length")
    except (KeyError, TypeError, ValueError) as error:
        raise EpisodeError(f"{path}: header: {error} is missing or malformed") from error
    rows.setdefault("extras", {})
    for name in ("obs", *ROW_KEYS):
        if name not in rows:
            raise EpisodeError(f"{path}: {name}: missing")
    for name, value in flatten(rows).items():
        if len(value) != length:
            raise EpisodeError(f"{path}: {name}: {len(value)} rows, the header says {length}")
    if not isinstance(observation_space, spaces.Dict):
        raise EpisodeError(f"{path}: observation_space: a {type(observation_space).__name__}; observations are a Dict")
    try:
        check_batch(rows["obs"], observation_space, "obs")
        check_batch(rows["action"], action_space, "action")
    except Incompatible as error:
        raise EpisodeError(f"{path}: {error}") from error
    if not (rows["first"][0] and rows["last"][-1]) or rows["first"][1:].any() or rows["last"][:-1].any():
        raise EpisodeError(f"{path}: first/last: the rows are not exactly one episode")
    return StoredEpisode(cast(Row, rows), env_id, seed, observation_space, action_space, header, path)


def episode_files(folder: Path | str) -> list[Path]:
    """The episode files of a folder in the order they were written."""
    return sorted(path for path in Path(folder).glob("episode-*.npz") if re.fullmatch(r"episode-\d+\.npz", path.name))


def read_episodes(folder: Path | str) -> Iterator[StoredEpisode]:
    """The episodes of a folder in the order they were written.

    Raises:
        EpisodeError: where the folder holds none, or at the first file that cannot be read.
    """
    files = episode_files(folder)
    if not files:
        raise EpisodeError(f"{folder}: no episode-*.npz here; `EpisodeWriter` writes them")
    yield from map(read_episode, files)

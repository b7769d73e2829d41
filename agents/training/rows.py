"""Rows of experience: operations on nested dicts of arrays, and episode files.

One file holds one episode: a compressed `.npz` whose members are the rows (`obs/image`, `reward`, `first`, ...,
each (T, ...)) and a JSON header (environment id, seed, spaces, versions). A file is written under a temporary name
first, and no file is overwritten, so a reader never sees a partial episode.
"""

import json
import os
import re
import uuid
import zipfile
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
    """Stack trees of equal shapes along a new axis: T rows (n, ...) -> rows (T, n, ...)."""
    return tree_map(lambda *leaves: np.stack(leaves, axis), *trees)


def concatenate(trees: Sequence[Any], axis: int = 0) -> Any:
    """Concatenate trees along an existing axis: rows of n1 and n2 environments -> rows of n1 + n2 environments."""
    return tree_map(lambda *leaves: np.concatenate(leaves, axis), *trees)


def copy(tree: Any) -> Any:
    """Return a copy of a tree that shares no memory with it."""
    return tree_map(np.array, tree)


def to_torch(tree: Any, device: Any = "cpu") -> Any:
    """Convert arrays to tensors of the same dtype on `device`; arrays of objects (snapshots) are unchanged."""
    import torch  # here, so that reading and writing episodes needs no torch

    def convert(leaf: Any) -> Any:
        array = np.ascontiguousarray(leaf)
        return array if array.dtype.hasobject else torch.as_tensor(array, device=device)

    return tree_map(convert, tree)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts: {"obs": {"image": x}} -> {"obs/image": x}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `flatten`: {"obs/image": x} -> {"obs": {"image": x}}."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


class NonFinite(FloatingPointError):
    """An observation, reward, action or loss is NaN or infinite; the message says where."""


def check_finite(obs: Mapping[str, Any], reward: Array, where: Callable[[int], str]) -> None:
    """Check that observations have no NaN and that rewards are finite. Runs once per step on the whole batch.

    Args:
        obs: leaves (n, ...); only floats are checked.
        reward: (n,).
        where: describes environment i for the message.

    Raises:
        NonFinite: naming the field and `where(i)`.
    """
    if not np.isfinite(reward).all():
        world = int(np.flatnonzero(~np.isfinite(reward))[0])
        raise NonFinite(f"reward is {reward[world]} in {where(world)}; correct the environment's reward")
    for key, value in obs.items():
        if isinstance(value, Mapping):
            check_finite(value, reward, where)
        elif value.dtype.kind == "f" and np.isnan(value).any():
            world = int(np.flatnonzero(np.isnan(value).reshape(len(value), -1).any(1))[0])
            raise NonFinite(f'observation "{key}" is NaN in {where(world)}; correct the environment\'s observation')


class EpisodeError(ValueError):
    """An episode file cannot be read; the message names the file and the field."""


@dataclass(frozen=True)
class StoredEpisode:
    """One episode read from disk."""

    rows: Row
    """Each leaf (T, ...); `first` is set in the first row, `last` in the last one."""
    env_id: str
    seed: int | None
    """The seed passed to `reset`; None if the environment chose the level itself."""
    observation_space: spaces.Dict
    action_space: spaces.Space[Any]
    header: dict[str, Any] = field(default_factory=dict)
    """The other entries of the file's header."""
    path: Path | None = None

    def __len__(self) -> int:
        return len(self.rows["reward"])


class EpisodeWriter:
    """Writes episodes to a folder, one file each; numbers continue after the files already there.

    Args:
        folder: is created if it does not exist.
        env_id: id of the environment.
        observation_space, action_space: spaces of the rows.
        header: further entries of every header (agent, split, ...), as JSON values.
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
        """Add a row of one environment (leaves without the batch axis); the last row writes the episode.

        Rows of an episode whose first row was not added are skipped, because a file holds a whole episode.

        Returns:
            The path of the file if one was written.
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
        """Add a row of n environments; return the paths of the files written."""
        paths = (self.add(index(row, world), world) for world in range(len(row["reward"])))
        return [path for path in paths if path is not None]

    def write(self, rows: Row, seed: int | None = None, **header: Any) -> Path:
        """Write a whole episode, each leaf (T, ...), under the next free name; return its path.

        Raises:
            EpisodeError: if the rows are not a whole episode, or a leaf holds Python objects.
        """
        if len(rows["reward"]) == 0 or not rows["first"][0] or not rows["last"][-1]:
            raise EpisodeError(f"{self.folder}: an episode must begin with `first` and end with `last`")
        text = json.dumps({**self.header, "seed": seed, "length": len(rows["reward"]), **header})
        members = {"header": np.frombuffer(text.encode(), np.uint8), **flatten(rows)}
        for name, value in members.items():
            if np.asarray(value).dtype.hasobject:
                raise EpisodeError(f"{self.folder}: {name} holds Python objects; give arrays of numbers")
        self.folder.mkdir(parents=True, exist_ok=True)
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
        """Give a finished file the next free number. Unlike a rename, a hard link never replaces an existing file."""
        while True:
            path = self.folder / f"episode-{self._number:06d}.npz"
            self._number += 1
            try:
                os.link(written, path)
                return path
            except FileExistsError:
                continue


LARGEST = 2**34
"""Most bytes that an episode's arrays may have together: a file of zeros unpacks to a thousand times its size."""


def _check_size(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        total = sum(each.file_size for each in archive.infolist())
    if total > LARGEST:
        raise EpisodeError(f"{path}: unpacks to {total / 2**30:.0f} GiB, but at most {LARGEST / 2**30:.0f} are read")


def read_episode(path: Path | str) -> StoredEpisode:
    """Read one episode file.

    Raises:
        EpisodeError: if something is missing, truncated or of the wrong shape; the message names the file and field.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    name = "file"
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as archive:
            members = {}
            for name in archive.files:
                members[name] = archive[name]
        name = "header"
        header = json.loads(members.pop("header").tobytes().decode())
    except (FileNotFoundError, EpisodeError):
        raise
    except Exception as error:  # NumPy and zipfile raise whatever a damaged file makes them raise
        raise _unreadable(path, name, error) from error
    try:
        return _checked(path, header, unflatten(members))
    except EpisodeError:
        raise
    except Exception as error:  # a header or rows of other types than the format says
        raise EpisodeError(f"{path}: header or rows malformed ({type(error).__name__}: {error})") from error


def read_header(path: Path | str) -> tuple[dict[str, Any], list[str]]:
    """Read the header of an episode file, and the names of the rows' fields (`obs/image`, `reward`, ...).

    Raises:
        EpisodeError: if the file cannot be read.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes().decode())
            return {**header, "length": int(header["length"])}, [name for name in archive.files if name != "header"]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise _unreadable(path, "header", error) from error


def _unreadable(path: Path, name: str, error: Exception) -> EpisodeError:
    return EpisodeError(f"{path}: {name}: truncated or corrupt ({error}); record this episode again")


def _checked(path: Path, header: dict[str, Any], rows: dict[str, Any]) -> StoredEpisode:
    if header.get("format") != FORMAT:
        raise EpisodeError(f"{path}: format {header.get('format')}, but this version reads format {FORMAT}")
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
            raise EpisodeError(f"{path}: {name}: {len(value)} rows, but the header says {length}")
    if not isinstance(observation_space, spaces.Dict):
        raise EpisodeError(f"{path}: observation_space: a {type(observation_space).__name__}; it must be a Dict")
    try:
        check_batch(rows["obs"], observation_space, "obs")
        check_batch(rows["action"], action_space, "action")
    except Incompatible as error:
        raise EpisodeError(f"{path}: {error}") from error
    if not (rows["first"][0] and rows["last"][-1]) or rows["first"][1:].any() or rows["last"][:-1].any():
        raise EpisodeError(f"{path}: first/last: the rows are not exactly one episode")
    return StoredEpisode(cast(Row, rows), env_id, seed, observation_space, action_space, header, path)


def episode_files(folder: Path | str) -> list[Path]:
    """Return the episode files of a folder in the order they were written."""
    return sorted(path for path in Path(folder).glob("episode-*.npz") if re.fullmatch(r"episode-\d+\.npz", path.name))


def read_episodes(folder: Path | str) -> Iterator[StoredEpisode]:
    """Read the episodes of a folder in the order they were written.

    Raises:
        EpisodeError: if the folder has no episodes, or at the first file that cannot be read.
    """
    files = episode_files(folder)
    if not files:
        raise EpisodeError(f"{folder}: no episode-*.npz here; `EpisodeWriter` writes them")
    yield from map(read_episode, files)

"""Recorded data sets for `train --data`, found by path or name and read as rows of an environment."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium import Space, spaces

from embodia.agents import Array, Row
from embodia.agents.training.rows import EpisodeError, episode_files, flatten, read_episode, read_header, unflatten
from embodia.scripts.data.from_lerobot import LeRobot
from embodia.scripts.data.from_minari import Minari
from embodia.scripts.data.to_lerobot import is_picture
from embodia.scripts.mistake import Mistake, nearest

LOCAL = Path(".minari/datasets")
"""Folder of Minari's data sets in the user's home."""


class Reader(Protocol):
    """Reader of a data set in one format."""

    path: Path
    lengths: Sequence[int]
    """Number of rows of each episode, including the last one."""
    observed: Sequence[str]
    """Names of observations; nested names with a slash."""
    advised: bool
    """Whether rows have the extra `expert_action`."""

    def where(self, number: int) -> str:
        """Return the file of an episode, for messages."""

    def read(self, number: int, names: Sequence[str]) -> dict[str, Any]:
        """Read the rows of an episode, each leaf (T, ...), with the observations `names`. Raises EpisodeError."""


class Rows:
    """Reader of episodes of `embodia collect` or an `EpisodeWriter`."""

    def __init__(self, folder: Path):
        self.path, self.files = folder, episode_files(folder)
        found = [read_header(path) for path in self.files]
        self.lengths: Sequence[int] = [header["length"] for header, _ in found]
        self.observed: Sequence[str] = [name.removeprefix("obs/") for name in found[0][1] if name.startswith("obs/")]
        self.advised = any("extras/expert_action" in names for _, names in found)

    def where(self, number: int) -> str:
        return str(self.files[number])

    def read(self, number: int, names: Sequence[str]) -> dict[str, Any]:
        rows = read_episode(self.files[number]).rows
        obs = flatten(rows["obs"])
        if missing := [name for name in names if name not in obs]:
            raise EpisodeError(f"{self.where(number)}: obs/{missing[0]}: missing, but {self.files[0].name} has it")
        return {**rows, "obs": {name: obs[name] for name in names}}


def reader(name: str) -> Reader:
    """Open the data set at a path, or the local Minari data set of that name. Raises Mistake."""
    path = Path(name)
    for folder in (path, path / "rows"):
        if episode_files(folder):
            return Rows(folder)
    with read_as_errors(str(path)):
        if (found := exported(name)) is not None:
            return found
    if path.exists():
        kinds = "no episode-*.npz, no Minari data set (data/metadata.json) and no LeRobotDataset (meta/info.json)"
        raise Mistake(f"--data {name}: {kinds}")
    minari = minari_root()
    known = [each.parent.parent.relative_to(minari).as_posix() for each in minari.rglob("data/metadata.json")]
    raise Mistake(
        f"--data {name}: there is no such path, and no Minari data set of that name in {minari}. "
        f"{nearest(name, known)} To download one: `minari download NAME`"
    )


def exported(name: str) -> Reader | None:
    """Open a LeRobotDataset or a Minari data set; None if it is neither."""
    path = Path(name)
    if (path / "meta" / "info.json").is_file():
        return LeRobot(path)
    for folder in (path, minari_root() / name):
        if (folder / "data" / "metadata.json").is_file():
            return Minari(folder)
    return None


def minari_root() -> Path:
    return Path(os.environ.get("MINARI_DATASETS_PATH", Path.home() / LOCAL))


@contextmanager
def read_as_errors(where: str) -> Iterator[None]:
    """A context in which whatever a library raises for a malformed file becomes an EpisodeError that says where."""
    try:
        yield
    except (EpisodeError, Mistake):
        raise
    except Exception as error:
        raise EpisodeError(
            f"{where}: malformed ({type(error).__name__}: {error}); download or write it again"
        ) from error


class Matched:
    """A `Recording` that converts a data set to rows of an environment and checks names, shapes, types and values.

    Args:
        reader: the data set.
        observation_space: of the environment.
        action_space: of the environment.
        keys: observations to read; by default all.
        columns: observation key (nested ones with a slash) -> its name in the data; by default the same name, possibly
            with LeRobot's prefix `observation.` or `observation.images.`.

    Raises:
        Mistake: if an observation is missing.
    """

    def __init__(
        self,
        reader: Reader,
        observation_space: spaces.Dict,
        action_space: Space[Any],
        keys: Sequence[str] | None = None,
        columns: Mapping[str, str] | None = None,
    ):
        self.reader, self.action_space = reader, action_space
        self.name, self.lengths, self.advised = str(reader.path), reader.lengths, reader.advised
        read = {key: observation_space[key] for key in keys or observation_space}
        self.spaces: dict[str, Space[Any]] = flatten(read)
        self.names = {key: self._called(key, columns or {}) for key in self.spaces}

    def _called(self, key: str, columns: Mapping[str, str]) -> str:
        plain = key.replace("/", ".")
        wanted = (
            [columns[key]] if key in columns else [key, plain, f"observation.{plain}", f"observation.images.{plain}"]
        )
        for name in wanted:
            if name in self.reader.observed:
                return name
        raise Mistake(
            f"{self.name}: {wanted[0]} was not recorded; recorded are {', '.join(self.reader.observed)}. "
            f"Use --columns {key}=NAME to choose one of them for {key}"
        )

    def rows(self, number: int) -> Row:
        where = self.reader.where(number)
        with read_as_errors(where):
            found = self.reader.read(number, list(self.names.values()))
        obs = {
            key: fitted(found["obs"][name], self.spaces[key], f"{where}: {name}") for key, name in self.names.items()
        }
        extras = dict(found["extras"])
        if "expert_action" in extras:
            extras["expert_action"] = self._actions(extras["expert_action"], f"{where}: expert_action")
        if not np.isfinite(found["reward"]).all():
            raise EpisodeError(f"{where}: reward: not a finite number in row {_first(~np.isfinite(found['reward']))}")
        return Row(
            obs=unflatten(obs),
            reward=found["reward"].astype(np.float32),
            first=found["first"],
            last=found["last"],
            terminal=found["terminal"],
            action=self._actions(found["action"], f"{where}: action"),
            extras=extras,
        )

    def _actions(self, value: Array, where: str) -> Array:
        """Fit the actions to the space. The last row's action, which was never executed, may be outside of it; then it
        is replaced by the action before it."""
        done = fitted(value[:-1], self.action_space, where)
        try:
            return np.concatenate([done, fitted(value[-1:], self.action_space, where)])
        except EpisodeError:
            if len(done) == 0:
                raise
            return np.concatenate([done, done[-1:]])


def fitted(value: Array, space: Space[Any], where: str) -> Array:
    """Convert values (T, ...) to samples of `space`: with its shape and type, without NaN, integers in range.

    A scalar may be recorded as (T, 1) or (T,). An image may have one more row or column, added to make a video's size
    even. Floats are converted to the space's float type, integers to its integer type.

    Raises:
        EpisodeError: if the values do not fit.
    """
    value = np.asarray(value)
    shape, dtype = tuple(space.shape or ()), np.dtype(space.dtype)
    if {value.shape[1:], shape} == {(), (1,)}:
        value = value.reshape(len(value), *shape)
    if is_picture(space) and value.shape[1:] == (*(size + size % 2 for size in shape[:2]), 3):
        value = value[:, : shape[0], : shape[1]]
    if value.shape[1:] != shape:
        raise EpisodeError(f"{where}: shape {value.shape[1:]}, but the environment's is {shape}")
    if value.dtype.kind not in {"f": "f", "i": "iub", "u": "iub", "b": "b"}[dtype.kind]:
        raise EpisodeError(f"{where}: {value.dtype}, but the environment's is {dtype}")
    if dtype.kind == "f" and np.isnan(value).any():
        raise EpisodeError(f"{where}: NaN in row {_first(np.isnan(value))}")
    low, high = _range(space, dtype)
    if dtype.kind in "iu" and ((value < low) | (value > high)).any():
        raise EpisodeError(f"{where}: {value[_first((value < low) | (value > high))]} is not in {space}")
    return value.astype(dtype)


def _range(space: Space[Any], dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the smallest and largest valid integer; for a Box those of its type, since its bounds are rarely exact."""
    if isinstance(space, spaces.Discrete):
        return space.start, space.start + space.n - 1
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    return (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else (0, 0)


def _first(bad: Array) -> int:
    """Return the index of the first row in which `bad` is set."""
    return int(np.flatnonzero(bad.reshape(len(bad), -1).any(1))[0])


@dataclass(frozen=True)
class Stamp:
    """Identification of a data set, to report it and to notice that it has changed."""

    path: str
    episodes: int
    rows: int
    fingerprint: str
    """Hash of the names, sizes and last 4 KiB of all files."""


def stamp(reader: Reader) -> Stamp:
    return Stamp(str(reader.path.resolve()), len(reader.lengths), int(sum(reader.lengths)), fingerprint(reader.path))


def fingerprint(folder: Path) -> str:
    """Hash the names, sizes and last 4 KiB of all files of a data set (12 hex digits).

    The last bytes are enough: in .npz, Parquet and Arrow files they contain checksums or statistics of the rest.
    """
    digest = hashlib.sha256()
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".")):
        size = path.stat().st_size
        with open(path, "rb") as file:
            file.seek(max(0, size - 4096))
            digest.update(json.dumps([path.relative_to(folder).as_posix(), size]).encode() + file.read())
    return digest.hexdigest()[:12]

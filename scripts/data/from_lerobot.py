"""LeRobotDataset v3.0 folders as rows, read one episode at a time; also those that other programs wrote."""

import json
import warnings
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from embodia.agents import Array
from embodia.agents.training.rows import EpisodeError
from embodia.scripts.data.from_minari import closed
from embodia.scripts.data.to_lerobot import INDICES
from embodia.scripts.data.to_minari import need

PLACE = ("episode_index", "length", "dataset_from_index", "data/chunk_index", "data/file_index")
"""Columns of `meta/episodes` to read, besides those that locate the videos."""
FILES, CACHED = 8, 2**26
"""Maximum number of open data files, and bytes of cached row groups (a group can hold many episodes)."""


class LeRobot:
    """Reader of the LeRobotDataset v3.0 in `path`.

    T frames become T + 1 rows: the reward of frame t is in row t + 1. The last row's observation is the one that
    `to_lerobot` stored; in other data sets the last frame's observation is repeated. Its action and extras are zeros.
    An episode is terminal if its last frame has `next.done` without `next.truncated`, or, without these columns,
    `next.success`. If there is no `next.reward`, rewards are 0.

    Raises:
        Mistake: if pyarrow is missing.
        EpisodeError: if the folder has another version, or a file in `meta` cannot be read.
    """

    def __init__(self, path: Path):
        self.path, self.parquet = path, need("pyarrow.parquet", "15")
        file = path / "meta" / "info.json"
        try:
            info = json.loads(file.read_text())
            version, self.features, self.fps = str(info["codebase_version"]), dict(info["features"]), float(info["fps"])
            self.data_path, self.video_path = str(info["data_path"]), info.get("video_path")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EpisodeError(f"{file}: {error} is missing or malformed; download the data set again") from error
        if not version.startswith("v3"):
            raise EpisodeError(f"{file}: codebase_version {version}; convert the data set to v3.0 with LeRobot")
        self.observed: Sequence[str] = [name for name, each in self.features.items() if is_observed(name, each)]
        self.films = [name for name in self.observed if self.features[name]["dtype"] == "video"]
        self.extras = [name for name in self.features if name.startswith("extras.")]
        self.advised = "extras.expert_action" in self.features
        self.episodes = self._episodes()
        self.lengths: Sequence[int] = [each["length"] + 1 for each in self.episodes]
        self._starts: dict[str, int] = {}  # index of the first frame of each data file
        for each in self.episodes:
            begins = self._starts.setdefault(self._data_file(each), each["dataset_from_index"])
            self._starts[self._data_file(each)] = min(begins, each["dataset_from_index"])
        self._files, self._groups = Recent(FILES), Recent(CACHED)
        if "action" not in self.features:
            raise EpisodeError(f"{file}: features: action is missing, but it is required")
        if "next.reward" not in self.features:
            warnings.warn(f"{path}: there is no next.reward, so rewards are 0", stacklevel=2)

    def _episodes(self) -> list[dict[str, Any]]:
        """Read the lines of `meta/episodes`, sorted by episode."""
        places = [
            f"videos/{key}/{name}" for key in self.films for name in ("chunk_index", "file_index", "from_timestamp")
        ]
        lines: list[dict[str, Any]] = []
        files = sorted((self.path / "meta" / "episodes").rglob("*.parquet"))
        for file in files:
            names = self._opened(file).schema_arrow.names
            if missing := [name for name in (*PLACE, *places) if name not in names]:
                raise EpisodeError(f"{file}: {missing[0]}: missing; download the data set again")
            kept = [name for name in names if name.startswith("closing/")]
            lines += self._opened(file).read(columns=[*PLACE, *places, *kept]).to_pylist()
        if not lines:
            raise EpisodeError(f"{self.path}/meta/episodes: no episodes; download the data set again")
        return sorted(lines, key=lambda line: line["episode_index"])

    def _opened(self, file: Path) -> Any:
        """Open a Parquet file. Raises EpisodeError."""
        try:
            if not file.is_file():  # a pipe would be waited for
                raise FileNotFoundError("no regular file")
            return self.parquet.ParquetFile(file)
        except (OSError, ValueError) as error:  # pyarrow's exceptions are subclasses of these
            raise EpisodeError(f"{file}: missing, truncated or corrupt ({error}); download it again") from error

    def _data_file(self, episode: dict[str, Any]) -> str:
        return self.data_path.format(chunk_index=episode["data/chunk_index"], file_index=episode["data/file_index"])

    def where(self, number: int) -> str:
        return f"{self.path / self._data_file(self.episodes[number])}: episode {self.episodes[number]['episode_index']}"

    def read(self, number: int, names: Sequence[str]) -> dict[str, Any]:
        there = {"next.reward", "next.done", "next.truncated", "next.success"} & set(self.features)
        plain = [name for name in names if name not in self.films]
        table = self._frames(number, ["episode_index", "action", *plain, *self.extras, *sorted(there)])
        frames = {name: self._column(table, name, number) for name in table.column_names[1:]}
        n = len(table)
        last = np.arange(n + 1) == n
        reward = frames.get("next.reward", np.zeros(n)).reshape(n)
        seen = {name: self._film(number, name) if name in self.films else frames[name] for name in names}
        return {
            "obs": {name: np.concatenate([seen[name], self._closing(number, name, seen[name])]) for name in names},
            "reward": np.concatenate([[0.0], reward]).astype(np.float32),
            "first": np.arange(n + 1) == 0,
            "last": last,
            "terminal": last & ended(frames),
            "action": closed(frames["action"]),
            "extras": {name.removeprefix("extras."): closed(self._without_axis(frames, name)) for name in self.extras},
        }

    def _frames(self, number: int, columns: Sequence[str]) -> Any:
        """Read the frames of an episode as a table. Raises EpisodeError if they are not where `meta/episodes` says."""
        episode = self.episodes[number]
        place, length = self._data_file(episode), episode["length"]
        file = self._files.get(place, lambda: DataFile(self._opened(self.path / place)))
        if missing := [name for name in columns if name not in file.names]:
            raise EpisodeError(f"{self.where(number)}: {missing[0]}: missing; download the data set again")
        begin = episode["dataset_from_index"] - self._starts[place]
        groups = file.groups(begin, begin + length)
        try:
            read = partial(file.parquet.read_row_groups, list(groups), list(columns))
            table = self._groups.get((place, groups, *columns), read, lambda table: table.nbytes)
        except (OSError, ValueError) as error:
            raise EpisodeError(f"{self.where(number)}: cannot be read ({error}); download it again") from error
        table = table.slice(begin - file.edges[groups.start], length)
        found = np.unique(table.column("episode_index").to_numpy()).tolist()
        if len(table) != length or found != [episode["episode_index"]]:
            said = f"{len(table)} frames of {found}, but meta/episodes says {length}"
            raise EpisodeError(f"{self.where(number)}: episode_index: {said}; download the data set again")
        return table

    def _column(self, table: Any, name: str, number: int) -> Array:
        """Convert the column of a feature to an array (T, ...). Raises EpisodeError."""
        feature, column = self.features[name], table.column(name)
        if column.null_count:
            raise EpisodeError(f"{self.where(number)}: {name}: {column.null_count} frames are empty")
        if feature["dtype"] == "image":
            return np.stack([self._picture(cell, name, number) for cell in column.to_pylist()])
        values = column.combine_chunks()
        while hasattr(values, "flatten") and str(values.type).startswith(("list", "large_list", "fixed_size_list")):
            values = values.flatten()
        try:
            flat = values.to_numpy(zero_copy_only=False).astype(feature["dtype"], casting="same_kind")
            return flat.reshape(len(table), *feature["shape"])
        except (TypeError, ValueError) as error:
            raise EpisodeError(
                f"{self.where(number)}: {name}: not {feature['dtype']}{feature['shape']} ({error})"
            ) from error

    def _without_axis(self, frames: Mapping[str, Array], name: str) -> Array:
        """Return the values (T, ...); LeRobot stores a scalar with shape (1,)."""
        return frames[name][:, 0] if self.features[name]["shape"] == [1] else frames[name]

    def _picture(self, cell: Any, name: str, number: int) -> Array:
        """Decode an image (H, W, 3) from the table or from a file."""
        data = cell["bytes"] if cell["bytes"] is not None else (self.path / cell["path"]).read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise EpisodeError(f"{self.where(number)}: {name}: cannot be decoded as an image")
        return np.asarray(picture)

    def _film(self, number: int, name: str) -> Array:
        """Read the frames (T, H, W, 3) of an episode from its video. Raises EpisodeError."""
        episode = self.episodes[number]
        place = {part: episode[f"videos/{name}/{part}"] for part in ("chunk_index", "file_index")}
        file = self.path / str(self.video_path).format(video_key=name, **place)
        frames = film(file, float(episode[f"videos/{name}/from_timestamp"]), episode["length"], self.fps)
        if len(frames) < episode["length"]:
            said = f"episode {episode['episode_index']}: {len(frames)} of {episode['length']} frames"
            raise EpisodeError(f"{file}: {said}; the video is truncated, download it again")
        return np.stack(frames)

    def _closing(self, number: int, name: str, seen: Array) -> Array:
        """The observation (1, ...) of an episode's last row."""
        kept = self.episodes[number].get(f"closing/{name}")
        if kept is None:
            return seen[-1:]
        if isinstance(kept, bytes):
            picture = self._picture({"bytes": kept}, name, number)
            height, width = seen.shape[1:3]  # videos have even sizes
            return np.pad(picture, ((0, height - len(picture)), (0, width - picture.shape[1]), (0, 0)), "edge")[None]
        return np.asarray(kept, seen.dtype).reshape(seen[-1:].shape)


class DataFile:
    """An open Parquet file with the first rows of its row groups."""

    def __init__(self, parquet: Any):
        self.parquet, self.names = parquet, set(parquet.schema_arrow.names)
        rows = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        self.edges = np.cumsum([0, *rows]).tolist()

    def groups(self, begin: int, end: int) -> range:
        """Return the row groups that contain the rows begin..end."""
        return range(bisect_right(self.edges, begin) - 1, min(bisect_left(self.edges, end), len(self.edges) - 1))


class Recent:
    """A cache of the most recently used values, up to a total weight; at least one value is kept."""

    def __init__(self, most: int):
        self.most, self.weight = most, 0
        self.values: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, key: Any, make: Callable[[], Any], weigh: Callable[[Any], int] = lambda value: 1) -> Any:
        if key not in self.values:
            value = make()
            self.values[key] = value, weigh(value)
            self.weight += self.values[key][1]
        self.values.move_to_end(key)
        while self.weight > self.most and len(self.values) > 1:
            self.weight -= self.values.popitem(last=False)[1][1]
        return self.values[key][0]


def is_observed(name: str, feature: dict[str, Any]) -> bool:
    """Return whether a feature is an observation, of numbers or images."""
    elsewhere = name == "action" or name in INDICES or name.startswith(("next.", "extras."))
    depth = feature.get("info", {}).get("video.is_depth_map") or feature.get("video_info", {}).get("video.is_depth_map")
    return not elsewhere and not depth and feature["dtype"] not in ("string", "language", "audio")


def ended(frames: dict[str, Array]) -> bool:
    """Return whether the episode is terminal (the task ended with the last frame)."""
    if "next.truncated" in frames and "next.done" in frames:
        return bool(frames["next.done"].reshape(-1)[-1] and not frames["next.truncated"].reshape(-1)[-1])
    return "next.success" in frames and bool(frames["next.success"].reshape(-1)[-1])


def film(file: Path, since: float, n: int, fps: float) -> list[Array]:
    """Read at most n frames (H, W, 3) of a video from time `since` [s] on. Raises EpisodeError."""
    frames: list[Array] = []
    try:
        if not file.is_file():  # a pipe would be waited for
            raise ValueError("no regular file")
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            assert stream.time_base is not None
            container.seek(int(since / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= since - 0.5 / fps:
                    frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == n:
                    break
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise EpisodeError(f"{file}: cannot be decoded as a video ({error}); download it again") from error
    return frames

"""LeRobotDataset v3.0 folders as rows, one episode at a time; those of others too."""

import json
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
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
"""What is read of `meta/episodes`, beside where the films are."""
CACHED = 2**28
"""Bytes of row groups kept in memory: writers differ in how many episodes lie in one."""


class LeRobot:
    """The LeRobotDataset v3.0 in `path`.

    T frames are T + 1 rows: the reward of frame t came with row t + 1. The closing row's observation is the one that
    `to_lerobot` kept, and in the sets of others that of the last frame again; its action and extras are zeros. An
    episode whose last frame has `next.done` without `next.truncated`, or where there is no such column `next.success`,
    is terminal. Where no `next.reward` was recorded, rewards are 0.

    Raises:
        Mistake: where pyarrow is missing.
        EpisodeError: where the folder is of another version, or a file of `meta` cannot be read.
    """

    def __init__(self, path: Path):
        self.path, self.parquet = path, need("pyarrow.parquet", "15")
        file = path / "meta" / "info.json"
        try:
            info = json.loads(file.read_text())
            version, self.features, self.fps = str(info["codebase_version"]), dict(info["features"]), float(info["fps"])
            self.data_path, self.video_path = str(info["data_path"]), info.get("video_path")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EpisodeError(f"{file}: {error} is missing or malformed; fetch the data set again") from error
        if not version.startswith("v3"):
            raise EpisodeError(f"{file}: codebase_version {version}; convert the data set to v3.0 with LeRobot")
        self.observed: Sequence[str] = [name for name, each in self.features.items() if is_observed(name, each)]
        self.films = [name for name in self.observed if self.features[name]["dtype"] == "video"]
        self.extras = [name for name in self.features if name.startswith("extras.")]
        self.advised = "extras.expert_action" in self.features
        self.episodes = self._episodes()
        self.lengths: Sequence[int] = [each["length"] + 1 for each in self.episodes]
        self._starts: dict[str, int] = {}  # of each data file: index of its first frame
        for each in self.episodes:
            begins = self._starts.setdefault(self._data_file(each), each["dataset_from_index"])
            self._starts[self._data_file(each)] = min(begins, each["dataset_from_index"])
        self._tables: OrderedDict[Any, Any] = OrderedDict()  # row groups, those used last behind
        if "action" not in self.features:
            raise EpisodeError(f"{file}: features: action is missing; there is nothing to learn from")
        if "next.reward" not in self.features:
            warnings.warn(f"{path}: no next.reward was recorded; rewards are 0", stacklevel=2)

    def _episodes(self) -> list[dict[str, Any]]:
        """The lines of `meta/episodes`, by number."""
        places = [
            f"videos/{key}/{name}" for key in self.films for name in ("chunk_index", "file_index", "from_timestamp")
        ]
        lines: list[dict[str, Any]] = []
        files = sorted((self.path / "meta" / "episodes").rglob("*.parquet"))
        for file in files:
            names = self._opened(file).schema_arrow.names
            if missing := [name for name in (*PLACE, *places) if name not in names]:
                raise EpisodeError(f"{file}: {missing[0]}: missing; fetch the data set again")
            kept = [name for name in names if name.startswith("closing/")]
            lines += self._opened(file).read(columns=[*PLACE, *places, *kept]).to_pylist()
        if not lines:
            raise EpisodeError(f"{self.path}/meta/episodes: no episodes; fetch the data set again")
        return sorted(lines, key=lambda line: line["episode_index"])

    def _opened(self, file: Path) -> Any:
        """A Parquet file. Raises EpisodeError."""
        try:
            return self.parquet.ParquetFile(file)
        except (OSError, ValueError) as error:  # pyarrow's own errors are among them
            raise EpisodeError(f"{file}: missing, cut off or corrupt ({error}); fetch the data set again") from error

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
        """The frames of an episode as a table. Raises EpisodeError where they do not lie where they should."""
        episode = self.episodes[number]
        place = self._data_file(episode)
        begin = episode["dataset_from_index"] - self._starts[place]
        table, skipped = self._groups(place, begin, begin + episode["length"], tuple(columns), number)
        table = table.slice(begin - skipped, episode["length"])
        found = set(table.column("episode_index").to_pylist())
        if len(table) != episode["length"] or found != {episode["episode_index"]}:
            raise EpisodeError(f"{self.where(number)}: episode_index: {len(table)} frames of {sorted(found)} where "
                               f"meta/episodes says {episode['length']}; fetch the data set again")  # fmt: skip
        return table

    def _groups(self, place: str, begin: int, end: int, columns: tuple[str, ...], number: int) -> tuple[Any, int]:
        """The row groups that hold rows begin..end of a file, and the rows before them; those read last are kept."""
        file = self._opened(self.path / place)
        if missing := [name for name in columns if name not in file.schema_arrow.names]:
            raise EpisodeError(f"{self.where(number)}: {missing[0]}: missing; fetch the data set again")
        edges = np.cumsum([0, *(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))])
        first, beyond = int(np.searchsorted(edges, begin, "right")) - 1, int(np.searchsorted(edges, end, "left"))
        key = (place, first, beyond, columns)
        if key not in self._tables:
            try:
                self._tables[key] = file.read_row_groups(list(range(first, min(beyond, file.num_row_groups))), columns)
            except (OSError, ValueError) as error:
                raise EpisodeError(
                    f"{self.where(number)}: cannot be read ({error}); fetch the data set again"
                ) from error
        self._tables.move_to_end(key)
        while len(self._tables) > 1 and sum(each.nbytes for each in self._tables.values()) > CACHED:
            self._tables.popitem(last=False)
        return self._tables[key], int(edges[first])

    def _column(self, table: Any, name: str, number: int) -> Array:
        """(T, ...) of a feature. Raises EpisodeError."""
        feature, column = self.features[name], table.column(name)
        if column.null_count:
            raise EpisodeError(f"{self.where(number)}: {name}: {column.null_count} frames hold nothing")
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
        """(T, ...); LeRobot writes one number as one of shape (1,)."""
        return frames[name][:, 0] if self.features[name]["shape"] == [1] else frames[name]

    def _picture(self, cell: Any, name: str, number: int) -> Array:
        """(H, W, 3) of an encoded picture, in the table or in a file."""
        data = cell["bytes"] if cell["bytes"] is not None else (self.path / cell["path"]).read_bytes()
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if picture is None:
            raise EpisodeError(f"{self.where(number)}: {name}: is no picture that can be decoded")
        return np.asarray(picture)

    def _film(self, number: int, name: str) -> Array:
        """The frames (T, H, W, 3) of an episode in its film. Raises EpisodeError."""
        episode = self.episodes[number]
        place = {part: episode[f"videos/{name}/{part}"] for part in ("chunk_index", "file_index")}
        file = self.path / str(self.video_path).format(video_key=name, **place)
        frames = film(file, float(episode[f"videos/{name}/from_timestamp"]), episode["length"], self.fps)
        if len(frames) < episode["length"]:
            said = f"episode {episode['episode_index']}: {len(frames)} of {episode['length']} frames"
            raise EpisodeError(f"{file}: {said}; the film was cut off, fetch it again")
        return np.stack(frames)

    def _closing(self, number: int, name: str, seen: Array) -> Array:
        """The observation (1, ...) that an episode closes with."""
        kept = self.episodes[number].get(f"closing/{name}")
        if kept is None:
            return seen[-1:]
        if isinstance(kept, bytes):
            picture = self._picture({"bytes": kept}, name, number)
            height, width = seen.shape[1:3]  # even for the film's sake
            return np.pad(picture, ((0, height - len(picture)), (0, width - picture.shape[1]), (0, 0)), "edge")[None]
        return np.asarray(kept, seen.dtype).reshape(seen[-1:].shape)


def is_observed(name: str, feature: dict[str, Any]) -> bool:
    """Whether a feature is neither action nor consequence nor bookkeeping, and numbers or pictures."""
    elsewhere = name == "action" or name in INDICES or name.startswith(("next.", "extras."))
    depth = feature.get("info", {}).get("video.is_depth_map") or feature.get("video_info", {}).get("video.is_depth_map")
    return not elsewhere and not depth and feature["dtype"] not in ("string", "language", "audio")


def ended(frames: dict[str, Array]) -> bool:
    """Whether the task itself ended with the last frame."""
    if "next.truncated" in frames and "next.done" in frames:
        return bool(frames["next.done"].reshape(-1)[-1] and not frames["next.truncated"].reshape(-1)[-1])
    return "next.success" in frames and bool(frames["next.success"].reshape(-1)[-1])


def film(file: Path, since: float, n: int, fps: float) -> list[Array]:
    """At most n frames (H, W, 3) of a film from `since` [s] on. Raises EpisodeError."""
    frames: list[Array] = []
    try:
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
        raise EpisodeError(f"{file}: is no film that can be decoded ({error}); fetch it again") from error
    return frames

"""Export of recorded episodes to the LeRobotDataset v3.0 layout.

A frame is an observation with the action taken, and the reward and end that followed. Images become H.264 videos, one
for all episodes of a camera; everything else is a column in `data/`, with one row group per episode. An episode's last
observation has no action and is not a frame. It is stored in `meta/episodes`, in columns `closing/FEATURE` that LeRobot
ignores, so that `from_lerobot` restores all rows.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.agents.training.rows import StoredEpisode, flatten, read_episode
from embodia.scripts.data.to_minari import need
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.progress import over
from embodia.scripts.report.video import Video

Array = NDArray[Any]

DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILM = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FIRST = {"chunk_index": 0, "file_index": 0}
PICTURES = 32
INDICES = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
           "task_index": "int64"}  # fmt: skip
NEXT = {"next.reward": "float32", "next.done": "bool", "next.truncated": "bool"}
"""Columns for what follows a frame, under LeRobot's names."""


def task(episode: StoredEpisode) -> str:
    """Return the episode's task description, or the environment's id if it has none."""
    return str(episode.header.get("task") or episode.env_id)


def to_lerobot(files: Sequence[Path], folder: Path, fps: int = 10) -> Path:
    """Write episode files to a new folder in the LeRobotDataset v3.0 layout and return its path.

    Raises:
        Mistake: if pyarrow is missing or the folder exists.
        EpisodeError: if a file cannot be read.
    """
    pa, pq = need("pyarrow", "15"), need("pyarrow.parquet", "15")
    if folder.exists():
        raise Mistake(f"{folder} already exists, and data sets are never overwritten; choose another name")
    head = read_episode(files[0])
    features = describe(head, fps)
    cameras = [key for key, feature in features.items() if feature["dtype"] == "video"]
    schema = pa.schema([(key, kind(pa, feature)) for key, feature in features.items() if key not in cameras])
    tasks: dict[str, int] = {}
    metas: list[dict[str, Any]] = []
    (folder / DATA.format(**FIRST)).parent.mkdir(parents=True)
    with ExitStack() as stack:
        data = stack.enter_context(pq.ParquetWriter(folder / DATA.format(**FIRST), schema))
        films = {
            key: stack.enter_context(Video(folder / FILM.format(video_key=key, **FIRST), fps, crf=18))
            for key in cameras
        }
        for number, file in enumerate(over(files, "LeRobotDataset", "episodes")):
            episode = read_episode(file)
            start = metas[-1]["dataset_to_index"] if metas else 0
            index = tasks.setdefault(task(episode), len(tasks))
            frames = {**to_frames(episode), **indices(len(episode) - 1, number, start, index, fps)}
            metas.append(meta(number, task(episode), start, len(episode) - 1, cameras, fps))
            metas[-1] |= {f"stats/{key}": statistics(value, key in cameras) for key, value in frames.items()}
            metas[-1] |= {
                f"closing/{key}": closing(value, key in cameras) for key, value in observed(episode, -1).items()
            }
            for key, film in films.items():
                for picture in frames.pop(key):
                    film.add(picture)
            data.write_table(pa.table({name: to_arrow(pa, frames[name]) for name in schema.names}, schema))
    save(pq, pa.Table.from_pylist([flatten(each) for each in metas]), folder / EPISODES)
    save(pq, task_table(pa, tasks), folder / "meta/tasks.parquet")
    write_json(folder / "meta/stats.json", {key: pooled([each[f"stats/{key}"] for each in metas]) for key in features})
    write_json(folder / "meta/info.json", info(features, metas, len(tasks), fps))
    return folder


def column(dtype: str, shape: tuple[int, ...], names: Any = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "names": names}


def is_picture(space: spaces.Space[Any]) -> bool:
    """Return whether a space is an image: uint8 (H, W, 3) with the full range 0..255 (unlike symbolic grids)."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) == 3 and space.shape[-1] == 3 and bool((space.high == 255).all())


def describe(episode: StoredEpisode, fps: int) -> dict[str, dict[str, Any]]:
    """Return the features of a frame: observations, action, following reward and end, extras, and indices."""
    features = {}
    for key, space in flatten(episode.observation_space.spaces).items():
        if is_picture(space):
            height, width = (size + size % 2 for size in space.shape[:2])
            picture = column("video", (height, width, 3), ["height", "width", "channels"])
            features[camera(key)] = {**picture, "info": film_info(height, width, fps)}
        else:
            features[plain_key(key)] = column(str(space.dtype), space.shape or (1,))
    action = episode.action_space
    features["action"] = column(str(action.dtype), action.shape or (1,))
    features |= {name: column(dtype, (1,)) for name, dtype in NEXT.items()}
    for key, value in flatten(episode.rows["extras"]).items():
        features[extra(key)] = column(str(value.dtype), value.shape[1:] or (1,))
    return {**features, **{key: column(dtype, (1,)) for key, dtype in INDICES.items()}}


def camera(key: str) -> str:
    return f"observation.images.{key.replace('/', '.')}"


def plain_key(key: str) -> str:
    return f"observation.{key.replace('/', '.')}"


def extra(key: str) -> str:
    return f"extras.{key.replace('/', '.')}"


def observed(episode: StoredEpisode, t: int | slice) -> dict[str, Array]:
    """Return the observations at `t` by feature name."""
    names = flatten(episode.observation_space.spaces)
    return {
        camera(key) if is_picture(names[key]) else plain_key(key): value[t]
        for key, value in flatten(episode.rows["obs"]).items()
    }


def to_frames(episode: StoredEpisode) -> dict[str, Array]:
    """Return the T frames of an episode, each feature (T, ...)."""
    rows = episode.rows
    last = rows["last"][1:]
    return {
        **observed(episode, slice(0, -1)),
        "action": rows["action"][:-1].astype(episode.action_space.dtype),
        "next.reward": rows["reward"][1:],
        "next.done": last,
        "next.truncated": last & ~rows["terminal"][1:],
        **{extra(key): value[:-1] for key, value in flatten(rows["extras"]).items()},
    }


def closing(value: Array, picture: bool) -> Any:
    """Convert one observation to a table cell: an image (H, W, 3) to PNG, anything else to a flat list."""
    if picture:
        return cv2.imencode(".png", np.ascontiguousarray(value[:, :, ::-1]))[1].tobytes()
    return value.ravel().tolist()


def indices(n: int, number: int, start: int, task_index: int, fps: int) -> dict[str, Array]:
    frame = np.arange(n)
    return {
        "timestamp": (frame / fps).astype(np.float32),  # [s]
        "frame_index": frame,
        "episode_index": np.full(n, number),
        "index": start + frame,
        "task_index": np.full(n, task_index),
    }


def meta(number: int, words: str, start: int, n: int, cameras: Sequence[str], fps: int) -> dict[str, Any]:
    """Return an episode's location in the data files and videos."""
    place = {
        "episode_index": number,
        "tasks": [words],
        "length": n,
        "data/chunk_index": 0,
        "data/file_index": 0,
        "dataset_from_index": start,
        "dataset_to_index": start + n,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }
    for key in cameras:
        times = {"from_timestamp": start / fps, "to_timestamp": (start + n) / fps}  # [s]
        place |= {f"videos/{key}/{name}": value for name, value in {**FIRST, **times}.items()}
    return place


def film_info(height: int, width: int, fps: int) -> dict[str, Any]:
    return {
        "video.height": height,
        "video.width": width,
        "video.channels": 3,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "has_audio": False,
    }


def info(features: Mapping[str, Any], metas: Sequence[Mapping[str, Any]], n_tasks: int, fps: int) -> dict[str, Any]:
    films = any(feature["dtype"] == "video" for feature in features.values())
    return {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(metas),
        "total_frames": metas[-1]["dataset_to_index"],
        "total_tasks": n_tasks,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(metas)}"},
        "data_path": DATA,
        "video_path": FILM if films else None,
        "features": features,
    }


def statistics(values: Array, picture: bool) -> dict[str, Any]:
    """Return min, max, mean, std of values (T, ...) over frames, each shaped as one value, and the number of frames.

    For images they are per channel in [0, 1], shape (3, 1, 1), over at most PICTURES frames.
    """
    if picture:
        values = values[np.unique(np.linspace(0, len(values) - 1, PICTURES).astype(int))]
        found = moments(values.reshape(-1, 3) / 255)
        return {**{name: value.reshape(3, 1, 1).tolist() for name, value in found.items()}, "count": [len(values)]}
    found = moments(values.astype(np.float64).reshape(len(values), *(values.shape[1:] or (1,))))
    return {**{name: value.tolist() for name, value in found.items()}, "count": [len(values)]}


def moments(x: Array) -> dict[str, Array]:
    return {"min": x.min(0), "max": x.max(0), "mean": x.mean(0), "std": x.std(0)}


def pooled(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the statistics of episodes to those of all frames."""
    lows, highs, means, stds, counts = (
        np.asarray([part[name] for part in parts], np.float64) for name in ("min", "max", "mean", "std", "count")
    )
    weights = (counts / counts.sum()).reshape(-1, *[1] * (means.ndim - 1))
    mean = (weights * means).sum(0)
    variance = (weights * (stds**2 + (means - mean) ** 2)).sum(0)
    found = {"min": lows.min(0), "max": highs.max(0), "mean": mean, "std": np.sqrt(variance)}
    return {**{name: value.tolist() for name, value in found.items()}, "count": [int(counts.sum())]}


def kind(pa: Any, feature: Mapping[str, Any]) -> Any:
    """Return the Arrow type: a plain column for shape (1,), fixed-size lists for (n,), nested lists for more axes."""
    shape, dtype = feature["shape"], pa.from_numpy_dtype(np.dtype(feature["dtype"]))
    if len(shape) == 1:
        return dtype if shape[0] == 1 else pa.list_(dtype, shape[0])
    for _ in shape:
        dtype = pa.list_(dtype)
    return dtype


def to_arrow(pa: Any, value: Array) -> Any:
    """Convert values (T, ...) to a column of the type of `kind`."""
    values = value.reshape(len(value)) if value.shape[1:] == (1,) else value
    array = pa.array(values.ravel())
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(array, values.shape[1])
    for size in values.shape[:0:-1]:
        array = pa.ListArray.from_arrays(np.arange(0, len(array) + 1, size, dtype=np.int32), array)
    return array


def task_table(pa: Any, tasks: Mapping[str, int]) -> Any:
    """Return a table with one line per task; the description is its index in pandas."""
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks))})
    kinds = (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}
        for name, kind, dtype in kinds
    ]
    note = {"index_columns": ["task"], "column_indexes": [], "columns": described, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(note)})


def save(pq: Any, table: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4))

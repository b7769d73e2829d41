"""Minari data sets as rows, read one episode at a time."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents.training.rows import EpisodeError, flatten
from embodia.envs.named import name_of
from embodia.scripts.data.to_minari import EXTRAS, need

STORED = {"hdf5": ("h5py", "3"), "arrow": ("pyarrow", "15"), "parquet": ("pyarrow", "15")}
"""Format of a data set -> the package that reads it, and its minimum version."""


class Minari:
    """Reader of the Minari data set in `path`, which contains a folder `data`.

    Observations that are not a dict get the same name as in an environment: `rgb` or `state`. The reward of an
    episode's first row is 0; the action and extras of its last row are zeros.

    Raises:
        Mistake: if minari, or the package that reads the format, is missing.
        EpisodeError: if the metadata cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        file = path / "data" / "metadata.json"
        try:
            metadata = json.loads(file.read_text())
            need(*STORED[metadata["data_format"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EpisodeError(
                f"{file}: data_format: missing or malformed ({error}); download the data set again"
            ) from error
        minari = need("minari", "0.5.4")
        self.shapes: Mapping[str, Sequence[int]] = metadata.get(EXTRAS, {})
        try:
            self.data = minari.MinariDataset(path / "data")
            told = list(self.data.storage.get_episode_metadata(range(self.data.total_episodes)))
            self.lengths: Sequence[int] = [int(each["total_steps"]) + 1 for each in told]
        except Exception as error:  # its storage raises various exceptions for missing or damaged files
            raise EpisodeError(f"{path}: cannot be opened ({error}); download or write the data set again") from error
        space = self.data.observation_space
        self.bare = None if isinstance(space, spaces.Dict) else name_of(space)
        named = space.spaces if self.bare is None else {self.bare: space}
        self.observed: Sequence[str] = [name for name, each in flatten(named).items() if each.shape is not None]
        self.advised = self.shapes.get("expert_action") is not None

    def where(self, number: int) -> str:
        return f"{self.path}: episode {number}"

    def read(self, number: int, names: Sequence[str]) -> dict[str, Any]:
        try:
            episode = next(iter(self.data.iterate_episodes([number])))
        except Exception as error:
            raise EpisodeError(f"{self.where(number)}: cannot be read ({error}); write it again") from error
        seen = flatten(episode.observations if self.bare is None else {self.bare: episode.observations})
        n = len(episode.rewards)
        last = np.arange(n + 1) == n
        extras = {
            name: closed(np.asarray(value)[:n].reshape(n, *self.shapes[name]))
            for name, value in (episode.infos or {}).items()
            if name in self.shapes
        }
        return {
            "obs": {name: np.asarray(seen[name]) for name in names},
            "reward": np.concatenate([[0.0], episode.rewards]).astype(np.float32),
            "first": np.arange(n + 1) == 0,
            "last": last,
            "terminal": last & bool(episode.terminations[-1]),
            "action": closed(np.asarray(episode.actions)),
            "extras": extras,
        }


def closed(values: Any) -> Any:
    """Append a row of zeros to (T, ...): the last row has no action."""
    return np.concatenate([values, np.zeros_like(values[:1])])

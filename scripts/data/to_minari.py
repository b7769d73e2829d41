"""Recorded episodes as a Minari dataset.

A row holds what was seen and what was then done, so T transitions are T + 1 rows: the reward of transition t is that
of row t + 1, and the last row's observation closes the episode. Pictures are kept without loss.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from embodia.agents.training.rows import StoredEpisode, flatten, read_episode
from embodia.scripts.mistake import Mistake

EXTRAS = "embodia_extras"
"""Of the data set's metadata: the shape of each of the rows' extras, which lie flat among the infos."""


def need(module: str, version: str) -> Any:
    """Import a package of the `data` extra. Raises Mistake with the line that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise Mistake(f"this needs {package}, which is not installed: pip install '{package}>={version}'") from error


def to_minari(files: Sequence[Path], folder: Path, name: str) -> Path:
    """Write the episodes as the Minari dataset `name` (such as `grid/empty-v0`) under `folder`; its path.

    Raises Mistake where minari is missing or the dataset exists, EpisodeError for a file that cannot be read.
    """
    minari = need("minari", "0.5.4")
    need("pyarrow", "15")
    if (folder / name).exists():
        raise Mistake(f"{folder / name} exists already, and a dataset is never overwritten; give another name")
    episodes = [read_episode(file) for file in files]
    head = episodes[0]
    with dataset_root(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that no separate environment for evaluation is named
        minari.create_dataset_from_buffers(
            name,
            [buffer(minari, i, episode) for i, episode in enumerate(episodes)],
            env=specification(head),
            observation_space=head.observation_space,
            action_space=head.action_space,
            algorithm_name=str(head.header.get("agent", "unknown")),
            author="embodia",
            author_email="nobody",
            code_permalink="none",
            description=f"{len(episodes)} episodes of {head.env_id}, {head.header.get('split', 'train')} levels",
            data_format="arrow",
            jpeg_encoding=False,
        ).storage.update_metadata({EXTRAS: {key: value.shape[1:] for key, value in extras(head).items()}})
    return folder / name


@contextmanager
def dataset_root(folder: Path) -> Iterator[None]:
    """Minari reads and writes under this folder instead of the one in the user's home."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def specification(episode: StoredEpisode) -> Any:
    """The environment's Gymnasium spec with its options, so that Minari can make it again; None if it has none."""
    import gymnasium as gym

    import embodia  # noqa: F401 (registers the ids)

    if episode.env_id not in gym.registry:
        return None
    spec = gym.spec(episode.env_id)
    spec.kwargs = {**spec.kwargs, **episode.header.get("env_options", {})}
    return spec


def buffer(minari: Any, number: int, episode: StoredEpisode) -> Any:
    """One episode as Minari's transitions: T + 1 observations, T of everything else."""
    rows = episode.rows
    return minari.data_collector.EpisodeBuffer(
        id=number,
        seed=episode.seed,
        observations=rows["obs"],
        actions=rows["action"][:-1],
        rewards=rows["reward"][1:],
        terminations=rows["terminal"][1:],
        truncations=(rows["last"] & ~rows["terminal"])[1:],
        # Minari's Arrow storage cannot read infos of one axis back.
        infos={key: value.reshape(len(value), -1) for key, value in extras(episode).items()} or None,
    )


def extras(episode: StoredEpisode) -> dict[str, Any]:
    """What else the rows hold, each (T + 1, ...), by the names of Minari's infos."""
    return {key.replace("/", "."): value for key, value in flatten(episode.rows["extras"]).items()}

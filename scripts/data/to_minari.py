"""Export of recorded episodes to a Minari data set.

A row holds an observation and the action taken then, so T + 1 rows give T transitions: the reward of transition t is
that of row t + 1, and the last row's observation is the final one. Images are stored without loss.
"""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from embodia.agents.training.rows import StoredEpisode, flatten, read_episode
from embodia.scripts.mistake import Mistake

EXTRAS = "embodia_extras"
"""Metadata key for the shapes of the rows' extras, which are stored flattened in the infos."""


def need(module: str, version: str) -> Any:
    """Import a package of the `data` extra. Raises Mistake, with the install command, if it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise Mistake(f"{package} is required but not installed: pip install '{package}>={version}'") from error


def dataset_name(policy: str, env_id: str) -> str:
    """Return a default name for a data set, such as embodia/minigrid-empty-5x5-random-v0."""
    task = re.sub(r"-v\d+$", "", env_id.rpartition("/")[2].rpartition(":")[2])
    return f"embodia/{plain_word(task.lower())}-{plain_word(policy.rpartition('/')[2])}-v0"


def plain_word(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text).strip("-")


def check_name(name: str) -> None:
    """Raise Mistake if Minari does not take a name; one that leaves the output folder is none."""
    if not re.fullmatch(r"(?![\w-]/[^/]*$)([\w-]+/)*[\w-]+-v\d+", name):  # Minari takes no SPACE of one letter
        raise Mistake(
            f"--name {name}: a Minari data set is called NAME-vN or SPACE/NAME-vN (letters, digits, - and _), "
            "such as grid/empty-v0"
        )


def to_minari(files: Sequence[Path], folder: Path, name: str) -> Path:
    """Write episode files as the Minari data set `name` (such as `grid/empty-v0`) in `folder` and return its path.

    Raises:
        Mistake: if minari is missing or the data set exists.
        EpisodeError: if a file cannot be read.
    """
    minari = need("minari", "0.5.4")
    need("pyarrow", "15")
    if (folder / name).exists():
        raise Mistake(f"{folder / name} already exists, and data sets are never overwritten; choose another name")
    episodes = [read_episode(file) for file in files]
    head = episodes[0]
    with dataset_root(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warns that there is no separate environment for evaluation
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
    """A context in which Minari reads and writes in this folder instead of the one in the user's home."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MINARI_DATASETS_PATH"] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def specification(episode: StoredEpisode) -> Any:
    """Return the environment's Gymnasium spec with its options, so that Minari can recreate it; None if unknown."""
    import gymnasium as gym

    import embodia  # noqa: F401 (registers the ids)

    if episode.env_id not in gym.registry:
        return None
    spec = gym.spec(episode.env_id)
    spec.kwargs = {**spec.kwargs, **episode.header.get("env_options", {})}
    return spec


def buffer(minari: Any, number: int, episode: StoredEpisode) -> Any:
    """Convert an episode to Minari's transitions: T + 1 observations, T of everything else."""
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
    """Return the rows' extras, each (T + 1, ...), by their names in Minari's infos."""
    return {key.replace("/", "."): value for key, value in flatten(episode.rows["extras"]).items()}

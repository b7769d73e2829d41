"""Choose the next level of each of N worlds, and turn level numbers into episodes in homes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs import SPLIT_SIZE, Split, State, level_seed
from embodia.envs.homes.engines.engine import GENERATED, Engine, Home
from embodia.envs.homes.episodes.dataset import (
    Episode,
    EpisodeDataset,
    EpisodeIterator,
    Unreachable,
    read_episodes,
    resolve_scene,
)
from embodia.envs.homes.episodes.episode_generator import generate_episode
from embodia.envs.homes.tasks.navigation import Task

Episodes = str | Path | EpisodeDataset


class Levels:
    """Episodes of a data set in each world's own order, or an unlimited number of generated ones.

    Args:
        num_envs: number of worlds.
        task: the task of generated episodes.
        split: split of the levels.
        episodes: a data set or its file; None generates episodes.
        scenes: scene files instead of generated homes.
        num_scenes: number of generated homes of the split.
        detail: level of detail of generated homes.
        scenes_dir: folder of the scenes that a data set names.
    """

    def __init__(
        self,
        num_envs: int,
        task: Task,
        split: Split,
        episodes: Episodes | None,
        scenes: Sequence[str | Path] | None,
        num_scenes: int,
        detail: str,
        scenes_dir: str | Path | None,
    ) -> None:
        self.task, self.split = task, split
        self.dataset = episodes if episodes is None or isinstance(episodes, EpisodeDataset) else read_episodes(episodes)
        self.source = "episode" if episodes is self.dataset else f"{episodes}: episode"  # its name in messages
        self.scenes = None if scenes is None else [str(scene) for scene in scenes]
        self.num_scenes, self.detail, self.scenes_dir = num_scenes, detail, scenes_dir
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._iterators: list[EpisodeIterator | None] = [None] * num_envs

    def seed(self, i: int, seed: int) -> None:
        """Seed the order of world i's levels."""
        self._rngs[i] = np.random.default_rng([level_seed(self.split, seed), 1])
        self._iterators[i] = None

    def draw(self, i: int) -> int:
        """World i's next level."""
        if self.dataset is None:
            return int(self._rngs[i].integers(SPLIT_SIZE))
        iterator = self._iterators[i]
        if iterator is None:
            iterator = self._iterators[i] = EpisodeIterator(self.dataset.episodes, self._rngs[i])
        next(iterator)
        return iterator.index

    def count_steps(self, worlds: NDArray[np.int64]) -> None:
        """Count one step of each world; Habitat's order of episodes changes scenes after a number of steps."""
        for i in worlds:
            iterator = self._iterators[i]
            if iterator is not None:
                iterator.count_step()

    def load(self, number: int, engine: Engine) -> tuple[Episode, Home]:
        """Return the episode of a level and its home."""
        if self.dataset is not None:
            episode = self.dataset.episodes[number % len(self.dataset)]
            generated = GENERATED.fullmatch(episode.scene_id)
            scene = episode.scene_id if generated else resolve_scene(episode, self.scenes_dir, self.source)
            return episode, engine.home(str(scene))
        level = level_seed(self.split, number)
        home = engine.home(self._scene_of(number))
        return generate_episode(home, engine, np.random.default_rng(level), str(level), self.task), home

    def _scene_of(self, number: int) -> str:
        if self.scenes:
            return self.scenes[number % len(self.scenes)]
        return f"home-{level_seed(self.split, number % self.num_scenes)}-{self.detail}"

    def describe(self, number: int) -> str:
        """Name a level in a list of skipped ones: its episode in the file, or its scene."""
        if self.dataset is not None:
            index = number % len(self.dataset)
            return f"episode {index} ({self.dataset.episodes[index].episode_id!r})"
        return f"level {number} ({self._scene_of(number)})"

    def __len__(self) -> int:
        """Number of consecutive levels that use every episode of the data set, or every scene, once."""
        return len(self.dataset) if self.dataset is not None else len(self.scenes or range(self.num_scenes))

    def goal_set(self, episode: Episode, home: Home) -> Any:
        """Return the goal set of an episode for distance queries; None without goals.

        Raises Unreachable if its objects have no view points.
        """
        if not episode.goals:
            return None
        if self.task.goal in ("point", "image"):
            return home.pathfinder.goal_set([goal.position for goal in episode.goals])
        views = [view.position for goal in episode.goals for view in goal.view_points]
        if not views:
            raise Unreachable(f"{self.source} {episode.episode_id!r}: its goals have no view points.")
        key = "goal set", np.asarray(views, np.float32).tobytes()
        if key not in home.memory:
            home.memory[key] = home.pathfinder.goal_set(views)
        return home.memory[key]

    def get_state(self) -> State:
        return {
            "rngs": [rng.bit_generator.state for rng in self._rngs],
            "iterators": [None if iterator is None else iterator.get_state() for iterator in self._iterators],
        }

    def set_state(self, state: State) -> None:
        for i, (rng, order) in enumerate(zip(state["rngs"], state["iterators"], strict=True)):
            self._rngs[i].bit_generator.state = rng
            self._iterators[i] = None
            if order is not None and self.dataset is not None:
                iterator = self._iterators[i] = EpisodeIterator(self.dataset.episodes, self._rngs[i])
                iterator.set_state(order)

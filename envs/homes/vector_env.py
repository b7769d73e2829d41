"""Habitat's tasks in N homes at once: moves, sensors and measures on arrays, all cameras in one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from embodia.envs import Info, Observation, Split, State, content_digest
from embodia.envs.drawing.labels import LabelledImage
from embodia.envs.homes.engines.engine import EmbodiaEngine, Engine, Home, camera_matrices
from embodia.envs.homes.episodes.dataset import Episode, Unreachable
from embodia.envs.homes.episodes.episode_generator import INSTANCE_SIZE
from embodia.envs.homes.experts.expert import Experts
from embodia.envs.homes.files.load import Up
from embodia.envs.homes.labels import labelled_images
from embodia.envs.homes.levels import Episodes, Levels
from embodia.envs.homes.measures.exploration import EXPLORATION_SCORES, Explorations
from embodia.envs.homes.measures.navigation import NAVIGATION_SCORES, NavigationMeasures, has_moved
from embodia.envs.homes.motion import drift, move
from embodia.envs.homes.navmesh.pathfinder import Measure
from embodia.envs.homes.observations import Poses, SensorSuite, camera_pose, goal_pictures, observe
from embodia.envs.homes.picture import picture
from embodia.envs.homes.tasks.navigation import ACTION_NAMES, TASKS, ActionKind, VelocityControl, check_sensors
from embodia.envs.homes.tasks.sensors import GoalFormat
from embodia.envs.homes.trails import Trails

Array = NDArray[Any]
EngineName = Literal["embodia", "habitat-sim"]

MOST_KEPT = 512  # default number of generated homes that stay loaded (about 1 MB each)


class HomesVectorEnv(VectorEnv[Any, Any, Any]):
    """N homes; the spec sheet is `HomesEnv`'s, whose every option this takes.

    Next-step autoreset. With `engine="habitat-sim"` all worlds of a scene share a simulator; see `habitat_sim_engine`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10, "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        task: str = "PointNav",
        split: Split = "train",
        actions: ActionKind = "discrete",
        sensors: Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        hfov: float | None = None,
        normalize_depth: bool = True,
        goal_format: GoalFormat = "POLAR",
        goal_dimensions: Literal[2, 3] = 2,
        max_steps: int | None = None,
        scenes: Sequence[str | Path] | None = None,
        test_scenes: Sequence[str | Path] | None = None,
        up: Up | None = None,
        island: int | None = None,
        num_scenes: int = 64,
        detail: Literal["low", "medium", "high"] = "medium",
        episodes: Episodes | None = None,
        test_episodes: Episodes | None = None,
        scenes_dir: str | Path | None = None,
        skip_unreachable: bool = False,
        engine: EngineName | Engine = "embodia",
        geodesics: Measure = "detour",
        cache_size: int | None = None,
        threads: int = 1,
        time_step: float = 1.0,
        render_mode: str | None = "rgb_array",
    ) -> None:
        _check_options(task, split, actions, engine, geodesics, up, num_scenes, max_steps, time_step, render_mode)
        base = TASKS[task]
        self.task = replace(base, max_steps=max_steps or base.max_steps)
        self.num_envs, self.split, self.actions, self.render_mode = num_envs, split, actions, render_mode
        camera = base.camera
        resized = replace(camera, height=height or camera.height, width=width or camera.width, hfov=hfov or camera.hfov)
        names = tuple(sensors) if sensors is not None else base.sensors
        check_sensors(base, names)
        resized_goal = (resized.height, resized.width) if height or width else INSTANCE_SIZE
        self.suite = SensorSuite(
            self.task, names, resized, normalize_depth, goal_format, goal_dimensions, goal_size=resized_goal
        )
        if split == "test":
            scenes, episodes = test_scenes or scenes, test_episodes or episodes
        self.skip_unreachable = skip_unreachable
        self.unreachable: dict[str, str] = {}
        """Episodes (or levels of scene files) that were skipped, with the reason."""
        self.levels = Levels(num_envs, self.task, split, episodes, scenes, num_scenes, detail, scenes_dir)
        self.dataset = self.levels.dataset
        if self.dataset is not None and self.dataset.category_ids:
            self.suite = replace(self.suite, category_ids=tuple(self.dataset.category_ids.items()))
        self.velocity = VelocityControl(time_step=time_step)
        kept = min(max(64, num_scenes), MOST_KEPT) if cache_size is None else cache_size
        self.engine = self._open_engine(engine, kept, threads, geodesics, up, island)
        self.single_observation_space = self.suite.space()
        self.metadata = {**self.metadata, "scores": EXPLORATION_SCORES if base.goal == "none" else NAVIGATION_SCORES}
        if actions == "discrete":
            self.metadata["action_names"] = ACTION_NAMES[: base.num_actions]
            self.single_action_space = spaces.Discrete(base.num_actions)
        else:
            self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._make_worlds()

    def _open_engine(
        self,
        engine: EngineName | Engine,
        cache_size: int,
        threads: int,
        geodesics: Measure,
        up: Up | None,
        island: int | None,
    ) -> Engine:
        if engine == "habitat-sim":
            from embodia.envs.homes.engines.habitat_sim_engine import HabitatSimEngine

            return HabitatSimEngine(self.task, self.suite.camera, up=up, island=island)
        if isinstance(engine, str):
            return EmbodiaEngine(self.task.navmesh, cache_size, threads, geodesics=geodesics, up=up, island=island)
        return engine

    def _make_worlds(self) -> None:
        n = self.num_envs
        self.poses = Poses.zeros(n)
        self.measures = NavigationMeasures(n, self.task.success_distance)
        self.episodes: list[Episode | None] = [None] * n
        self.homes = [cast(Home, None)] * n  # from the first reset on
        self.goal_sets: list[Any] = [None] * n
        self.goals = np.zeros((n, 3))
        self.pictures: list[dict[str, Array]] = [{} for _ in range(n)]
        self.numbers = np.full(n, -1, np.int64)  # the level each world plays
        self.over = np.zeros(n, bool)
        self.trails = Trails(n, self.task.max_steps, self.suite.camera.hfov)
        self.explorations = Explorations(n, self.suite.camera.hfov)
        self.experts = Experts(n, self.task, self.velocity if self.actions == "velocity" else None)

    # --- episodes

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Level `seed` (+ world) of the split, or the next of each world's own generator.

        `options={"reset_mask": (N,) bool}` restarts only those worlds. With an episode file, level s is its episode
        s modulo their number, in the file's order.
        """
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)), bool)
        if mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask has shape {mask.shape}; {self.num_envs} worlds need ({self.num_envs},).")
        seeds = _one_each(seed, self.num_envs)
        for i in np.flatnonzero(mask).tolist():
            given = seeds[i]
            if given is not None:
                self.levels.seed(i, given)
        if (self.numbers[~mask] < 0).any():
            raise RuntimeError("the first reset must start every world; leave reset_mask out.")
        self._begin(mask, seeds)
        return self._observe(), self._start_info(mask)

    def _begin(self, mask: Array, seeds: Sequence[int | None]) -> None:
        for i in np.flatnonzero(mask).tolist():
            given = seeds[i]
            self._start_level(i, self.levels.draw(i) if given is None else int(given))
        self._open_measures(mask)

    def _start_level(self, i: int, number: int) -> None:
        """Start level `number` in world i; with `skip_unreachable`, the next level whose goal can be reached.

        Raises Unreachable if there is none.
        """
        last = number + (len(self.levels) - 1 if self.skip_unreachable else 0)
        while True:
            try:
                self._load_level(i, number)
                self._place(i)
                return self._check_reachable(i, self._distance(i))
            except Unreachable as error:
                if number == last:
                    raise
                self.unreachable[self.levels.describe(number)] = str(error)
                number += 1

    def _load_level(self, i: int, number: int) -> None:
        """Load level `number` into world i: its home, goals and fixed readings."""
        episode, home = self.levels.load(number, self.engine)
        self.numbers[i], self.episodes[i], self.homes[i] = number, episode, home
        self.pictures[i] = goal_pictures(self.suite, self.engine, home, episode)
        self.goal_sets[i] = self.levels.goal_set(episode, home)
        if episode.goals:
            self.goals[i] = episode.goals[0].position

    def _place(self, i: int) -> None:
        episode, home = self._episode(i), self.homes[i]
        poses = self.poses
        poses.position[i] = poses.start_position[i] = np.asarray(episode.start_position, np.float32)
        poses.rotation[i] = poses.start_rotation[i] = episode.start_rotation
        poses.tilt[i] = 0
        self.over[i] = False
        self.experts.forget(i)
        self.trails.forget_map(i)
        if self.task.goal == "none":
            self.explorations.begin(i, home, poses.position[i], poses.rotation[i])

    def _open_measures(self, mask: Array) -> None:
        self.measures.reset(mask, self.poses.position, self._distances(mask))
        worlds = np.flatnonzero(mask)
        self.trails.follow(worlds, 0 * worlds, self.poses)

    def _check_reachable(self, i: int, distance: float) -> None:
        if np.isfinite(distance):
            return
        episode = self._episode(i)
        raise Unreachable(
            f"{self.levels.source} {episode.episode_id!r} (scene {episode.scene_id!r}): no path leads from its "
            f"start {np.round(episode.start_position, 3).tolist()} to a goal, so it cannot be solved. Drop it, skip "
            "such episodes with skip_unreachable, or check that its scene and the body's size are those it was made "
            "for."
        )

    def _distances(self, mask: Array) -> Array:
        """(N,) geodesic distance to the goal where `mask`, the last known elsewhere [m]."""
        distance = self.measures.distance_to_goal.copy()
        for i in np.flatnonzero(mask).tolist():
            distance[i] = self._distance(i)
        return distance

    def _distance(self, i: int) -> float:
        """World i's geodesic distance to the goal [m], inf if there is no path."""
        if self.task.goal == "none":
            return 0.0
        return self.homes[i].pathfinder.distance(self.poses.position[i], self.goal_sets[i])

    # --- steps

    def step(self, actions: Any) -> tuple[Observation, Array, Array, Array, Info]:
        """Raises ValueError for actions of the wrong shape or NaN, RuntimeError before the first reset."""
        if (self.numbers < 0).any():
            raise RuntimeError(f"embodia/{self.task.name}: step before reset; call reset first.")
        actions = self._checked(actions)
        fresh, active = self.over.copy(), ~self.over
        before = self.poses.position.copy()
        stopped, collided = self._move(actions, active)
        if fresh.any():
            self._begin(fresh, [None] * self.num_envs)
        moved = active & has_moved(before, self.poses.position)
        self.measures.update(active, self.poses.position, self._distances(moved), stopped, collided)
        self._follow(active)
        reward = np.where(active, self._rewards(), 0.0)
        terminated = active & stopped
        truncated = active & ~stopped & (self.measures.num_steps >= self.task.max_steps)
        self.over = terminated | truncated
        return self._observe(), reward, terminated, truncated, self._step_info(active, fresh, collided)

    def _checked(self, actions: Any) -> Array:
        array = np.asarray(actions)
        shape = (self.num_envs, *(self.single_action_space.shape or ()))
        where = f"embodia/{self.task.name}, step {int(self.measures.num_steps.max())}"
        if array.shape != shape:
            raise ValueError(f"{where}: actions have shape {array.shape}; {self.num_envs} worlds need {shape}.")
        array = np.where(self.over.reshape(-1, *[1] * (array.ndim - 1)), 0, array)  # their actions are ignored
        if not np.isfinite(array).all():
            world = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ValueError(f"{where}: the action of world {world} is not finite: {array[world]}.")
        if self.actions == "discrete":
            last = self.task.num_actions - 1
            if array.min() < 0 or array.max() > last:
                world = int(np.argmax((array < 0) | (array > last)))
                raise ValueError(f"{where}: action {array[world]} of world {world} is none of 0 to {last}.")
            return array.astype(np.int64)
        return array.astype(np.float64)

    def _move(self, actions: Array, active: Array) -> tuple[Array, Array]:
        """Execute the actions; return (N,) stopped and (N,) collided."""
        if self.actions == "velocity":
            return drift(self.task, self.velocity, self.poses, self.homes, actions, active)
        stopped, collided = move(self.task, self.poses, self.homes, actions, active)
        self.experts.done(np.flatnonzero(active), actions)
        return stopped, collided

    def _follow(self, active: Array) -> None:
        """Record the poses, and mark the floor seen in exploration."""
        worlds = np.flatnonzero(active)
        self.trails.follow(worlds, self.measures.num_steps[worlds], self.poses)
        self.levels.count_steps(worlds)
        self.explorations.look(worlds, self.poses.position, self.poses.rotation)

    def _rewards(self) -> Array:
        return self.explorations.reward() if self.task.goal == "none" else self.measures.reward()

    # --- observations and infos

    def _observe(self) -> Observation:
        pictures = {name: np.stack([fixed[name] for fixed in self.pictures]) for name in self.pictures[0]}
        return observe(self.suite, self.engine, self.homes, self.poses, self.goals, pictures)

    def _start_info(self, mask: Array) -> Info:
        texts = {
            "scene_id": [episode.scene_id if episode else "" for episode in self.episodes],
            "episode_id": [episode.episode_id if episode else "" for episode in self.episodes],
            "level": [level_name(episode) if episode else "" for episode in self.episodes],
        }
        info: Info = {}
        for name, values in texts.items():
            info[name], info[f"_{name}"] = np.array(values, object), mask.copy()
        return info | _flagged({"distance_to_goal": self.measures.distance_to_goal}, mask)

    def _step_info(self, active: Array, fresh: Array, collided: Array) -> Info:
        everywhere = np.ones(self.num_envs, bool)
        info = _flagged({"distance_to_goal": self.measures.distance_to_goal}, everywhere)
        info |= _flagged({"collided": collided}, active)
        if fresh.any():
            info |= {name: value for name, value in self._start_info(fresh).items() if "distance" not in name}
        if self.over.any():
            info["metrics"], info["_metrics"] = self.metrics(), self.over.copy()
        return info

    def metrics(self) -> dict[str, Array]:
        """Return the scores (N,) of the current episodes so far, by Habitat's names."""
        metrics = self.measures.metrics()
        return self.explorations.metrics(metrics) if self.task.goal == "none" else metrics

    def expert_action(self) -> Array:
        """Return the experts' actions (N, ...); 0 where an episode is over and the action is ignored."""
        shape = (self.num_envs, *(self.single_action_space.shape or ()))
        actions = np.zeros(shape, self.single_action_space.dtype)
        for i in np.flatnonzero(~self.over):
            finder, position, rotation = self.homes[i].pathfinder, self.poses.position[i], self.poses.rotation[i]
            area = self.explorations.areas[i]
            actions[i] = self.experts.action(int(i), finder, position, rotation, self.goal_sets[i], area)
        return actions

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Per world: RGB, depth, semantic ids and the top-down map with fog of war, walk, shortest path and goal."""
        return tuple(self._picture(i) for i in range(self.num_envs))

    def labels(self, worlds: Sequence[int] | None = None, camera_to_world: Array | None = None) -> list[LabelledImage]:
        """Return the labelled view of the chosen worlds, by default of all.

        Args:
            worlds: Numbers of n worlds.
            camera_to_world: Poses (n, 4, 4) of the cameras; None for the agents' own.

        Raises:
            RuntimeError: Before the first reset.
            ValueError: If poses are not finite or have another shape.
        """
        if (self.numbers < 0).any():
            raise RuntimeError(f"embodia/{self.task.name}: labels before reset; call reset first.")
        chosen = list(range(self.num_envs)) if worlds is None else list(worlds)
        if camera_to_world is None:
            camera_to_world = camera_matrices(*camera_pose(self.poses, self.suite.camera))[chosen]
        return labelled_images(self.engine, [self.homes[i] for i in chosen], self.suite.camera, camera_to_world)

    def _picture(self, i: int) -> NDArray[np.uint8]:
        if self.numbers[i] < 0:
            raise RuntimeError(f"embodia/{self.task.name}: render before reset; call reset first.")
        episode, home, steps = self._episode(i), self.homes[i], int(self.measures.num_steps[i])
        known = self.trails.map_of(i, steps, home, episode, self.goal_sets[i])
        camera, caption = self.suite.camera, self._caption(i)
        return picture(self.engine, home, known, self.poses, i, camera, caption, self._goal_view(i))

    def _episode(self, i: int) -> Episode:
        episode = self.episodes[i]
        assert episode is not None
        return episode

    def _goal_view(self, i: int) -> Array | None:
        """Return the goal image, if the task has one."""
        return next((view for name, view in self.pictures[i].items() if name.endswith("imagegoal")), None)

    def _caption(self, i: int) -> str:
        episode = self._episode(i)
        step = int(self.measures.num_steps[i])
        area = self.explorations.areas[i]
        if area is not None:
            return f"{self.task.name}  step {step}  seen {area.area:.1f} m2, {100 * area.coverage:.0f} %"
        what = f" to a {episode.object_category}" if episode.object_category else ""
        return f"{self.task.name}{what}  step {step}  goal {self.measures.distance_to_goal[i]:.2f} m"

    def top_down_map(self, i: int = 0, resolution: int = 1024) -> dict[str, Any]:
        """Habitat's top_down_map measure of world i's episode so far."""
        steps = int(self.measures.num_steps[i])
        return self.trails.drawn(resolution, i, steps, self.homes[i], self._episode(i), self.goal_sets[i]).metric()

    # --- snapshots

    def get_state(self) -> State:
        """Return an exact snapshot. Homes are not part of it; they follow from the levels' numbers."""
        if (self.numbers < 0).any():
            raise RuntimeError(f"embodia/{self.task.name}: get_state before reset; call reset first.")
        return {
            "task": self.task.name,
            "numbers": self.numbers.copy(),
            "poses": {name: value.copy() for name, value in vars(self.poses).items()},
            "measures": self.measures.get_state(),
            "over": self.over.copy(),
            "trail": self.trails.get_state(int(self.measures.num_steps.max())),
            **self.explorations.get_state(),
            **self.experts.get_state(),
            **self.levels.get_state(),
        }

    def set_state(self, state: State) -> Observation:
        """Raises ValueError for a snapshot of another task or number of worlds."""
        if state["task"] != self.task.name or len(state["numbers"]) != self.num_envs:
            raise ValueError(
                f"a snapshot of {len(state['numbers'])} worlds of {state['task']} cannot be set on {self.num_envs} "
                f"of {self.task.name}."
            )
        for i in range(self.num_envs):
            if self.numbers[i] != state["numbers"][i]:
                self._load_level(i, int(state["numbers"][i]))
            self._place(i)
        self.poses = Poses(**{name: value.copy() for name, value in state["poses"].items()})
        self.measures.set_state(state["measures"])
        self.over = state["over"].copy()
        self.trails.set_state(state["trail"])
        for part in (self.explorations, self.experts, self.levels):
            part.set_state(state)
        return self._observe()

    def close_extras(self, **kwargs: Any) -> None:
        self.engine.close()


def level_name(episode: Episode) -> str:
    """Return a name for an episode, made from its scene, start and goals."""
    goals = [(goal.object_id, np.round(goal.position, 4).tolist(), goal.image_goals) for goal in episode.goals]
    start = np.round([*episode.start_position, *episode.start_rotation], 4).tolist()
    which = episode.object_category, episode.goal_object_id, episode.goal_image_id
    return f"{Path(episode.scene_id).name}/{content_digest(start, goals, which)}"


def _one_each(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """A seed for each world. Raises ValueError for another number of them."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"{len(seed)} seeds for {num_envs} worlds.")
    return list(seed)


def _flagged(values: dict[str, Array], mask: Array) -> Info:
    """Gymnasium's layout of vector infos: each (N,) array beside its mask."""
    info: Info = {}
    for name, value in values.items():
        info[name], info[f"_{name}"] = value.copy(), mask.copy()
    return info


def _check_options(
    task: str,
    split: str,
    actions: str,
    engine: Any,
    geodesics: str,
    up: str | None,
    num_scenes: int,
    max_steps: int | None,
    time_step: float,
    render_mode: str | None,
) -> None:
    choices: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("task", task, tuple(TASKS)),
        ("split", split, ("train", "test")),
        ("actions", actions, ("discrete", "velocity")),
        ("render_mode", render_mode, (None, "rgb_array")),
        # habitat-sim has no exact search, and an engine of the caller's own measures as it was made to.
        ("geodesics", geodesics, ("detour", "exact") if engine == "embodia" else ("detour",)),
        ("up", up, (None, "y", "z")),
    ]
    if isinstance(engine, str):
        choices.append(("engine", engine, ("embodia", "habitat-sim")))
    for name, value, allowed in choices:
        if value not in allowed:
            raise ValueError(f"embodia homes: {name}={value!r}; choose one of {', '.join(map(str, allowed))}.")
    if num_scenes < 1 or (max_steps is not None and max_steps < 1):
        raise ValueError(f"embodia homes: num_scenes={num_scenes} and max_steps={max_steps} must be at least 1.")
    if not 0 < time_step < float("inf"):
        raise ValueError(f"embodia homes: time_step={time_step} s; a velocity action lasts more than 0 s.")

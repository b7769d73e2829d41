"""Habitat's tasks in N homes at once: moves, sensors and measures on arrays, all cameras in one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from embodia.envs import SPLIT_SIZE, Info, Observation, Split, State, level_seed
from embodia.envs.drawing.rotations import from_yaw, multiply, rotate
from embodia.envs.homes.engines.engine import GENERATED, EmbodiaEngine, Engine, Home
from embodia.envs.homes.episodes.dataset import (
    Episode,
    EpisodeDataset,
    EpisodeError,
    EpisodeIterator,
    read_episodes,
    resolve_scene,
)
from embodia.envs.homes.episodes.episode_generator import INSTANCE_SIZE, generate_episode
from embodia.envs.homes.experts.expert import DiscreteExpert, ExplorationGoals, velocity_action
from embodia.envs.homes.measures.exploration import DONE, EXPLORATION_SCORES, AreaSeen
from embodia.envs.homes.measures.navigation import NAVIGATION_SCORES, NavigationMeasures, has_moved
from embodia.envs.homes.measures.top_down_map import TopDownMap
from embodia.envs.homes.observations import Poses, SensorSuite, goal_pictures, observe
from embodia.envs.homes.picture import map_goals, picture
from embodia.envs.homes.tasks.navigation import (
    ACTION_NAMES,
    FORWARD,
    LEFT,
    LOOK_DOWN,
    LOOK_UP,
    RIGHT,
    STOP,
    TASKS,
    ActionKind,
    VelocityControl,
    check_sensors,
)
from embodia.envs.homes.tasks.sensors import GoalFormat

Array = NDArray[Any]
EngineName = Literal["embodia", "habitat-sim"]

EXPLORATION_REWARD = 0.1  # per m2 newly seen
MOST_KEPT = 512  # generated homes that stay loaded (about 1 MB each) unless told otherwise
MAP_RESOLUTION = 256  # cells on the shorter side of the map that `render` draws


class HomesVectorEnv(VectorEnv[Any, Any, Any]):
    """N homes; the spec sheet is `HomesEnv`'s, whose every option this takes.

    Next-step autoreset. With `engine="habitat-sim"` all worlds share one simulator; see `habitat_sim_engine`.
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
        num_scenes: int = 64,
        detail: Literal["low", "medium", "high"] = "medium",
        episodes: str | Path | EpisodeDataset | None = None,
        scenes_dir: str | Path | None = None,
        engine: EngineName | Engine = "embodia",
        cache_size: int | None = None,
        threads: int = 1,
        time_step: float = 1.0,
        render_mode: str | None = "rgb_array",
    ) -> None:
        _check_options(task, split, actions, engine, num_scenes, max_steps, time_step, render_mode)
        base = TASKS[task]
        self.task = replace(base, max_steps=max_steps or base.max_steps)
        self.num_envs, self.split, self.actions, self.render_mode = num_envs, split, actions, render_mode
        camera = base.camera
        resized = replace(camera, height=height or camera.height, width=width or camera.width, hfov=hfov or camera.hfov)
        self.dataset, self._source = _open_dataset(episodes)
        names = tuple(sensors) if sensors is not None else base.sensors
        check_sensors(base, names)
        resized_goal = (resized.height, resized.width) if height or width else INSTANCE_SIZE
        self.suite = SensorSuite(
            self.task, names, resized, normalize_depth, goal_format, goal_dimensions, goal_size=resized_goal
        )
        if self.dataset is not None and self.dataset.category_ids:
            self.suite = replace(self.suite, category_ids=tuple(self.dataset.category_ids.items()))
        self.scenes = None if scenes is None else [str(scene) for scene in scenes]
        self.num_scenes, self.detail, self.scenes_dir = num_scenes, detail, scenes_dir
        self.velocity = VelocityControl(time_step=time_step)
        kept = min(max(64, num_scenes), MOST_KEPT) if cache_size is None else cache_size
        self.engine = self._open_engine(engine, kept, threads)
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

    def _open_engine(self, engine: EngineName | Engine, cache_size: int, threads: int) -> Engine:
        if engine == "habitat-sim":
            from embodia.envs.homes.engines.habitat_sim_engine import HabitatSimEngine

            return HabitatSimEngine(self.task, self.suite.camera)
        if isinstance(engine, str):
            return EmbodiaEngine(self.task.navmesh, cache_size, threads)
        return engine

    def _make_worlds(self) -> None:
        n = self.num_envs
        self.poses = Poses.zeros(n)
        self.measures = NavigationMeasures(n, self.task.success_distance)
        self.episodes: list[Episode | None] = [None] * n
        self.homes: list[Home] = [Home("", None)] * n
        self.goal_sets: list[Any] = [None] * n
        self.goals = np.zeros((n, 3))
        self.pictures: list[dict[str, Array]] = [{} for _ in range(n)]
        self.numbers = np.full(n, -1, np.int64)  # the level each world plays
        self.over = np.zeros(n, bool)
        self.trail = np.zeros((n, self.task.max_steps + 1, 7))  # position and rotation at every step
        self.areas: list[AreaSeen | None] = [None] * n
        self.gained = np.zeros(n)  # newly seen in this step [m2]
        self._experts = [DiscreteExpert(self.task) for _ in range(n)]
        self._frontiers = [ExplorationGoals() for _ in range(n)]
        self._rngs = [np.random.default_rng() for _ in range(n)]
        self._iterators: list[EpisodeIterator | None] = [None] * n
        self._maps: list[TopDownMap | None] = [None] * n
        self._observation: Observation = {}

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
        seeds = [None if seed is None else seed + i for i in range(self.num_envs)] if _is_one(seed) else list(seed)  # type: ignore[operator,arg-type]
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} worlds.")
        for i in np.flatnonzero(mask):
            given = seeds[i]
            if given is not None:
                self._rngs[i] = np.random.default_rng([level_seed(self.split, given), 1])
                self._iterators[i] = None
        if (self.numbers[~mask] < 0).any():
            raise RuntimeError("the first reset must start every world; leave reset_mask out.")
        self._begin(mask, seeds)
        return self._observe(), self._start_info(mask)

    def _begin(self, mask: Array, seeds: Sequence[int | None]) -> None:
        for i in np.flatnonzero(mask).tolist():
            given = seeds[i]
            self._load_level(i, self._next_number(i) if given is None else int(given))
            self._place(i)
        self._open_measures(mask)

    def _next_number(self, i: int) -> int:
        if self.dataset is None:
            return int(self._rngs[i].integers(SPLIT_SIZE))
        iterator = self._iterators[i]
        if iterator is None:
            iterator = self._iterators[i] = EpisodeIterator(self.dataset.episodes, self._rngs[i])
        next(iterator)
        return iterator.index

    def _load_level(self, i: int, number: int) -> None:
        """Make level `number` the episode of world i: its home, goals and fixed pictures."""
        if self.dataset is not None:
            episode = self.dataset.episodes[number % len(self.dataset)]
            generated = GENERATED.fullmatch(episode.scene_id)
            scene = episode.scene_id if generated else resolve_scene(episode, self.scenes_dir, self._source)
            home = self.engine.home(str(scene))
        else:
            level = level_seed(self.split, number)
            home = self.engine.home(self._scene_of(number))
            episode = generate_episode(home, self.engine, np.random.default_rng(level), str(level), self.task)
        self.numbers[i], self.episodes[i], self.homes[i] = number, episode, home
        self._prepare_goals(i, episode, home)

    def _scene_of(self, number: int) -> str:
        if self.scenes:
            return self.scenes[number % len(self.scenes)]
        return f"home-{level_seed(self.split, number % self.num_scenes)}-{self.detail}"

    def _prepare_goals(self, i: int, episode: Episode, home: Home) -> None:
        self.pictures[i] = goal_pictures(self.suite, self.engine, home, episode)
        if not episode.goals:
            return
        self.goals[i] = episode.goals[0].position
        views = [view.position for goal in episode.goals for view in goal.view_points]
        by_point = self.task.goal in ("point", "image")
        targets = [goal.position for goal in episode.goals] if by_point else views
        if not targets:
            raise EpisodeError(f"{self._source} {episode.episode_id!r}: its goals have no view points.")
        key = ("goal set", np.asarray(targets, np.float32).tobytes()) if not by_point else None
        if key is not None and key in home.memory:
            self.goal_sets[i] = home.memory[key]
            return
        self.goal_sets[i] = home.pathfinder.goal_set(targets)
        if key is not None:
            home.memory[key] = self.goal_sets[i]

    def _place(self, i: int) -> None:
        episode, home = self.episodes[i], self.homes[i]
        assert episode is not None
        poses = self.poses
        poses.position[i] = poses.start_position[i] = np.asarray(episode.start_position, np.float32)
        poses.rotation[i] = poses.start_rotation[i] = episode.start_rotation
        poses.tilt[i] = 0
        self.over[i], self.gained[i] = False, 0.0
        self._experts[i].reset()
        self._frontiers[i].reset()
        self._maps[i] = None
        if self.task.goal == "none":
            self.areas[i] = AreaSeen(home, poses.position[i], self.suite.camera.hfov)
            self.areas[i].look(poses.position[i], poses.rotation[i])  # type: ignore[union-attr]

    def _open_measures(self, mask: Array) -> None:
        distance = self._distances(mask)
        for i in np.flatnonzero(mask & ~np.isfinite(distance)):
            episode = self.episodes[i]
            assert episode is not None
            raise EpisodeError(
                f"{self._source} {episode.episode_id!r} (scene {episode.scene_id!r}): no path leads from its start "
                f"{np.round(episode.start_position, 3).tolist()} to a goal, so it cannot be solved. Drop it, or check "
                "that its scene and the body's size are those it was made for."
            )
        self.measures.reset(mask, self.poses.position, distance)
        self.trail[mask, 0] = np.concatenate([self.poses.position, self.poses.rotation], axis=1)[mask]

    def _distances(self, mask: Array) -> Array:
        """(N,) geodesic distance to the goal where `mask`, the last known elsewhere [m]."""
        distance = self.measures.distance_to_goal.copy()
        for i in np.flatnonzero(mask):
            if self.task.goal == "none":
                distance[i] = 0.0
            else:
                distance[i] = self.homes[i].pathfinder.distance(self.poses.position[i], self.goal_sets[i])
        return distance

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
        array = np.where(self.over.reshape(-1, *[1] * (array.ndim - 1)), 0, array)  # theirs are ignored
        if not np.isfinite(array).all():
            world = int(np.argwhere(~np.isfinite(array))[0][0])
            raise ValueError(f"{where}: the action of world {world} is not finite: {array[world]}.")
        if self.actions == "discrete":
            last = int(self.single_action_space.n) - 1  # type: ignore[attr-defined]
            if array.min() < 0 or array.max() > last:
                world = int(np.argmax((array < 0) | (array > last)))
                raise ValueError(f"{where}: action {array[world]} of world {world} is none of 0 to {last}.")
            return array.astype(np.int64)
        return array.astype(np.float64)

    def _move(self, actions: Array, active: Array) -> tuple[Array, Array]:
        """Carry out the actions; (N,) stopped, (N,) collided."""
        if self.actions == "velocity":
            return self._move_continuously(actions, active)
        stopped = active & (actions == STOP)
        turning = np.select([actions == LEFT, actions == RIGHT], [1.0, -1.0]) * active
        tilting = np.select([actions == LOOK_UP, actions == LOOK_DOWN], [1.0, -1.0]) * active
        turn = from_yaw(turning * np.deg2rad(self.task.turn))
        self.poses.rotation = np.where(turning[:, None] != 0, multiply(self.poses.rotation, turn), self.poses.rotation)
        self.poses.tilt = self.poses.tilt + tilting * np.deg2rad(self.task.tilt)
        collided = self._advance(active & (actions == FORWARD), np.full(self.num_envs, self.task.forward))
        for i in np.flatnonzero(active):
            self._experts[i].done(int(actions[i]))
        return stopped, collided

    def _move_continuously(self, actions: Array, active: Array) -> tuple[Array, Array]:
        control = self.velocity
        linear, angular = control.speeds(actions).T
        stopped = active & (np.abs(linear) < control.min_linear) & (np.abs(angular) < control.min_angular)
        going = active & ~stopped
        collided = self._advance(going, linear * control.time_step)
        turn = from_yaw(np.deg2rad(angular) * control.time_step)
        self.poses.rotation = np.where(going[:, None], multiply(self.poses.rotation, turn), self.poses.rotation)
        return stopped, collided

    def _advance(self, going: Array, lengths: Array) -> Array:
        """Filtered steps straight ahead of `lengths` (N,) [m]; (N,) whether they collided."""
        start = self.poses.position
        target = start + rotate(self.poses.rotation, np.stack([0 * lengths, 0 * lengths, -lengths], axis=-1))
        end = start.copy()
        for i in np.flatnonzero(going):
            finder = self.homes[i].pathfinder
            end[i] = (finder.try_step if self.task.sliding else finder.try_step_no_sliding)(start[i], target[i])
        self.poses.position = end
        came, asked = ((end - start) ** 2).sum(axis=1), ((target - start) ** 2).sum(axis=1)
        return going & (came + 1e-5 < asked)

    def _follow(self, active: Array) -> None:
        """Write the trail; look around in exploration."""
        here = np.concatenate([self.poses.position, self.poses.rotation], axis=1)
        worlds = np.flatnonzero(active)
        self.trail[worlds, self.measures.num_steps[worlds]] = here[worlds]
        for i in worlds:
            area = self.areas[i]
            self.gained[i] = 0.0 if area is None else area.look(self.poses.position[i], self.poses.rotation[i])
            iterator = self._iterators[i]
            if iterator is not None:
                iterator.count_step()

    def _rewards(self) -> Array:
        if self.task.goal == "none":
            return EXPLORATION_REWARD * self.gained - 0.01
        return self.measures.reward()

    # --- what leaves the environment

    def _observe(self) -> Observation:
        pictures = {name: np.stack([fixed[name] for fixed in self.pictures]) for name in self.pictures[0]}
        self._observation = observe(self.suite, self.engine, self.homes, self.poses, self.goals, pictures)
        return {name: value.copy() for name, value in self._observation.items()}

    def _start_info(self, mask: Array) -> Info:
        texts = {
            "scene_id": [episode.scene_id if episode else "" for episode in self.episodes],
            "episode_id": [episode.episode_id if episode else "" for episode in self.episodes],
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
        """(N,) scores of the present episodes so far, under Habitat's names."""
        metrics = self.measures.metrics()
        if self.task.goal != "none":
            return metrics
        areas = [(area.area, area.coverage) if area is not None else (0.0, 0.0) for area in self.areas]
        area, coverage = np.array(areas).T
        kept = {name: metrics[name] for name in ("num_steps", "collisions/count", "collisions/is_collision")}
        return {"success": (coverage >= DONE).astype(np.float64), "coverage": coverage, "area_seen": area, **kept}

    def expert_action(self) -> Array:
        """(N, ...) the experts' actions; 0 where a world is over and its action will be ignored."""
        shape = (self.num_envs, *(self.single_action_space.shape or ()))
        actions = np.zeros(shape, self.single_action_space.dtype)
        for i in np.flatnonzero(~self.over):
            actions[i] = self._expert(int(i))
        return actions

    def _expert(self, i: int) -> Any:
        finder, position, rotation = self.homes[i].pathfinder, self.poses.position[i], self.poses.rotation[i]
        goals = self.goal_sets[i]
        area = self.areas[i]
        if area is not None:
            goals = self._frontiers[i].goal_set(finder, position, area)
        if self.actions == "velocity":
            goals = finder.goal_set(position) if goals is None else goals
            return velocity_action(self.task, self.velocity, finder, position, rotation, goals)
        return STOP if goals is None else self._experts[i].action(finder, position, rotation, goals)

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Per world: RGB, depth, semantic ids and the top-down map with fog of war, walk, shortest path and goal."""
        return tuple(self._picture(i) for i in range(self.num_envs))

    def _picture(self, i: int) -> NDArray[np.uint8]:
        if self.numbers[i] < 0:
            raise RuntimeError(f"embodia/{self.task.name}: render before reset; call reset first.")
        camera, caption = self.suite.camera, self._caption(i)
        return picture(self.engine, self.homes[i], self._map_of(i), self.poses, i, camera, caption, self._goal_view(i))

    def _goal_view(self, i: int) -> Array | None:
        """The goal's picture, where the task has one."""
        return next((view for name, view in self.pictures[i].items() if name.endswith("imagegoal")), None)

    def _caption(self, i: int) -> str:
        episode = self.episodes[i]
        assert episode is not None
        step = int(self.measures.num_steps[i])
        area = self.areas[i]
        if area is not None:
            return f"{self.task.name}  step {step}  seen {area.area:.1f} m2, {100 * area.coverage:.0f} %"
        what = f" to a {episode.object_category}" if episode.object_category else ""
        return f"{self.task.name}{what}  step {step}  goal {self.measures.distance_to_goal[i]:.2f} m"

    def top_down_map(self, i: int = 0, resolution: int = 1024) -> dict[str, Any]:
        """Habitat's top_down_map measure of world i's episode so far."""
        return self._replay(
            i, TopDownMap(resolution, self.task.max_steps, field_of_view=self.suite.camera.hfov)
        ).metric()

    def _map_of(self, i: int) -> TopDownMap:
        """World i's map, brought up to date; made when a picture is first asked for."""
        known = self._maps[i]
        if known is None:
            known = TopDownMap(MAP_RESOLUTION, self.task.max_steps, field_of_view=self.suite.camera.hfov)
            self._maps[i] = self._replay(i, known)
        for step in range(known.step_count + 1, int(self.measures.num_steps[i]) + 1):
            known.update(self.trail[i, step, :3], self.trail[i, step, 3:])
        return known

    def _replay(self, i: int, top_down: TopDownMap) -> TopDownMap:
        episode, finder = self.episodes[i], self.homes[i].pathfinder
        assert episode is not None
        start = self.poses.start_position[i]
        path = finder.path(start, self.goal_sets[i]).points if episode.goals else np.zeros((0, 3))
        goals = map_goals(self.homes[i], episode)
        top_down.reset(finder.bounds, finder.free_cells, start, self.poses.start_rotation[i], goals, path)
        for step in range(1, int(self.measures.num_steps[i]) + 1):
            top_down.update(self.trail[i, step, :3], self.trail[i, step, 3:])
        return top_down

    # --- snapshots

    def get_state(self) -> State:
        """Everything but the homes themselves, which follow from the levels' numbers."""
        if (self.numbers < 0).any():
            raise RuntimeError(f"embodia/{self.task.name}: get_state before reset; call reset first.")
        areas = [None if area is None else area.mask.copy() for area in self.areas]
        return {
            "task": self.task.name,
            "numbers": self.numbers.copy(),
            "poses": {name: value.copy() for name, value in vars(self.poses).items()},
            "measures": self.measures.get_state(),
            "over": self.over.copy(),
            "trail": self.trail[:, : int(self.measures.num_steps.max()) + 1].copy(),
            "areas": areas,
            "gained": self.gained.copy(),
            "frontiers": [None if f.target is None else f.target.copy() for f in self._frontiers],
            "experts": [expert.get_state() for expert in self._experts],
            "rngs": [rng.bit_generator.state for rng in self._rngs],
            "iterators": [None if it is None else it.get_state() for it in self._iterators],
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
        self.over, self.gained = state["over"].copy(), state["gained"].copy()
        self.trail[:, : state["trail"].shape[1]] = state["trail"]
        for i in range(self.num_envs):
            self._restore_world(i, state)
        return self._observe()

    def _restore_world(self, i: int, state: State) -> None:
        area, frontier = self.areas[i], state["frontiers"][i]
        if area is not None:
            area.mask = state["areas"][i].copy()
        self._frontiers[i].target = None if frontier is None else frontier.copy()
        self._experts[i].set_state(state["experts"][i])
        self._rngs[i].bit_generator.state = state["rngs"][i]
        self._iterators[i] = None
        if state["iterators"][i] is not None and self.dataset is not None:
            iterator = self._iterators[i] = EpisodeIterator(self.dataset.episodes, self._rngs[i])
            iterator.set_state(state["iterators"][i])

    def close_extras(self, **kwargs: Any) -> None:
        self.engine.close()


def _is_one(seed: Any) -> bool:
    return seed is None or isinstance(seed, int | np.integer)


def _flagged(values: dict[str, Array], mask: Array) -> Info:
    """Gymnasium's layout of vector infos: each (N,) array beside its mask."""
    info: Info = {}
    for name, value in values.items():
        info[name], info[f"_{name}"] = value.copy(), mask.copy()
    return info


def _open_dataset(episodes: str | Path | EpisodeDataset | None) -> tuple[EpisodeDataset | None, str]:
    """The data set and what messages call it."""
    if episodes is None or isinstance(episodes, EpisodeDataset):
        return episodes, "episode"
    return read_episodes(episodes), f"{episodes}: episode"


def _check_options(
    task: str,
    split: str,
    actions: str,
    engine: Any,
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

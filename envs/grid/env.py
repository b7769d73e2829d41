"""MiniGrid and BabyAI as environments of the contract."""

from typing import Any, get_args

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.envs import SPLIT_SIZE, Info, Observation, Split, State, level_seed
from embodia.envs.grid import draw
from embodia.envs.grid.expert import Expert, make_expert
from embodia.envs.grid.ids import GRID_IDS, MINIGRID_IDS, nearest_ids
from embodia.envs.grid.mission import WORDS, encode_mission, mission_length
from embodia.envs.grid.options import EngineName, GridOptions, View
from embodia.envs.grid.shortest import Solutions
from embodia.envs.grid.snapshot import load_world, save_world
from embodia.envs.grid.symbolic import HIGHEST_CODE, SymbolicViews, carried_code
from embodia.envs.grid.world import level_name, make_world, start_level

VIEWS: tuple[View, ...] = get_args(View)


class GridEnv(gym.Env[Observation, int]):
    """One MiniGrid or BabyAI task, with minigrid's dynamics (Chevalier-Boisvert et al., NeurIPS 2023; ICLR 2019).

    Task: minigrid's own, unchanged; `task` is its id there. `split` selects the levels: `reset(seed=s)` plays
    minigrid's level `envs.level_seed(split, s)`, and the two splits share no level seed. (A task with a single layout,
    such as Empty-8x8, is the same in both.)

    Actions: Discrete(7): 0 left, 1 right, 2 forward, 3 pick up, 4 drop, 5 toggle (open), 6 done. The Dynamic-Obstacles
    tasks have only the first three.

    Observations, depending on `observation`:
      symbolic       `symbolic` uint8 (7, 7, 3): the cells in front of the agent. The agent is in the middle of the
                     last row, facing up. Channels are object type, colour and state in minigrid's numbering; unseen
                     cells are 0. A carried object is shown in the agent's cell.
      symbolic_full  `symbolic` uint8 (H, W, 3): the whole grid, rows first, with the agent as (agent, 0, direction),
                     and `carrying` int64 (2,): type and colour of the carried object, (1, 0) for none. The agent hides
                     what is under it (of importance only for an open door).
      rgb            `rgb` uint8 (7 tile_size, 7 tile_size, 3): the egocentric view as an image.
      rgb_full       `rgb` uint8 (H tile_size, W tile_size, 3): the whole grid as an image.
    All of them also have `direction`, 0 right, 1 down, 2 left, 3 up, and `mission`, int64 tokens of
    `embodia.envs.grid.mission`.

    Reward: 1 - 0.9 steps / max_steps on success, else 0. Dynamic-Obstacles gives -1 for a collision.

    Termination: as in minigrid (success, lava, a wrong object, ...). Truncation: after `max_steps`, by default
    minigrid's limit for the task.

    Scores so far, in `info["metrics"]` of every step: `success` (0 or 1), `return` (undiscounted) and `path_efficiency`
    (length of the expert's solution of this level divided by the steps taken, 0 on failure). If the agent is faster
    than the expert, or the expert fails, path_efficiency is 1. For Dynamic-Obstacles the reference is the shortest path
    without obstacles. `success` is the main score; higher is better in all.

    Args:
        task: minigrid's id of the task.
        observation: Kind of observation, see above.
        split: Set of levels.
        max_steps: Time limit in steps. None uses the task's default.
        tile_size: Size of a cell in rgb observations [pixels].
        levels: Number of levels of the train split that are played again and again: level s is level s modulo their
            number. None plays a new level in every episode, and so does the test split.
        engine: How N environments are stepped, see `embodia.envs.grid.native`. One environment is always minigrid's.
        level_workers: Number of processes of the native engine that make levels ahead.
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: If an option is invalid.
    """

    metadata = {  # noqa: RUF012 (Gymnasium's own form)
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "scores": {"success": "higher", "return": "higher", "path_efficiency": "higher"},
        "action_names": ("left", "right", "forward", "pick up", "drop", "toggle", "done"),
    }
    Options = GridOptions

    def __init__(
        self,
        task: str,
        observation: View = "symbolic",
        split: Split = "train",
        max_steps: int | None = None,
        tile_size: int = 8,
        levels: int | None = None,
        engine: EngineName = "native",
        level_workers: int = 0,
        render_mode: str | None = "rgb_array",
    ):
        _check_options(task, observation, split, max_steps, tile_size, render_mode)
        _check_engine(task, levels, engine, level_workers)
        self.task, self.observation, self.split, self.tile_size = task, observation, split, tile_size
        self.render_mode, self.max_steps = render_mode, None if max_steps is None else int(max_steps)
        self.levels, self.level_workers = levels if split == "train" else None, level_workers
        self._options = {} if self.max_steps is None else {"max_steps": self.max_steps}
        self.world = make_world(task, **self._options)
        self._views = SymbolicViews(self.world)
        self._mission_length = mission_length(task)
        self.observation_space: spaces.Dict = self._make_observation_space()  # type: ignore[assignment]
        self.action_space: spaces.Discrete = spaces.Discrete(int(self.world.action_space.n))  # type: ignore[assignment]
        self._expert: Expert | None = None
        self._solutions = Solutions(task, self._options)
        self._level: int | None = None  # seed of the level's generator; None before the first reset
        self._return = 0.0
        self._success = self._over = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start level `seed` of the split. Without a seed, sample a level with the environment's own generator."""
        super().reset(seed=seed)
        number = int(self.np_random.integers(SPLIT_SIZE)) if seed is None else seed
        self._level = level_seed(self.split, number if self.levels is None else number % self.levels)
        start_level(self.world, self._level)
        self._return, self._success, self._over = 0.0, False, False
        if self._expert is not None:
            self._expert.forget()
        return self._observe(), {"level": self._level_name(), "level_seed": self._level}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Run one step.

        Raises:
            ValueError: If the action is not in the action space.
            RuntimeError: If called before `reset` or after the last step.
        """
        if self._level is None or self._over:
            state = f"is over after {self.world.step_count} steps" if self._over else "has not started"
            raise RuntimeError(f"embodia/{self.task}: the episode {state}; call reset before step")
        if not self.action_space.contains(action):
            raise ValueError(
                f"embodia/{self.task}, level {self._level}, step {self.world.step_count}: action {action!r} is not in "
                f"{self.action_space}; give an integer"
            )
        action = int(action)
        if self._expert is not None:
            self._expert.before_step(action)
        _, reward, terminated, truncated, _ = self.world.step(action)
        reward = float(reward)
        self._return += reward
        self._over = bool(terminated or truncated)
        self._success = terminated and reward > 0
        return self._observe(), reward, bool(terminated), bool(truncated), {"metrics": self.metrics()}

    def _level_name(self) -> str:
        """Return the level's name, made from its content: a task with one layout has one level, whatever the seed."""
        return level_name(self.task, self.world, self._views.full(), self._level)

    def metrics(self) -> dict[str, float]:
        """Return the scores of the episode so far."""
        efficiency = 0.0
        if self._success:
            steps = self.world.step_count
            efficiency = self._solutions.length(None, self._level, at_most=steps) / steps
        return {"success": float(self._success), "return": self._return, "path_efficiency": efficiency}

    def expert_action(self) -> int:
        """Return the expert's action in the current state. Raises NoExpert for tasks of `expert.NO_EXPERT`."""
        self._need_level("expert_action")
        if self._expert is None:
            self._expert = make_expert(self.task, self.world)
        return self._expert.action()

    def get_state(self) -> State:
        """Return a snapshot of the level, both random generators, the return so far, and the expert's memory."""
        self._need_level("get_state")
        return {
            "task": self.task,
            "level": self._level,
            "return": self._return,
            "success": self._success,
            "over": self._over,
            "world": save_world(self.world, None if self._expert is None else self._expert.bot()),
            "expert": None if self._expert is None else self._expert.memory(),
            "generator": self.np_random.bit_generator.state,
        }

    def set_state(self, state: State) -> Observation:
        """Restore a snapshot. Raises ValueError if it is from another task."""
        if state.get("task") != self.task:
            raise ValueError(f"embodia/{self.task}: this state was taken from {state.get('task')!r}")
        self._level, self._return, self._over = state["level"], state["return"], state["over"]
        self._success = state.get("success", False)
        bot = load_world(self.world, state["world"])
        self.np_random.bit_generator.state = state["generator"]
        self._expert = None
        if state["expert"] is not None:
            self._expert = make_expert(self.task, self.world)
            self._expert.restore(state["expert"], bot)
        return self._observe()

    def render(self) -> NDArray[np.uint8]:
        """Return an image (H, W, 3) of the agent's view next to the whole map; both sides are even."""
        self._need_level("render")
        return draw.beside(self._views)

    def _observe(self) -> Observation:
        observation: Observation = {
            "direction": np.int64(self.world.agent_dir),  # type: ignore[dict-item]
            "mission": encode_mission(self.world.mission, self._mission_length),
        }
        if self.observation == "symbolic":
            observation["symbolic"] = self._views.egocentric()
        elif self.observation == "symbolic_full":
            observation["symbolic"] = self._views.full()
            observation["carrying"] = np.array(carried_code(self.world)[:2], np.int64)
        elif self.observation == "rgb":
            observation["rgb"] = draw.egocentric(self._views, self.tile_size)
        else:
            observation["rgb"] = draw.full(self._views, self.tile_size)
        return observation

    def _make_observation_space(self) -> spaces.Dict:
        size = self.world.agent_view_size
        height, width = (self.world.height, self.world.width) if self.observation.endswith("full") else (size, size)
        parts: dict[str, spaces.Space[Any]] = {
            "direction": spaces.Discrete(4),
            "mission": spaces.Box(0, len(WORDS) - 1, (self._mission_length,), np.int64),
        }
        if self.observation.startswith("symbolic"):
            high = np.broadcast_to(np.array(HIGHEST_CODE, np.uint8), (height, width, 3))
            parts["symbolic"] = spaces.Box(np.zeros_like(high), high.copy(), dtype=np.uint8)
        else:
            parts["rgb"] = spaces.Box(0, 255, (height * self.tile_size, width * self.tile_size, 3), np.uint8)
        if self.observation == "symbolic_full":
            parts["carrying"] = spaces.Box(np.zeros(2, np.int64), np.array(HIGHEST_CODE[:2], np.int64), dtype=np.int64)
        return spaces.Dict(parts)

    def _need_level(self, what: str) -> None:
        if self._level is None:
            raise RuntimeError(f"embodia/{self.task}: {what} before reset; call reset first")


def _check_engine(task: str, levels: int | None, engine: str, level_workers: int) -> None:
    if engine not in get_args(EngineName):
        raise ValueError(f"embodia/{task}: engine={engine!r}; choose native or official")
    if levels is not None and not 1 <= levels <= SPLIT_SIZE:
        raise ValueError(f"embodia/{task}: levels={levels}; give 1 to {SPLIT_SIZE}, or None for a new level every time")
    if level_workers < 0:
        raise ValueError(f"embodia/{task}: level_workers={level_workers}; give 0 or more")


def _check_options(
    task: str, observation: str, split: str, max_steps: int | None, tile_size: int, render_mode: str | None
) -> None:
    if task not in MINIGRID_IDS:
        near = ", ".join(name.removeprefix("embodia/") for name in nearest_ids(task, among=GRID_IDS))
        raise ValueError(f"GridEnv: unknown minigrid task {task!r}; nearest: {near or 'none'}")
    if observation not in VIEWS:
        raise ValueError(f"embodia/{task}: observation={observation!r}; choose one of {', '.join(VIEWS)}")
    if split not in ("train", "test"):
        raise ValueError(f"embodia/{task}: split={split!r}; choose train or test")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"embodia/{task}: max_steps={max_steps}; give at least 1")
    if tile_size < 1:
        raise ValueError(f"embodia/{task}: tile_size={tile_size} [pixels]; give at least 1")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"embodia/{task}: render_mode={render_mode!r}; only 'rgb_array' is supported")

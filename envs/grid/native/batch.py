"""N grids as one `gymnasium.vector.VectorEnv`, stepped in one compiled call."""

import warnings
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from minigrid.envs.babyai.core import verifier
from numpy.typing import NDArray

from embodia.envs import Info, Observation, State
from embodia.envs.grid import draw
from embodia.envs.grid.env import GridEnv
from embodia.envs.grid.native import rules
from embodia.envs.grid.native.arrays import Array, Levels, stack, widen, write
from embodia.envs.grid.native.draws import Draws
from embodia.envs.grid.native.levels import board_of, known_rule, rule_of
from embodia.envs.grid.native.mirror import Mirrors
from embodia.envs.grid.native.pool import NewLevels, Pool, PooledLevels, Recipe
from embodia.envs.grid.native.views import Views
from embodia.envs.grid.options import EngineName
from embodia.envs.grid.shortest import Solutions
from embodia.envs.grid.snapshot import save_world
from embodia.envs.grid.symbolic import SymbolicViews
from embodia.envs.vector import SyncVector, reset_arguments


def make_grids(num_envs: int = 1, *, task: str, engine: EngineName = "native", **options: Any) -> VectorEnv:
    """Create N environments of one task; the options are `GridEnv`'s.

    The native engine steps them if it knows the task's rules. If not, one warning says why, and minigrid's own
    environments are stepped one after another.
    """
    if engine == "native":
        single = GridEnv(task, **options)
        reason = why_official(single.world)
        if reason is None:
            return GridVectorEnv(num_envs, single)
        warnings.warn(f"embodia/{task} runs on the official engine: {reason}", stacklevel=2)
    return SyncVector([partial(gym.make, f"embodia/{task}", engine="official", **options)] * num_envs)


def why_official(world: Any) -> str | None:
    """Return why the native engine cannot step an environment, or None if it can."""
    if rule_of(world) is None:
        return f"it does not know the rules of {type(world).step.__qualname__}"
    if rule_of(world) == rules.INSTRUCTED and verifier.use_done_actions:
        return "BABYAI_DONE_ACTIONS is set, and it ends instructions without the action done"
    return None


class GridVectorEnv(VectorEnv[Any, Any, Any]):
    """N grids, stepped in one compiled call; the spec sheet is `GridEnv`'s.

    Next-step autoreset. Every world plays the episodes that a `GridEnv` of its seed plays, bit for bit.

    Args:
        num_envs: Number of environments.
        single: An environment with the task and options of all.
    """

    def __init__(self, num_envs: int, single: GridEnv):
        self.num_envs, self.single = num_envs, single
        self.task, self.split, self.render_mode = single.task, single.split, single.render_mode
        self.metadata = {**GridEnv.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        self.observation_space = batch_space(single.observation_space, num_envs)
        self.action_space = batch_space(single.action_space, num_envs)
        self.board, self.rule = board_of(single.world), known_rule(single.world)
        self.views = Views(single, self.board)
        self.recipe = Recipe(single.task, single.max_steps)
        self.solutions = Solutions(single.task, self.recipe.options())
        self.worlds: Levels | None = None
        self.mirrors = Mirrors(num_envs, single.task, self.recipe.options())
        self.draws = Draws(num_envs, single.levels, single.split)
        self.level_seeds = np.zeros(num_envs, np.int64)
        self.names: Array = np.full(num_envs, None, object)
        self.returns = np.zeros(num_envs)
        self.success, self.over = np.zeros(num_envs, bool), np.zeros(num_envs, bool)

    @cached_property
    def source(self) -> NewLevels | PooledLevels:
        """Where the levels come from; a pool is loaded when the first episode begins."""
        levels, workers = self.single.levels, self.single.level_workers
        if levels is None:
            return NewLevels(self.recipe, workers)
        return PooledLevels(Pool(self.recipe, self.split, levels), workers)

    # --- episodes

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start level `seed` (+ world) of the split, or the next of each world's own generator.

        `options={"reset_mask": (N,) bool}` restarts only those worlds.
        """
        seeds, _, mask = reset_arguments(self.num_envs, seed, options)
        if self.worlds is None and not all(mask):
            raise RuntimeError(f"embodia/{self.task}: the first reset must start every world; leave reset_mask out")
        numbers = np.flatnonzero(mask)
        self._begin(numbers, [seeds[i] for i in numbers])
        return self._observe(), self._start_info(numbers)

    def _begin(self, numbers: Array, seeds: Sequence[int | None]) -> None:
        levels = [self.draws.next(i, seed) for i, seed in zip(numbers.tolist(), seeds)]
        self.level_seeds[numbers] = levels
        self._load(numbers, levels)
        self.returns[numbers], self.success[numbers], self.over[numbers] = 0.0, False, False
        for i in numbers.tolist():
            self.mirrors.forget(i)
            if isinstance(self.source, NewLevels) and self.source.executor is not None:
                self.source.ahead(self.draws.peek(i))

    def _load(self, numbers: Array, seeds: Sequence[int]) -> None:
        """Put worlds at the beginning of levels."""
        if isinstance(self.source, PooledLevels):
            rows, (source, names) = self.source.rows(seeds), self.source.made
        else:
            rows, (source, names) = np.arange(len(seeds)), self.source.get(seeds)
        self._write(numbers, source, rows)
        self.names[numbers] = [names[row] for row in rows.tolist()]

    def _write(self, numbers: Array, source: Levels, rows: Array) -> None:
        """Copy rows of `source` into worlds, whose arrays grow if they are too short."""
        if self.worlds is None:
            self.worlds = Levels(*(np.repeat(part[:1], self.num_envs, axis=0) for part in source))
        self.worlds = widen(self.worlds, source)
        write(self.worlds, numbers, widen(source, self.worlds), rows)

    # --- steps

    def step(self, actions: Any) -> tuple[Observation, Array, Array, Array, Info]:
        """Run one step of every world, or start its next episode if the last one is over.

        Raises:
            ValueError: If the actions have another shape or are not in the action space.
            RuntimeError: If called before `reset`.
        """
        worlds, chosen = self._started("step"), self._checked(actions)
        fresh = np.flatnonzero(self.over)
        self.mirrors.before_step(chosen, self.over)
        reward, terminated, truncated = rules.step(worlds, self.board, self.rule, chosen, self.over)
        self.returns += reward
        self.success = terminated & (reward > 0)
        self.over = terminated | truncated
        info: Info = {}
        if len(fresh):
            self._begin(fresh, [None] * len(fresh))
            info = self._start_info(fresh)
        if self.over.any():
            info["metrics"], info["_metrics"] = self._metrics(), self.over.copy()
        return self._observe(), reward, terminated, truncated, info

    def _checked(self, actions: Any) -> Array:
        array = np.asarray(actions)
        if array.shape != (self.num_envs,):
            raise ValueError(
                f"embodia/{self.task}: actions have shape {array.shape}; {self.num_envs} worlds need ({self.num_envs},)"
            )
        count = int(self.single_action_space.n)  # type: ignore[attr-defined]
        wrong = ~((array >= 0) & (array < count)) & ~self.over if array.dtype.kind in "iu" else ~self.over
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"embodia/{self.task}, world {i}, level {self.level_seeds[i]}: action {array[i]!r} is not in "
                f"{self.single_action_space}; give an integer"
            )
        return array.astype(np.int64)

    def _started(self, what: str) -> Levels:
        if self.worlds is None:
            raise RuntimeError(f"embodia/{self.task}: {what} before reset; call reset first")
        return self.worlds

    def _start_info(self, numbers: Array) -> Info:
        begun = np.zeros(self.num_envs, bool)
        begun[numbers] = True
        names, seeds = np.full(self.num_envs, None, object), np.where(begun, self.level_seeds, 0)
        names[numbers] = self.names[numbers]
        return {"level": names, "_level": begun, "level_seed": seeds, "_level_seed": begun.copy()}

    def _metrics(self) -> dict[str, Array]:
        """Return the scores (N,) of the episodes that have just ended, in Gymnasium's layout."""
        over, efficiency = self.over, np.zeros(self.num_envs)
        steps = self._started("metrics").steps
        for i in np.flatnonzero(self.success).tolist():
            shortest = self.solutions.length(self.names[i], int(self.level_seeds[i]), at_most=int(steps[i]))
            efficiency[i] = shortest / int(steps[i])
        scores = {
            "success": self.success.astype(float),
            "return": np.where(over, self.returns, 0.0),
            "path_efficiency": efficiency,
        }
        return scores | {f"_{name}": over.copy() for name in scores}

    def _observe(self) -> Observation:
        return self.views.see(self._started("observations"))

    # --- experts and pictures

    def expert_action(self) -> Array:
        """Return the experts' actions (N,); 0 where an episode is over. Raises NoExpert if the task has none."""
        actions = np.zeros(self.num_envs, np.int64)
        for i in np.flatnonzero(~self.over).tolist():
            self._mirror(i)
            actions[i] = self.mirrors.expert(i).action()
        return actions

    def _mirror(self, i: int) -> Any:
        """Return minigrid's environment in the state of world i."""
        return self.mirrors.mirror(i, int(self.level_seeds[i])).follow(self._started("expert_action"), i)

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Return one image (H, W, 3) per world: the agent's view next to the whole map."""
        self._started("render")
        return tuple(draw.beside(SymbolicViews(self._mirror(i))) for i in range(self.num_envs))

    # --- snapshots

    def get_state(self) -> State:
        """Return an exact snapshot. Worlds with an expert are saved as `GridEnv` saves them."""
        worlds = self._started("get_state")
        official = [self._official(i) if self.mirrors.is_needed(i) else None for i in range(self.num_envs)]
        return {
            "task": self.task,
            "arrays": {name: part.copy() for name, part in worlds._asdict().items()},
            "level_seeds": self.level_seeds.copy(),
            "names": list(self.names),
            "return": self.returns.copy(),
            "success": self.success.copy(),
            "over": self.over.copy(),
            "generators": self.draws.states(),
            "official": official,
        }

    def set_state(self, state: State) -> Observation:
        """Restore a snapshot of this engine or, from a run with it, of the official one.

        Raises:
            ValueError: If it is of another task or number of worlds.
        """
        if "arrays" not in state:
            return self._set_official(state)
        if state["task"] != self.task or len(state["over"]) != self.num_envs:
            raise ValueError(
                f"embodia/{self.task}: a snapshot of {len(state['over'])} worlds of {state['task']} cannot be set on "
                f"{self.num_envs}"
            )
        self.worlds = None
        self._write(np.arange(self.num_envs), Levels(**state["arrays"]), np.arange(self.num_envs))
        self.level_seeds, self.names = state["level_seeds"].copy(), np.array(state["names"], object)
        self.returns, self.success, self.over = (state[key].copy() for key in ("return", "success", "over"))
        self.draws.restore(state["generators"])
        for i, official in enumerate(state["official"]):
            self.mirrors.forget(i, entirely=True)
            if official is not None:
                self._restore(i, official)
        return self._observe()

    def _set_official(self, state: State) -> Observation:
        """Restore a snapshot of `SyncVector`."""
        states = [each["world"] for each in state["worlds"]]
        if len(states) != self.num_envs or any(each["task"] != self.task for each in states):
            raise ValueError(
                f"embodia/{self.task}: a snapshot of {len(states)} worlds of {states[0]['task']} cannot be set on "
                f"{self.num_envs}"
            )
        self.draws.restore([each["generator"] for each in states])
        for i, (each, around) in enumerate(zip(states, state["worlds"])):
            self.mirrors.forget(i, entirely=True)
            self._restore(i, each)
            self.level_seeds[i], self.names[i] = each["level"], None
            self.returns[i], self.success[i], self.over[i] = each["return"], each.get("success", False), around["over"]
        return self._observe()

    def snapshots(self) -> list[State | None]:
        """Return each world's snapshot, as `GridEnv` takes it; None where an episode is over."""
        return [None if self.over[i] else self._official(i) for i in range(self.num_envs)]

    def _official(self, i: int) -> State:
        """Return the state of world i as `GridEnv.get_state` does."""
        world, expert = self._mirror(i), self.mirrors.experts[i]
        return {
            "task": self.task,
            "level": int(self.level_seeds[i]),
            "return": float(self.returns[i]),
            "success": bool(self.success[i]),
            "over": bool(self.over[i]),
            "world": save_world(world, None if expert is None else expert.bot()),
            "expert": None if expert is None else expert.memory(),
            "generator": self.draws.state(i),
        }

    def _restore(self, i: int, state: State) -> None:
        """Restore the state of world i from what `GridEnv.get_state` returned."""
        level = self.mirrors.restore(i, state)
        self._write(np.array([i]), stack([level.arrays]), np.array([0]))

    def close_extras(self, **kwargs: Any) -> None:
        if isinstance(self.__dict__.get("source"), NewLevels):
            self.source.close()  # type: ignore[union-attr]

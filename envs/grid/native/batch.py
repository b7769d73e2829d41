"""N grids as one `gymnasium.vector.VectorEnv`, stepped in one compiled call."""

import copy
import warnings
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from minigrid.envs.babyai.core import verifier
from numpy.typing import NDArray

from embodia.envs import SPLIT_SIZE, Info, Observation, Split, State, level_seed
from embodia.envs.grid import draw
from embodia.envs.grid.env import GridEnv
from embodia.envs.grid.expert import Expert, make_expert
from embodia.envs.grid.mission import mission_length
from embodia.envs.grid.native import observations, rules
from embodia.envs.grid.native.arrays import Array, Levels, stack, widen, write
from embodia.envs.grid.native.cells import Board
from embodia.envs.grid.native.levels import Level, board_of, compile_level, rule_of
from embodia.envs.grid.native.mirror import Mirror
from embodia.envs.grid.native.pool import NewLevels, Pool, PooledLevels, Recipe
from embodia.envs.grid.options import EngineName
from embodia.envs.grid.shortest import Solutions
from embodia.envs.grid.snapshot import load_world, save_world
from embodia.envs.grid.symbolic import SymbolicViews
from embodia.envs.grid.world import make_world, start_level
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
        self.board, self.rule = board_of(single.world), rule_of(single.world)
        self.eyes = Eyes(single, self.board)
        self.recipe = Recipe(single.task, single.max_steps)
        self.solutions = Solutions(single.task, self.recipe.options())
        self.worlds: Levels | None = None
        self.characters = Characters(num_envs, single.task, self.recipe)
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
            self.characters.forget(i)
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
        self.characters.before_step(chosen, self.over)
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
        return self.eyes.see(self._started("observations"))

    # --- experts and pictures

    def expert_action(self) -> Array:
        """Return the experts' actions (N,); 0 where an episode is over. Raises NoExpert if the task has none."""
        actions = np.zeros(self.num_envs, np.int64)
        for i in np.flatnonzero(~self.over).tolist():
            self._mirror(i)
            actions[i] = self.characters.expert(i).action()
        return actions

    def _mirror(self, i: int) -> Any:
        """Return minigrid's environment in the state of world i."""
        return self.characters.mirror(i, int(self.level_seeds[i])).follow(self._started("expert_action"), i)

    def render(self) -> tuple[NDArray[np.uint8], ...]:
        """Return one image (H, W, 3) per world: the agent's view next to the whole map."""
        self._started("render")
        return tuple(draw.beside(SymbolicViews(self._mirror(i))) for i in range(self.num_envs))

    # --- snapshots

    def get_state(self) -> State:
        """Return an exact snapshot. Worlds with an expert are saved as `GridEnv` saves them."""
        worlds = self._started("get_state")
        official = [self._official(i) if self.characters.is_needed(i) else None for i in range(self.num_envs)]
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
            self.characters.forget(i, entirely=True)
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
            self.characters.forget(i, entirely=True)
            self._restore(i, each)
            self.level_seeds[i], self.names[i] = each["level"], None
            self.returns[i], self.success[i], self.over[i] = each["return"], each["success"], around["over"]
        return self._observe()

    def snapshots(self) -> list[State | None]:
        """Return each world's snapshot, as `GridEnv` takes it; None where an episode is over."""
        return [None if self.over[i] else self._official(i) for i in range(self.num_envs)]

    def _official(self, i: int) -> State:
        """Return the state of world i as `GridEnv.get_state` does."""
        world, expert = self._mirror(i), self.characters.experts[i]
        return {
            "task": self.task,
            "level": int(self.level_seeds[i]),
            "return": float(self.returns[i]),
            "success": bool(self.success[i]),
            "over": bool(self.over[i]),
            "world": save_world(world, None if expert is None else expert.bot()),
            "expert": None if expert is None else expert.memory(),
            "generator": self.draws.states()[i],
        }

    def _restore(self, i: int, state: State) -> None:
        """Restore the state of world i from what `GridEnv.get_state` returned."""
        level = self.characters.restore(i, state)
        self._write(np.array([i]), stack([level.arrays]), np.array([0]))

    def close_extras(self, **kwargs: Any) -> None:
        if isinstance(self.__dict__.get("source"), NewLevels):
            self.source.close()  # type: ignore[union-attr]


class Eyes:
    """Makes the observations of a batch.

    Args:
        single: An environment with the options of all.
        board: Size of the map.
    """

    def __init__(self, single: GridEnv, board: Board):
        self.kind, self.board = single.observation, board
        self.space = single.observation_space
        self.sight = observations.sight_table(single.world.agent_view_size, single.world.see_through_walls)
        self.atlas = observations.Atlas(single.tile_size) if single.observation.startswith("rgb") else None

    def see(self, worlds: Levels) -> Observation:
        """Return new arrays of all keys, each (N, ...)."""
        found = {"direction": worlds.direction.copy(), "mission": worlds.mission.copy()}
        found |= self._pictures(worlds) if self.atlas else self._symbols(worlds)
        return {key: found[key] for key in self.space}

    def _empty(self, worlds: Levels, key: str) -> Array:
        space = self.space[key]
        return np.empty((len(worlds.at), *(space.shape or ())), space.dtype)

    def _symbols(self, worlds: Levels) -> Observation:
        symbols = self._empty(worlds, "symbolic")
        if self.kind == "symbolic":
            observations.symbolic(worlds, self.board.row, self.sight, symbols)
            return {"symbolic": symbols}
        carrying = self._empty(worlds, "carrying")
        observations.symbolic_full(worlds, self.board.row, self.board.margin, symbols, carrying)
        return {"symbolic": symbols, "carrying": carrying}

    def _pictures(self, worlds: Levels) -> Observation:
        assert self.atlas is not None
        row, margin, count = self.board.row, self.board.margin, len(worlds.at)
        if self.kind == "rgb":
            numbers = np.empty((count, margin + 1, margin + 1), np.uint16)
            observations.tiles(worlds, row, self.sight, numbers)
        else:
            numbers = np.empty((count, self.board.height, self.board.width), np.uint16)
            observations.tiles_full(worlds, row, margin, self.sight, numbers)
        image = self._empty(worlds, "rgb")
        self.atlas.paint(numbers, image)
        return {"rgb": image}


class Draws:
    """The levels that each world plays next: those of `GridEnv`'s generator.

    Args:
        num_envs: Number of worlds.
        levels: Number of levels that are played again and again, or None.
        split: Split of the levels.
    """

    def __init__(self, num_envs: int, levels: int | None, split: Split):
        self.levels, self.split = levels, split
        self.generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self.drawn: list[tuple[State, int] | None] = [None] * num_envs  # ahead: the state before, and the level

    def next(self, i: int, seed: int | None) -> int:
        """Return the generator seed of world i's next level: that of `seed`, or a sampled one."""
        ahead, self.drawn[i] = self.drawn[i], None
        if seed is not None:
            self.generators[i] = seeding.np_random(seed)[0]
            return self._level(seed)
        return self._sample(i) if ahead is None else ahead[1]

    def peek(self, i: int) -> int:
        """Return the level that world i plays next if it is not given a seed."""
        ahead = self.drawn[i]
        if ahead is None:
            before = self._state(i)
            ahead = self.drawn[i] = before, self._sample(i)
        return ahead[1]

    def _sample(self, i: int) -> int:
        return self._level(int(self.generators[i].integers(SPLIT_SIZE)))

    def _level(self, number: int) -> int:
        return level_seed(self.split, number if self.levels is None else number % self.levels)

    def states(self) -> list[State]:
        """Return the states of all generators."""
        return [self._state(i) if ahead is None else ahead[0] for i, ahead in enumerate(self.drawn)]

    def _state(self, i: int) -> State:
        return dict(copy.deepcopy(self.generators[i].bit_generator.state))

    def restore(self, states: Sequence[State]) -> None:
        self.drawn = [None] * len(states)
        for each, state in zip(self.generators, states):
            each.bit_generator.state = state


class Characters:
    """minigrid's environments and the experts of those worlds that need them.

    Args:
        num_envs: Number of worlds.
        task: minigrid's id.
        recipe: Options of minigrid's environment.
    """

    def __init__(self, num_envs: int, task: str, recipe: Recipe):
        self.task, self.recipe, self.length = task, recipe, mission_length(task)
        self.own: list[Any] = [None] * num_envs  # minigrid's environment of each world
        self.mirrors: list[Mirror | None] = [None] * num_envs  # it, if it plays the present level
        self.experts: list[Expert | None] = [None] * num_envs
        self.playing = False  # whether there is an expert
        self.loaded = [False] * num_envs  # the level began elsewhere, so that its things are numbered otherwise

    def forget(self, i: int, entirely: bool = False) -> None:
        """Forget world i's episode, and with `entirely` its expert."""
        self.mirrors[i], self.loaded[i] = None, False
        expert = self.experts[i]
        if entirely:
            self.experts[i] = None
        elif expert is not None:
            expert.forget()

    def is_needed(self, i: int) -> bool:
        """Return whether world i's state is more than its arrays."""
        return self.loaded[i] or self.experts[i] is not None

    def mirror(self, i: int, seed: int) -> Mirror:
        """Return the mirror of world i, which plays the level of a generator seed."""
        mirror = self.mirrors[i]
        if mirror is None:
            world = self._world(i)
            start_level(world, seed)
            mirror = self.mirrors[i] = Mirror(world, compile_level(self.task, world, seed, self.length))
        return mirror

    def _world(self, i: int) -> Any:
        if self.own[i] is None:
            self.own[i] = make_world(self.task, **self.recipe.options())
        return self.own[i]

    def expert(self, i: int) -> Expert:
        """Return the expert of world i. Raises NoExpert if the task has none."""
        expert = self.experts[i]
        if expert is None:
            expert = self.experts[i] = make_expert(self.task, self._world(i))
            self.playing = True
        return expert

    def before_step(self, actions: Array, over: Array) -> None:
        """Tell the experts which actions are about to be taken."""
        if not self.playing:
            return
        for expert, action, ended in zip(self.experts, actions, over):
            if expert is not None and not ended:
                expert.before_step(int(action))

    def restore(self, i: int, state: State) -> Level:
        """Restore world i from what `GridEnv.get_state` returned; return it as a level."""
        world = self._world(i)
        start_level(world, state["level"])
        bot = load_world(world, state["world"])
        level = compile_level(self.task, world, state["level"], self.length)
        self.mirrors[i], self.loaded[i] = Mirror(world, level), True
        if state["expert"] is not None:
            self.expert(i).restore(state["expert"], bot)
        return level

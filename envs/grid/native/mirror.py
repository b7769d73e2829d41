"""Worlds of a batch as minigrid's own environments: for experts, pictures and snapshots."""

from typing import Any

import numpy as np
from minigrid.core.world_object import Door

from embodia.envs import State
from embodia.envs.grid.expert import Expert, make_expert
from embodia.envs.grid.mission import mission_length
from embodia.envs.grid.native import instructions, pcg64, rules
from embodia.envs.grid.native.arrays import Array, Levels
from embodia.envs.grid.native.cells import HELD, LOCKED
from embodia.envs.grid.native.instructions import BEFORE, FIRST_DONE
from embodia.envs.grid.native.levels import Level, board_of, compile_level, rule_of
from embodia.envs.grid.snapshot import load_world
from embodia.envs.grid.world import make_world, start_level


class Mirror:
    """A minigrid environment that follows one world of a batch.

    Args:
        world: minigrid's environment in the state from which `level` was compiled.
        level: The compiled level.
    """

    def __init__(self, world: Any, level: Level):
        self.world, self.things = world, level.things
        self.board, self.rule = board_of(world), rule_of(world)

    def follow(self, worlds: Levels, i: int) -> Any:
        """Put the environment into the state of world i, and return it."""
        world, board = self.world, self.board
        self._place_things(worlds, i)
        world.agent_pos = board.place(worlds.at[i])
        world.agent_dir, world.step_count = int(worlds.direction[i]), int(worlds.steps[i])
        world.carrying = self._thing(worlds.carried[i])
        if self.rule == rules.DODGE:
            world.np_random.bit_generator.state = pcg64.state_of(worlds.generator[i])
        if self.rule == rules.INSTRUCTED:
            self._follow_instruction(worlds, i)
        return world

    def _thing(self, number: Any) -> Any:
        return None if number < 0 else self.things[number]

    def _place_things(self, worlds: Levels, i: int) -> None:
        grid, known = self.world.grid.grid, {id(thing) for thing in self.things}
        for place, thing in enumerate(grid):
            if thing is not None and id(thing) in known:
                grid[place] = None
        numbers = self.board.inner(worlds.things[i]).ravel()
        for place in np.flatnonzero(numbers >= 0).tolist():
            grid[place] = self.things[numbers[place]]
        for thing, code, place in zip(self.things, worlds.kinds[i].tolist(), worlds.places[i].tolist()):
            if isinstance(thing, Door):
                thing.is_open, thing.is_locked = code >> 7 & 3 == 0, bool(code & LOCKED)
            if place == HELD:
                thing.cur_pos = np.array([-1, -1])  # type: ignore[assignment]
            elif place >= 0:
                thing.cur_pos = self.board.place(place)

    def _follow_instruction(self, worlds: Levels, i: int) -> None:
        table = worlds.clauses[i]
        done, before = table[:, instructions.DONE] != 0, [self._thing(k) for k in table[:, BEFORE]]
        first = bool(worlds.order[i, FIRST_DONE])
        instructions.restore(self.world.instrs, first, done.tolist(), before)
        for k, clause, _ in instructions.clauses(self.world.instrs):
            for d, description in enumerate(instructions.descriptions(clause), start=2 * k):
                seen = worlds.seen[i, d]
                description.obj_poss = [self.board.place(cell) for cell in seen[seen >= 0].tolist()]


class Mirrors:
    """minigrid's environments and the experts of those worlds that need them.

    Args:
        num_envs: Number of worlds.
        task: minigrid's id.
        options: Options of minigrid's environment.
    """

    def __init__(self, num_envs: int, task: str, options: dict[str, Any]):
        self.task, self.options, self.length = task, options, mission_length(task)
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
            self.own[i] = make_world(self.task, **self.options)
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

"""A world of the batch as minigrid's own environment: for experts, pictures and snapshots."""

from typing import Any

import numpy as np
from minigrid.core.world_object import Door

from embodia.envs.grid.native import instructions, pcg64, rules
from embodia.envs.grid.native.arrays import Levels
from embodia.envs.grid.native.cells import HELD, LOCKED
from embodia.envs.grid.native.instructions import BEFORE, FIRST_DONE
from embodia.envs.grid.native.levels import Level, board_of, rule_of


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

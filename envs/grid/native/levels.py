"""Levels as arrays: a minigrid environment in any state becomes one row of numbers.

A cell is a code (`cells`). Keys, balls, boxes and doors are also numbered things, because rules and instructions tell
two equal objects apart.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from minigrid.core.world_object import WorldObj

from embodia.envs.grid.mission import encode_mission
from embodia.envs.grid.native import cells, instructions, pcg64, rules
from embodia.envs.grid.native.arrays import Array
from embodia.envs.grid.native.cells import Board
from embodia.envs.grid.world import level_name

Index = Callable[[Any], int]


def _take(world: Any, index: Index, board: Board) -> list[int]:
    return [index(world.obj)]


def _fetch(world: Any, index: Index, board: Board) -> list[int]:
    return [_look(world.targetType, world.targetColor)]


def _go_beside(world: Any, index: Index, board: Board) -> list[int]:
    return [board.cell(world.target_pos)]


def _remember(world: Any, index: Index, board: Board) -> list[int]:
    return [board.cell(world.success_pos), board.cell(world.failure_pos)]


def _put_near(world: Any, index: Index, board: Board) -> list[int]:
    return [_look(world.move_type, world.moveColor), board.cell(world.target_pos)]


def _red_blue(world: Any, index: Index, board: Board) -> list[int]:
    return [index(world.red_door), index(world.blue_door)]


def _unlock(world: Any, index: Index, board: Board) -> list[int]:
    return [index(world.door)]


def _dodge(world: Any, index: Index, board: Board) -> list[int]:
    for obstacle in world.obstacles:  # the first calls of `index`: obstacle k is thing k
        index(obstacle)
    return [len(world.obstacles)]


TARGETS: dict[int, Callable[[Any, Index, Board], list[int]]] = {
    rules.TAKE: _take,
    rules.FETCH: _fetch,
    rules.GO_BESIDE: _go_beside,
    rules.REMEMBER: _remember,
    rules.PUT_NEAR: _put_near,
    rules.RED_BLUE: _red_blue,
    rules.UNLOCK: _unlock,
    rules.DODGE: _dodge,
}
"""For each rule, the function that reads its parameters from an environment."""


def _look(kind: str, colour: str) -> int:
    return cells.OBJECT_TO_IDX[kind] | cells.COLOR_TO_IDX[colour] << 4


def rule_of(world: Any) -> int | None:
    """Return the rule of an environment, or None if its step is none of minigrid's."""
    return rules.RULES.get(type(world).step)


def known_rule(world: Any) -> int:
    """Return the rule of an environment whose rule is known."""
    rule = rule_of(world)
    assert rule is not None
    return rule


def board_of(world: Any) -> Board:
    """Return the size of an environment's map."""
    return Board(world.height, world.width, world.agent_view_size - 1)


class Level(NamedTuple):
    """One compiled level."""

    arrays: dict[str, Array]
    """A row of `Levels`, by the names of its arrays."""
    things: list[WorldObj]
    """The numbered things."""
    name: str
    """`info["level"]`."""


def compile_level(task: str, world: Any, seed: int, mission_length: int) -> Level:
    """Compile a minigrid environment in its present state."""
    board, rule = board_of(world), rule_of(world)
    things = _Things()
    row = {"target": np.zeros(2, np.int64), "generator": np.zeros(6, np.uint64)}
    if rule in TARGETS:
        found = TARGETS[rule](world, things.index, board)
        row["target"][: len(found)] = found
    if rule == rules.DODGE:
        row["generator"][:] = pcg64.words(world.np_random.bit_generator.state)
    row |= _instruction(world if rule == rules.INSTRUCTED else None, things.index, board)
    row |= _map(world, things, board)
    carried = -1 if world.carrying is None else things.index(world.carrying)
    row |= _things(things, board, carried)
    numbers = {
        "at": board.cell(world.agent_pos),
        "direction": world.agent_dir,
        "carried": carried,
        "steps": world.step_count,
        "max_steps": world.max_steps,
    }
    row |= {name: np.int64(number) for name, number in numbers.items()}  # type: ignore[misc]
    row["mission"] = encode_mission(world.mission, mission_length)
    full = cells.symbols(board.inner(row["codes"]))
    x, y = world.agent_pos
    full[y, x] = (cells.AGENT, 0, world.agent_dir)
    return Level(row, things.found, level_name(task, world, full, seed))


class _Things:
    """Numbers the objects of a level in the order in which they are met."""

    def __init__(self) -> None:
        self.found: list[WorldObj] = []
        self.numbers: dict[int, int] = {}

    def index(self, thing: WorldObj) -> int:
        """Return the number of an object; it gets one if it has none, and so does what is inside it."""
        number = self.numbers.get(id(thing))
        if number is None:
            number = self.numbers[id(thing)] = len(self.found)
            self.found.append(thing)
            if thing.contains is not None:
                self.index(thing.contains)
        return number


def _map(world: Any, things: _Things, board: Board) -> dict[str, Array]:
    codes, numbers = np.full(board.size, cells.EDGE, np.uint16), np.full(board.size, -1, np.int16)
    content = world.grid.grid
    look = {id(None): cells.EMPTY}
    board.inner(codes)[:] = np.reshape([_code(each, look) for each in content], (board.height, board.width))
    where = board.inner(numbers)
    for place, each in enumerate(content):
        if each is not None and (each.type in MOVING or id(each) in things.numbers):
            where[divmod(place, board.width)] = things.index(each)
    return {"codes": codes, "things": numbers}


MOVING = ("key", "ball", "box", "door")


def _code(thing: WorldObj | None, known: dict[int, int]) -> int:
    """Return a cell's code; `known` keeps those of objects that fill many cells."""
    found = known.get(id(thing))
    if found is None:
        found = known[id(thing)] = cells.EDGE if thing.type == "wall" and thing.color == "grey" else cells.code(thing)  # type: ignore[union-attr]
    return found


def _things(things: _Things, board: Board, carried: int) -> dict[str, Array]:
    kinds, places, inside = [], [], []
    for thing in things.found:
        place = thing.cur_pos
        kinds.append(cells.code(thing))
        places.append(cells.UNPLACED if place is None else cells.HELD if place[0] < 0 else board.cell(place))
        inside.append(-1 if thing.contains is None else things.index(thing.contains))
    return {
        "kinds": np.array(kinds, np.uint16),
        "places": np.array(places, np.int16),
        "inside": np.array(inside, np.int16),
    }


def _instruction(world: Any, index: Index, board: Board) -> dict[str, Array]:
    """Compile BabyAI's instruction; None for other tasks."""
    order = np.zeros(2, np.int16)
    if world is None:
        empty = np.zeros((0, 0), np.int16)
        return {"clauses": np.zeros((0, 4), np.int16), "order": order, "described": empty, "seen": empty}
    table = np.zeros((instructions.CLAUSES, 4), np.int16)
    described: list[list[int]] = [[] for _ in range(2 * instructions.CLAUSES)]
    seen: list[list[int]] = [[] for _ in described]
    for k, clause, both in instructions.clauses(world.instrs):
        before = getattr(clause, "preCarrying", None)
        done = both is not None and (both.b_done if k % 2 else both.a_done) == "success"
        strict = getattr(clause, "strict", False)
        table[k] = instructions.VERBS[type(clause)], strict, done, -1 if before is None else index(before)
        for d, description in enumerate(instructions.descriptions(clause), start=2 * k):
            described[d] = [index(thing) for thing in description.obj_set]
            seen[d] = [board.cell(place) for place in description.obj_poss]
    if len(instructions.parts(world.instrs)) == 2:
        order[:] = world.instrs.strict, instructions.first_done(world.instrs) == "success"
    width = max(len(row) for row in described + seen)
    return {"clauses": table, "order": order, "described": _rows(described, width), "seen": _rows(seen, width)}


def _rows(lists: Sequence[Sequence[int]], width: int) -> Array:
    return np.array([[*each, *[-1] * (width - len(each))] for each in lists], np.int16)

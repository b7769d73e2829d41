"""Exact search in a grid's own state space: A* over (pose, carried object, object cells, doors).

Every action costs one step. The heuristic is admissible (Hart, Nilsson & Raphael 1968), so plans are shortest.
"""

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

INFINITE = 10**6
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
OPEN, CLOSED, LOCKED = range(3)
NOTHING = -1
NOWHERE = -1
"""The cell of an object that is carried, hidden in a box, or gone."""


class GridState(NamedTuple):
    """Hashable state of a level. A pose is 4 * cell + direction; a cell is y * width + x."""

    pose: int
    carried: int  # index of an object, or -1
    objects: tuple[int, ...]  # cell of each object, or NOWHERE
    doors: tuple[int, ...]  # OPEN, CLOSED or LOCKED


class Model:
    """One level as a search problem: its static parts, and the effects of actions.

    Args:
        world: minigrid's environment.
        forbidden: Cells that are never entered, like lava.
        touch: The only objects that are moved or opened; None allows all.
    """

    def __init__(self, world: Any, forbidden: frozenset[int] = frozenset(), touch: list[Any] | None = None):
        self.world, self.width = world, world.width
        self.steps = (1, self.width, -1, -self.width)
        cells = world.grid.grid
        self.door_cells = [i for i, thing in enumerate(cells) if thing is not None and thing.type == "door"]
        self.door_things = [cells[i] for i in self.door_cells]
        self.door_at = {cell: k for k, cell in enumerate(self.door_cells)}
        self.things = _movable(cells, world.carrying, touch)
        self.index = {id(thing): k for k, thing in enumerate(self.things)}
        self.inside = {self.index[id(t)]: self.index[id(t.contains)] for t in self.things if t.contains is not None}
        self.sealed = {
            k
            for k, door in enumerate(self.door_things)
            if door.is_locked and not any(self.unlocks(thing, k) for thing in range(len(self.things)))
        }
        self.droppable = [thing is None or id(thing) in self.index for thing in cells]
        self.passable = [
            (free or cells[i].type in ("goal", "floor")) and i not in forbidden and not self._on_edge(i)
            for i, free in enumerate(self.droppable)
        ]
        self.passable += [False] * self.width  # a row below the last one, for doors in the last row
        self._fields: dict[Any, list[int]] = {}
        self._cells: list[Any] = []
        self._where: tuple[int, ...] = ()

    def _on_edge(self, cell: int) -> bool:
        y, x = divmod(cell, self.width)
        return x in (0, self.width - 1) or y in (0, self.world.height - 1)

    def read(self) -> GridState:
        """Return the environment's current state."""
        world = self.world
        cells = world.grid.grid
        if cells != self._cells:
            places = {id(thing): i for i, thing in enumerate(cells) if thing is not None}
            self._where = tuple(places.get(id(thing), NOWHERE) for thing in self.things)
            self._cells = list(cells)
        x, y = world.agent_pos
        carried = -1 if world.carrying is None else self.index[id(world.carrying)]
        doors = tuple(OPEN if door.is_open else LOCKED if door.is_locked else CLOSED for door in self.door_things)
        return GridState(int(4 * (y * self.width + x) + world.agent_dir), carried, self._where, doors)

    def successors(self, state: GridState) -> Iterator[tuple[int, GridState]]:
        """Iterate over all actions that change the state, and `done`. Closing a door never helps and is omitted."""
        pose, carried, objects, doors = state
        yield DONE, state
        yield LEFT, GridState(pose & ~3 | pose - 1 & 3, carried, objects, doors)
        yield RIGHT, GridState(pose & ~3 | pose + 1 & 3, carried, objects, doors)
        front = (pose >> 2) + self.steps[pose & 3]
        ahead = 4 * front | pose & 3
        door = self.door_at.get(front)
        if door is not None:
            if doors[door] == OPEN:
                yield FORWARD, GridState(ahead, carried, objects, doors)
            elif doors[door] == CLOSED or self.unlocks(carried, door):
                yield TOGGLE, GridState(pose, carried, objects, replaced(doors, door, OPEN))
        elif front in objects:
            yield from self._handle(state, objects.index(front), front)
        else:
            if self.passable[front]:
                yield FORWARD, GridState(ahead, carried, objects, doors)
            if carried >= 0 and self.droppable[front]:
                yield DROP, GridState(pose, -1, replaced(objects, carried, front), doors)

    def _handle(self, state: GridState, thing: int, front: int) -> Iterator[tuple[int, GridState]]:
        if state.carried < 0:
            yield PICKUP, state._replace(carried=thing, objects=replaced(state.objects, thing, NOWHERE))
        if self.things[thing].type == "box":
            objects = replaced(state.objects, thing, NOWHERE)
            if thing in self.inside:
                objects = replaced(objects, self.inside[thing], front)
            yield TOGGLE, state._replace(objects=objects)

    def unlocks(self, thing: int, door: int) -> bool:
        """Return whether an object (-1 for none) is a key of the door's colour."""
        if thing < 0 or self.things[thing].type != "key":
            return False
        return bool(self.things[thing].color == self.door_things[door].color)

    def facing(self, cell: int) -> list[int]:
        """Return the poses next to a cell, facing it."""
        poses = [(cell - step << 2) + direction for direction, step in enumerate(self.steps)]
        return [pose for pose in poses if pose >= 0 and (self.passable[pose >> 2] or pose >> 2 in self.door_at)]

    def field(
        self, targets: tuple[int, ...], doors: tuple[int, ...], through_locked: bool = True, shut: int = -1
    ) -> list[int]:
        """Return the steps from every pose to the nearest target pose without objects, a lower bound. Cached per level.

        A closed door costs one more step than an open one. So does a locked door, unless `through_locked` is False or
        it has no key. The door `shut` is never passed.
        """
        key = (targets, doors, through_locked, shut)
        if key not in self._fields:
            self._fields[key] = self._spread(targets, doors, through_locked, shut)
        return self._fields[key]

    def _spread(self, targets: tuple[int, ...], doors: tuple[int, ...], through_locked: bool, shut: int) -> list[int]:
        # cost of entering a cell; 0 if impossible
        enter = [int(free) for free in self.passable]
        for k, (cell, door) in enumerate(zip(self.door_cells, doors)):
            passable = door != LOCKED or (through_locked and k not in self.sealed)
            enter[cell] = 0 if k == shut else 1 if door == OPEN else 2 * passable
        steps = [INFINITE] * (4 * len(enter))
        for pose in targets:
            steps[pose] = 0
        waves: tuple[list[int], list[int], list[int]] = (list(targets), [], [])
        level = 0
        while any(waves):
            for pose in waves[0]:
                if steps[pose] != level:
                    continue
                before = (pose >> 2) - self.steps[pose & 3]
                cost = enter[pose >> 2]
                for previous, price in (
                    (pose & ~3 | pose - 1 & 3, 1),
                    (pose & ~3 | pose + 1 & 3, 1),
                    (4 * before | pose & 3, cost if cost and enter[before] else 0),
                ):
                    if price and level + price < steps[previous]:
                        steps[previous] = level + price
                        waves[price].append(previous)
            waves = (waves[1], waves[2], [])
            level += 1
        return steps


def replaced(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    """Return the tuple with one entry changed."""
    return (*values[:index], value, *values[index + 1 :])


def _movable(cells: list[Any], carried: Any, touch: list[Any] | None) -> list[Any]:
    things = [thing for thing in cells if thing is not None and thing.can_pickup()]
    things = [thing for thing in things if touch is None or any(thing is other for other in touch)]
    things += [] if carried is None else [carried]
    for thing in things:  # the list grows: boxes may contain boxes
        if thing.contains is not None:
            things.append(thing.contains)
    return things


class Goal(Protocol):
    """Goal of a task."""

    @property
    def actions(self) -> frozenset[int]:
        """Actions worth considering; the others end the episode or never help."""

    def bound(self, state: GridState) -> int:
        """Return a lower bound of the remaining steps; INFINITE if the task can no longer be solved."""

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        """Return whether this step completes the task."""


class Unsolvable(RuntimeError):
    """No sequence of actions completes the task from this state."""


class TooLong(RuntimeError):
    """The search reached its limit."""


PATIENCE = 4_000_000
"""Maximum number of actions per search, about 20 seconds. The largest ObstructedMaze levels may need them."""


def shortest_plan(model: Model, goal: Goal, start: GridState, limit: int = PATIENCE) -> list[int]:
    """Return a shortest list of actions that completes the task.

    Raises:
        Unsolvable: If there is none.
        TooLong: After `limit` actions.
    """
    steps: dict[GridState, int] = {start: 0}
    came: dict[GridState, tuple[GridState, int]] = {}
    looked = 0
    # (estimated length, -looked: among equals the latest and deepest first, steps so far, state, last action)
    queue: list[tuple[int, int, int, GridState, int]] = [(goal.bound(start), 0, 0, start, NOTHING)]
    while queue and queue[0][0] < INFINITE:
        _, _, so_far, state, last = heapq.heappop(queue)
        if last != NOTHING:
            return _actions(came, state, last)
        if so_far > steps[state]:
            continue
        for action, following in model.successors(state):
            if action not in goal.actions:
                continue
            looked += 1
            if goal.ends(state, action, following):
                heapq.heappush(queue, (so_far + 1, -looked, so_far, state, action))
            elif so_far + 1 < steps.get(following, INFINITE):
                steps[following] = so_far + 1
                came[following] = (state, action)
                estimate = so_far + 1 + goal.bound(following)
                heapq.heappush(queue, (estimate, -looked, so_far + 1, following, NOTHING))
        if looked > limit:
            raise TooLong(f"no plan found within {looked} actions")
    raise Unsolvable(f"no plan exists ({looked} actions tried)")


def _actions(came: dict[GridState, tuple[GridState, int]], state: GridState, last: int) -> list[int]:
    actions = [last]
    while state in came:
        state, action = came[state]
        actions.append(action)
    return actions[::-1]

"""Goals of MiniGrid's tasks for the exact search, with admissible lower bounds on the remaining steps.

A bound is a sum of walks: to the key, from the key to its door, from the door to the end, plus the pick-ups, drops and
toggles on the way. Each walk is looked up in a field of exact walking distances (with turns) on the map without its
objects. The bounds are tight enough that the search expands few states off the shortest path.
"""

from typing import Any

from embodia.envs.grid.search import (
    DONE,
    DROP,
    FORWARD,
    INFINITE,
    LEFT,
    LOCKED,
    NOWHERE,
    OPEN,
    PICKUP,
    RIGHT,
    TOGGLE,
    GridState,
    Model,
)

WALK = frozenset((LEFT, RIGHT, FORWARD))
HANDLE = frozenset((LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE))


class Through:
    """Lower bounds for reaching one of `targets`, if necessary through locked doors.

    The first walk uses the current doors. Later walks may find them open, so they count them as open.
    """

    def __init__(self, model: Model, targets: tuple[int, ...], empty_handed: bool):
        self.model, self.targets, self.empty_handed = model, targets, empty_handed
        self.all_open = tuple(LOCKED if k in model.sealed else OPEN for k in range(len(model.door_cells)))
        self._sides: list[list[tuple[int, int, list[int]]]] | None = None
        self._from_key: dict[tuple[int, int], int] = {}

    def bound(self, state: GridState) -> int:
        """Return a lower bound of the steps to a target pose (with empty hands, if required)."""
        best = self.model.field(self.targets, state.doors, LOCKED not in state.doors)[state.pose]
        best += self.empty_handed and state.carried >= 0
        for door, status in enumerate(state.doors):
            if status == LOCKED:
                best = min(best, self.unlock(state, door))
        return best

    def unlock(self, state: GridState, door: int) -> int:
        """Return a lower bound of the steps to a target pose by unlocking a door."""
        ways = (self._unlock(state, door, side, approach) + rest for side, rest, approach in self._before(door))
        return min(ways, default=INFINITE)

    def _before(self, door: int) -> list[tuple[int, int, list[int]]]:
        """Return the poses in front of a door, each with the steps to a target (doors open) and its distance field."""
        if self._sides is None:
            self._sides = [self._look(cell) for cell in self.model.door_cells]
        return self._sides[door]

    def _look(self, cell: int) -> list[tuple[int, int, list[int]]]:
        to_target = self.model.field(self.targets, self.all_open)
        return [
            (side, to_target[side] + self.empty_handed, self.model.field((side,), self.all_open))
            for side in self.model.facing(cell)
            if to_target[side] < INFINITE
        ]

    def _unlock(self, state: GridState, door: int, side: int, approach: list[int]) -> int:
        """Return a lower bound of the steps until the door is open and the agent stands in front of it."""
        model = self.model
        blocked = self._blocked(state, door, side)
        if model.unlocks(state.carried, door):
            return model.field((side,), state.doors)[state.pose] + 1 + 2 * blocked
        fetch = INFINITE
        for key in range(len(model.things)):
            if model.unlocks(key, door):
                fetch = min(fetch, self._fetch(state, key, door, side, approach))
        return fetch + 1 + blocked

    def _fetch(self, state: GridState, key: int, door: int, side: int, approach: list[int]) -> int:
        """Return a lower bound of the steps to the key (perhaps in a box, not through its door) and then to `side`."""
        cell, extra = state.objects[key], 1 + (state.carried >= 0)
        if cell == NOWHERE:
            box = next((box for box, content in self.model.inside.items() if content == key), -1)
            if box < 0 or state.carried == box:
                return INFINITE if box < 0 else 3 + approach[state.pose]
            cell, extra = state.objects[box], extra + 1
            if cell == NOWHERE:
                return INFINITE
        before = tuple(self.model.facing(cell))
        if (cell, side) not in self._from_key:
            self._from_key[cell, side] = min((approach[pose] for pose in before), default=INFINITE)
        there = self.model.field(before, state.doors, shut=door)[state.pose]
        return there + extra + self._from_key[cell, side]

    def _blocked(self, state: GridState, door: int, side: int) -> int:
        """Return the steps to clear the cell in front of a door: 0 if free, 1 to open a box, 2 to pick up and drop."""
        if side >> 2 not in state.objects:
            return 0
        thing = state.objects.index(side >> 2)
        if self.model.unlocks(thing, door) or self.model.unlocks(self.model.inside.get(thing, -1), door):
            return 0
        return 1 if self.model.things[thing].type == "box" else 2


class Reach:
    """Stand on a cell."""

    def __init__(self, model: Model, cell: int, actions: frozenset[int] = HANDLE):
        self.actions, self.cell = actions, cell
        self.bound = Through(model, tuple(4 * cell + direction for direction in range(4)), empty_handed=False).bound

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        return following.pose >> 2 == self.cell


class PickUp:
    """Carry one of several objects. With `only`, picking up another object ends the task."""

    def __init__(self, model: Model, wanted: tuple[int, ...], only: bool = False):
        self.actions = HANDLE
        self.model, self.wanted, self.only = model, wanted, only
        self._ways: dict[int, Through] = {}

    def bound(self, state: GridState) -> int:
        if self.only and state.carried >= 0:
            return INFINITE
        cells = [state.objects[thing] for thing in self.wanted if state.objects[thing] != NOWHERE]
        return min((self._way(cell).bound(state) + 1 for cell in cells), default=INFINITE)

    def _way(self, cell: int) -> Through:
        if cell not in self._ways:
            self._ways[cell] = Through(self.model, tuple(self.model.facing(cell)), empty_handed=True)
        return self._ways[cell]

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        return action == PICKUP and following.carried in self.wanted


class Open:
    """Open one of several closed doors."""

    actions = HANDLE

    def __init__(self, model: Model, doors: tuple[int, ...]):
        self.doors = doors
        self._ways = {door: Through(model, tuple(model.facing(model.door_cells[door])), False) for door in doors}

    def bound(self, state: GridState) -> int:
        return min((self._to(state, door) for door in self.doors if state.doors[door] != OPEN), default=INFINITE)

    def _to(self, state: GridState, door: int) -> int:
        way = self._ways[door]
        return way.unlock(state, door) if state.doors[door] == LOCKED else way.bound(state) + 1

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        return action == TOGGLE and any(state.doors[k] != OPEN and following.doors[k] == OPEN for k in self.doors)


class Face:
    """Stand next to one of several cells, facing it."""

    actions = HANDLE | {DONE}

    def __init__(self, model: Model, cells: list[int]):
        self.before = tuple({pose for cell in cells for pose in model.facing(cell)})
        self.bound = Through(model, self.before, empty_handed=False).bound

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        return following.pose in self.before


class GoBeside:
    """Stand next to a cell, facing any direction, and take the action done."""

    actions = WALK | {DONE}

    def __init__(self, model: Model, cell: int):
        self.beside = tuple(pose & ~3 | direction for pose in model.facing(cell) for direction in range(4))
        self.model = model

    def bound(self, state: GridState) -> int:
        return self.model.field(self.beside, state.doors)[state.pose] + 1

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        return action == DONE and state.pose in self.beside


class PutNear:
    """Drop an object within one cell of a target cell, diagonals included; any other pick-up or drop fails."""

    actions = HANDLE - {TOGGLE}

    def __init__(self, model: Model, thing: int, cell: int):
        self.model, self.thing = model, thing
        around = [cell + dy * model.width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        self.near = frozenset(spot for spot in around if model.droppable[spot])
        self.before = tuple({pose for spot in self.near for pose in model.facing(spot)})

    def bound(self, state: GridState) -> int:
        to_drop = self.model.field(self.before, state.doors)
        if state.carried == self.thing:
            return to_drop[state.pose] + 1
        if state.carried >= 0 or state.objects[self.thing] == NOWHERE:
            return INFINITE
        before = tuple(self.model.facing(state.objects[self.thing]))
        return self.model.field(before, state.doors)[state.pose] + 2 + min(to_drop[pose] for pose in before)

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        return action == DROP and following.objects[self.thing] in self.near


class PutNext:
    """Drop one of several objects next to a cell, diagonals excluded."""

    actions = HANDLE

    def __init__(self, model: Model, things: tuple[int, ...], cells: list[int]):
        self.model, self.things = model, things
        beside = {cell + step for cell in cells for step in model.steps}
        self.spots = frozenset(spot for spot in beside if 0 <= spot < len(model.droppable) and model.droppable[spot])
        before = tuple({pose for spot in self.spots for pose in model.facing(spot)})
        self.to_spot = Through(model, before, empty_handed=False)
        self._ways: dict[int, Through] = {}

    def bound(self, state: GridState) -> int:
        if state.carried in self.things:
            return self.to_spot.bound(state) + 1
        cells = [state.objects[thing] for thing in self.things if state.objects[thing] != NOWHERE]
        return min((self._way(cell).bound(state) + 2 for cell in cells), default=INFINITE)

    def _way(self, cell: int) -> Through:
        if cell not in self._ways:
            self._ways[cell] = Through(self.model, tuple(self.model.facing(cell)), empty_handed=True)
        return self._ways[cell]

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        dropped = action == DROP and state.carried in self.things
        return dropped and following.objects[state.carried] in self.spots


class OpenInOrder:
    """Open one door, then another; the reverse order fails."""

    actions = WALK | {TOGGLE}

    def __init__(self, model: Model, first: int, second: int):
        self.model, self.first, self.second = model, first, second
        self.before = [tuple(model.facing(model.door_cells[door])) for door in (first, second)]

    def bound(self, state: GridState) -> int:
        to_second = self.model.field(self.before[1], state.doors)
        if state.doors[self.first] == OPEN:
            return to_second[state.pose] + 1
        if state.doors[self.second] == OPEN:
            return INFINITE
        to_first = self.model.field(self.before[0], state.doors)
        return to_first[state.pose] + 2 + min(to_second[pose] for pose in self.before[0])

    def ends(self, state: GridState, action: int, following: GridState) -> bool:
        return state.doors[self.first] == OPEN and following.doors[self.second] == OPEN


def goal_cell(world: Any) -> int:
    """Return the cell of the green goal square."""
    return next(i for i, thing in enumerate(world.grid.grid) if thing is not None and thing.type == "goal")

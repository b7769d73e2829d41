"""minigrid's step rules as kernels: the base rule, and what each task adds to it.

i is the number of a world, `row` the number of cells in a row. Source: minigrid's `MiniGridEnv.step`, and the `step` of
each environment that overrides it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from minigrid import envs as tasks
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv

from embodia.envs.compiled import compiled_exactly, inlined
from embodia.envs.grid.native.arrays import Array, Levels
from embodia.envs.grid.native.cells import (
    BALL,
    BOX,
    DOOR,
    EMPTY,
    FLOOR,
    GOAL,
    HELD,
    KEY,
    LAVA,
    LOCKED,
    SHUT,
    TYPE,
    Board,
)
from embodia.envs.grid.native.instructions import FAILURE, SUCCESS, beside, look_again, verify
from embodia.envs.grid.native.pcg64 import integer
from embodia.envs.grid.search import DONE, DROP, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE

PLAIN, TAKE, FETCH, GO_BESIDE, REMEMBER, PUT_NEAR, RED_BLUE, UNLOCK, DODGE, INSTRUCTED = range(10)

RULES: dict[Callable[..., Any], int] = {
    MiniGridEnv.step: PLAIN,
    tasks.UnlockPickupEnv.step: TAKE,
    tasks.BlockedUnlockPickupEnv.step: TAKE,
    tasks.KeyCorridorEnv.step: TAKE,
    tasks.ObstructedMazeEnv.step: TAKE,
    tasks.FetchEnv.step: FETCH,
    tasks.GoToDoorEnv.step: GO_BESIDE,
    tasks.GoToObjectEnv.step: GO_BESIDE,
    tasks.MemoryEnv.step: REMEMBER,
    tasks.PutNearEnv.step: PUT_NEAR,
    tasks.RedBlueDoorEnv.step: RED_BLUE,
    tasks.UnlockEnv.step: UNLOCK,
    tasks.DynamicObstaclesEnv.step: DODGE,
    RoomGridLevel.step: INSTRUCTED,
}
"""The rule of each `step` method in minigrid."""

MOST_TRIES = 100  # attempts to move an obstacle, as in minigrid


@inlined
def ahead(worlds: Levels, i: int, row: int) -> int:
    """Return the cell in front of the agent."""
    direction = worlds.direction[i]
    if direction == 0:
        return worlds.at[i] + 1
    if direction == 1:
        return worlds.at[i] + row
    if direction == 2:
        return worlds.at[i] - 1
    return worlds.at[i] - row


@inlined
def put(worlds: Levels, i: int, cell: int, thing: int) -> None:
    """Put a thing on a cell; -1 empties the cell."""
    worlds.things[i, cell] = thing
    worlds.codes[i, cell] = EMPTY if thing < 0 else worlds.kinds[i, thing]


@inlined
def pick_up(worlds: Levels, i: int, front: int) -> None:
    thing, kind = worlds.things[i, front], worlds.codes[i, front] & TYPE
    if kind in (KEY, BALL, BOX) and worlds.carried[i] < 0:
        worlds.carried[i] = thing
        worlds.places[i, thing] = HELD
        put(worlds, i, front, -1)


@inlined
def drop(worlds: Levels, i: int, front: int) -> None:
    thing = worlds.carried[i]
    if worlds.codes[i, front] == EMPTY and thing >= 0:
        put(worlds, i, front, thing)
        worlds.places[i, thing] = front
        worlds.carried[i] = -1


@inlined
def toggle(worlds: Levels, i: int, front: int) -> None:
    """Open or close a door, or replace a box by its content."""
    thing, code = worlds.things[i, front], worlds.codes[i, front]
    if code & TYPE == BOX:
        put(worlds, i, front, worlds.inside[i, thing])
    elif code & TYPE == DOOR:
        if code & LOCKED:
            carried = worlds.carried[i]
            if carried < 0 or worlds.kinds[i, carried] & 127 != KEY | (code & 112):
                return
            code = DOOR | (code & 112)
        elif code >> 7 & 3:
            code = DOOR | (code & 112)
        else:
            code = code | SHUT
        worlds.kinds[i, thing] = worlds.codes[i, front] = code


@inlined
def base_step(worlds: Levels, i: int, row: int, action: int) -> tuple[bool, bool]:
    """MiniGridEnv.step: return (whether the goal was reached, whether the episode ended)."""
    worlds.steps[i] += 1
    front = ahead(worlds, i, row)
    code = worlds.codes[i, front]
    kind = code & TYPE
    if action == LEFT:
        worlds.direction[i] = worlds.direction[i] + 3 & 3
    elif action == RIGHT:
        worlds.direction[i] = worlds.direction[i] + 1 & 3
    elif action == FORWARD:
        if kind in (EMPTY, GOAL, FLOOR, LAVA) or (kind == DOOR and code >> 7 & 3 == 0):
            worlds.at[i] = front
        return kind == GOAL, kind in (GOAL, LAVA)
    elif action == PICKUP:
        pick_up(worlds, i, front)
    elif action == DROP:
        drop(worlds, i, front)
    elif action == TOGGLE:
        toggle(worlds, i, front)
    return False, False


@compiled_exactly
def move_obstacles(worlds: Levels, i: int, row: int, margin: int) -> None:
    """Move each obstacle to a random free cell around it, with the level's own generator."""
    width, height = row - 2 * margin, worlds.codes.shape[1] // row - 2 * margin
    generator = worlds.generator[i]
    for obstacle in range(worlds.target[i, 0]):
        old = worlds.places[i, obstacle]
        left, top = max(old % row - margin - 1, 0), max(old // row - margin - 1, 0)
        for _ in range(MOST_TRIES + 1):
            x = integer(generator, left, min(left + 3, width))
            y = integer(generator, top, min(top + 3, height))
            cell = (y + margin) * row + x + margin
            if worlds.codes[i, cell] == EMPTY and cell != worlds.at[i]:
                put(worlds, i, cell, obstacle)
                put(worlds, i, old, -1)
                worlds.places[i, obstacle] = cell
                break


@compiled_exactly
def put_near(worlds: Levels, i: int, row: int, action: int, before: int) -> tuple[bool, bool]:
    """PutNear: return (success, end) after the base rule; `before` is what was carried before it."""
    target, carried = worlds.target[i], worlds.carried[i]
    if action == PICKUP and carried >= 0 and worlds.kinds[i, carried] & 127 != target[0]:
        return False, True
    if action == DROP and before >= 0:
        cell = ahead(worlds, i, row)
        near = abs(cell % row - target[1] % row) <= 1 and abs(cell // row - target[1] // row) <= 1
        return near and worlds.things[i, cell] == before, True
    return False, False


@compiled_exactly
def is_open(worlds: Levels, i: int, door: int) -> bool:
    return worlds.kinds[i, door] >> 7 & 3 == 0


@compiled_exactly
def red_blue(worlds: Levels, i: int, red_before: bool, blue_before: bool) -> tuple[bool, bool]:
    """RedBlueDoors: return (success, end) after the base rule."""
    if is_open(worlds, i, worlds.target[i, 1]):
        return red_before, True
    return False, is_open(worlds, i, worlds.target[i, 0]) and blue_before


@inlined
def instructed(worlds: Levels, i: int, row: int, action: int) -> tuple[bool, bool]:
    """BabyAI: return (success, end) after the base rule."""
    if action == DROP:
        look_again(worlds, i, row)
    status = verify(worlds, i, row, ahead(worlds, i, row), action)
    return status == SUCCESS, status in (SUCCESS, FAILURE)


@compiled_exactly
def runs_into(worlds: Levels, i: int, row: int, action: int) -> bool:
    """Dynamic-Obstacles: return whether the agent walks into what is in front of it before the obstacles move."""
    kind = worlds.codes[i, ahead(worlds, i, row)] & TYPE
    return action == FORWARD and kind not in (EMPTY, GOAL)


@inlined
def judged(
    worlds: Levels, i: int, row: int, rule: int, action: int, before: int, red: bool, blue: bool
) -> tuple[bool, bool]:
    """Return (success, end) of a task that adds to the base rule, after it.

    `before` is what was carried before the step, `red` and `blue` whether these doors were open.
    """
    target, carried = worlds.target[i], worlds.carried[i]
    if rule == INSTRUCTED:
        return instructed(worlds, i, row, action)
    if rule == PUT_NEAR:
        return put_near(worlds, i, row, action, before)
    if rule == RED_BLUE:
        return red_blue(worlds, i, red, blue)
    if rule == REMEMBER:
        return worlds.at[i] == target[0], worlds.at[i] in (target[0], target[1])
    if rule == FETCH:
        return carried >= 0 and worlds.kinds[i, carried] & 127 == target[0], carried >= 0
    if rule == GO_BESIDE:
        return action == DONE and beside(row, worlds.at[i], target[0]), action in (TOGGLE, DONE)
    if rule == UNLOCK:
        won = action == TOGGLE and is_open(worlds, i, target[0])
    else:
        won = action == PICKUP and carried >= 0 and carried == target[0]  # TAKE
    return won, won


@inlined
def task_step(worlds: Levels, i: int, row: int, margin: int, rule: int, action: int) -> tuple[bool, bool, bool]:
    """Run one step of a task that adds to the base rule: return (success, end, collision)."""
    before, crash, red, blue = worlds.carried[i], False, False, False
    if rule == DODGE:
        crash = runs_into(worlds, i, row, action)
        move_obstacles(worlds, i, row, margin)
    elif rule == RED_BLUE:
        red, blue = is_open(worlds, i, worlds.target[i, 0]), is_open(worlds, i, worlds.target[i, 1])
    elif rule == REMEMBER and action == PICKUP:
        action = TOGGLE
    won, ended = base_step(worlds, i, row, action)
    if rule != DODGE:
        won, ended = judged(worlds, i, row, rule, action, before, red, blue)
    return won, ended or crash, crash


@inlined
def reward_of(worlds: Levels, i: int, won: bool) -> float:
    """Return minigrid's reward: less for later success."""
    return 1 - 0.9 * (worlds.steps[i] / worlds.max_steps[i]) if won else 0.0


@compiled_exactly
def step_plain(
    worlds: Levels, row: int, actions: Array, over: Array, reward: Array, terminated: Array, truncated: Array
) -> None:
    """Run one step under the base rule in every world that is not over; write the results (N,) of all."""
    for i in range(len(actions)):
        reward[i], terminated[i], truncated[i] = 0.0, False, False
        if not over[i]:
            won, terminated[i] = base_step(worlds, i, row, actions[i])
            reward[i] = reward_of(worlds, i, won)
            truncated[i] = worlds.steps[i] >= worlds.max_steps[i]


@compiled_exactly
def step_task(
    worlds: Levels,
    row: int,
    margin: int,
    rule: int,
    actions: Array,
    over: Array,
    reward: Array,
    terminated: Array,
    truncated: Array,
) -> None:
    """As `step_plain`, under the rule of a task."""
    for i in range(len(actions)):
        reward[i], terminated[i], truncated[i] = 0.0, False, False
        if not over[i]:
            won, terminated[i], crash = task_step(worlds, i, row, margin, rule, actions[i])
            reward[i] = -1.0 if crash else reward_of(worlds, i, won)
            truncated[i] = worlds.steps[i] >= worlds.max_steps[i]


def step(worlds: Levels, board: Board, rule: int, actions: Array, over: Array) -> tuple[Array, Array, Array]:
    """Run one step of every world that is not over. Returns reward, terminated and truncated (N,)."""
    count = len(actions)
    reward, terminated, truncated = np.empty(count), np.empty(count, bool), np.empty(count, bool)
    if rule == PLAIN:
        step_plain(worlds, board.row, actions, over, reward, terminated, truncated)
    else:
        step_task(worlds, board.row, board.margin, rule, actions, over, reward, terminated, truncated)
    return reward, terminated, truncated

"""Exact snapshots of a minigrid environment as plain data.

The environment is a graph of Python objects (cells, doors shared by rooms, instructions that refer to objects). It is
stored as a table of records that refer to each other by number. Reading creates only the classes listed here, so
loading an untrusted snapshot is safe.
"""

import copy
from typing import Any

import numpy as np
from minigrid.core import roomgrid, world_object
from minigrid.core.grid import Grid
from minigrid.envs import lockedroom, multiroom
from minigrid.envs.babyai.core import verifier
from minigrid.utils import baby_ai_bot

from embodia.envs import State
from embodia.envs.grid.bot import Bot

CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        *(Grid, roomgrid.Room, lockedroom.LockedRoom, multiroom.MultiRoom),
        *(world_object.Goal, world_object.Floor, world_object.Lava, world_object.Wall, world_object.Door),
        *(world_object.Key, world_object.Ball, world_object.Box),
        *(verifier.ObjDesc, verifier.GoToInstr, verifier.OpenInstr, verifier.PickupInstr, verifier.PutNextInstr),
        *(verifier.BeforeInstr, verifier.AfterInstr, verifier.AndInstr),
        *(Bot, baby_ai_bot.GoNextToSubgoal, baby_ai_bot.OpenSubgoal, baby_ai_bot.CloseSubgoal),
        *(baby_ai_bot.PickupSubgoal, baby_ai_bot.DropSubgoal, baby_ai_bot.ExploreSubgoal),
    )
}

CONSTANT = {
    *("action_space", "observation_space", "actions", "reward_range", "metadata", "spec", "config", "obstacle_type"),
    *("render_mode", "render_size", "screen_size", "window", "clock", "highlight", "tile_size", "agent_pov"),
    *("_np_random", "_np_random_seed", "gen_obs"),
}
"""Attributes that the id and options determine, or that are saved separately (the generator)."""

WORLD = -1
"""The number that refers to the environment itself."""


class _Writer:
    def __init__(self, world: Any):
        self.numbers: dict[int, int] = {id(world): WORLD}
        self.records: list[Any] = []

    def plain(self, value: Any) -> Any:
        """Return `value` as plain data; an object becomes {"object": its record's number}."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.bool_ | np.integer | np.floating):
            return value.item()
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self.plain(item) for item in value)
        return {"object": self.number(value)}

    def number(self, value: Any) -> int:
        number = self.numbers.get(id(value))
        if number is not None:
            return number
        name = type(value).__name__
        if CLASSES.get(name) is not type(value):
            raise TypeError(
                f"cannot save {type(value).__module__}.{name} of a grid environment; add it to "
                "embodia.envs.grid.snapshot.CLASSES"
            )
        number = self.numbers[id(value)] = len(self.records)
        self.records.append(None)  # reserve the number first, for references back to this object
        self.records[number] = (name, self.fields(value))
        return number

    def fields(self, value: Any) -> dict[str, Any]:
        return {name: self.plain(item) for name, item in vars(value).items() if name not in CONSTANT}


class _Reader:
    def __init__(self, world: Any, records: list[Any]):
        self.world = world
        unknown = {name for name, _ in records} - CLASSES.keys()
        if unknown:
            raise ValueError(f"state of a grid environment: unknown class {unknown.pop()!r}; is the file complete?")
        self.objects: list[Any] = [object.__new__(CLASSES[name]) for name, _ in records]
        for made, (_, fields) in zip(self.objects, records):
            self.restore(made, fields)

    def restore(self, target: Any, fields: dict[str, Any]) -> None:
        for name, item in fields.items():
            setattr(target, name, self.value(item))

    def value(self, item: Any) -> Any:
        if isinstance(item, dict):
            return self.world if item["object"] == WORLD else self.objects[item["object"]]
        if isinstance(item, np.ndarray):
            return item.copy()
        if isinstance(item, list):
            return [self.value(part) for part in item]
        if isinstance(item, tuple):
            return tuple(self.value(part) for part in item)
        return item


def save_world(world: Any, bot: Any = None) -> State:
    """Return the complete state of a minigrid environment, and of the BabyAI bot that acts in it, if any."""
    writer = _Writer(world)
    fields = writer.fields(world)
    playing = None if bot is None else writer.number(bot)
    return {
        "fields": fields,
        "objects": writer.records,
        "bot": playing,
        "generator": copy.deepcopy(world.np_random.bit_generator.state),
    }


def load_world(world: Any, state: State) -> Any:
    """Restore a state into an environment of the same id and options. Returns the bot, or None."""
    reader = _Reader(world, state["objects"])
    for name in set(vars(world)) - CONSTANT - set(state["fields"]):
        delattr(world, name)
    reader.restore(world, state["fields"])
    world.np_random.bit_generator.state = copy.deepcopy(state["generator"])
    bot = None if state["bot"] is None else reader.objects[state["bot"]]
    for subgoal in [] if bot is None else bot.stack:
        subgoal.actions = world.actions
    return bot

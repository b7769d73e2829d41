"""The privileged experts: exact search for MiniGrid's tasks, minigrid's own bot for BabyAI's.

An expert's advice depends on the present state and on its memory alone, and the memory is part of the environment's
snapshot, so that a resumed run hears the same advice. Where a task can no longer be done, the advice is `done`.
"""

from collections.abc import Callable
from typing import Any, Protocol

from minigrid import envs as tasks
from minigrid.envs import babyai
from minigrid.envs.wfc import WFCEnv

from embodia.envs import NoExpert
from embodia.envs.grid import goals
from embodia.envs.grid.bot import BotExpert
from embodia.envs.grid.ids import MINIGRID_IDS
from embodia.envs.grid.search import DONE, LEFT, PATIENCE, Goal, Model, TooLong, Unsolvable, shortest_plan

NO_EXPERT: dict[str, str] = {"MiniGrid-Playground-v0": "it has no task: nothing in it is rewarded"}
"""minigrid ids without an expert, and why."""

FLAWED: dict[str, str] = {
    **dict.fromkeys(
        ("BabyAI-OpenDoorsOrderN2Debug-v0", "BabyAI-OpenDoorsOrderN4Debug-v0"),
        "where two doors are asked for, opening the first already counts as failing the second",
    ),
    "BabyAI-PickupDistDebug-v0": "sometimes the wanted object is walled in by others, and moving one is a failure",
    "BabyAI-GoToImpUnlock-v0": "sometimes the key is locked up in the room that it opens",
    **dict.fromkeys(
        (f"MiniGrid-ObstructedMaze-{size}-v0" for size in ("2Dlhb", "1Q", "2Q")),
        "sometimes a ball replaces a box with a needed key; version 1 of the task mends that",
    ),
}
"""minigrid ids some of whose levels nobody can do, and why; the experts do the others."""


def expert_ids() -> tuple[list[str], list[str]]:
    """The `embodia/` ids with an expert, and those without."""
    return [f"embodia/{t}" for t in MINIGRID_IDS if t not in NO_EXPERT], [f"embodia/{t}" for t in NO_EXPERT]


class Expert(Protocol):
    """Advises one world."""

    def action(self) -> int: ...

    def before_step(self, action: int) -> None:
        """The agent is about to take `action`, the expert's or another."""

    def forget(self) -> None:
        """The world has been reset or restored."""

    def memory(self) -> list[int]:
        """What the advice depends on beside the world and the bot."""

    def bot(self) -> Any:
        """minigrid's bot, where that is the expert and it is up to date, else None."""

    def restore(self, memory: list[int], bot: Any) -> None:
        """Take back what `memory` and `bot` gave; the world is already restored."""

    def solution_length(self, at_most: int) -> int:
        """Steps of the expert from the present state to success, or `at_most` if it needs more or fails."""


Problem = tuple[Model, Goal]


def _reach_goal(world: Any) -> Problem:
    model = Model(world)
    return model, goals.Reach(model, goals.goal_cell(world))


def _reach_match(world: Any) -> Problem:
    model = Model(world, forbidden=frozenset({_cell(world, world.failure_pos)}))
    return model, goals.Reach(model, _cell(world, world.success_pos))


def _dodge(world: Any) -> Problem:
    model = Model(world)
    return model, goals.Reach(model, goals.goal_cell(world), goals.WALK)


def _pick_up(world: Any) -> Problem:
    model = Model(world)
    return model, goals.PickUp(model, (model.index[id(world.obj)],))


def _fetch(world: Any) -> Problem:
    model = Model(world)
    wanted = [k for k, t in enumerate(model.things) if (t.type, t.color) == (world.targetType, world.targetColor)]
    return model, goals.PickUp(model, tuple(wanted), only=True)


def _unlock(world: Any) -> Problem:
    model = Model(world)
    return model, goals.Open(model, (0,))


def _go_beside(world: Any) -> Problem:
    model = Model(world)
    return model, goals.GoBeside(model, _cell(world, world.target_pos))


def _put_near(world: Any) -> Problem:
    model = Model(world)
    thing = next(k for k, t in enumerate(model.things) if (t.type, t.color) == (world.move_type, world.moveColor))
    return model, goals.PutNear(model, thing, _cell(world, world.target_pos))


def _red_then_blue(world: Any) -> Problem:
    model = Model(world)
    doors = [
        next(k for k, thing in enumerate(model.door_things) if thing is d) for d in (world.red_door, world.blue_door)
    ]
    return model, goals.OpenInOrder(model, *doors)


def _cell(world: Any, place: Any) -> int:
    return int(place[1] * world.width + place[0])


SEARCHED: dict[type, Callable[[Any], Problem]] = {
    **dict.fromkeys((tasks.EmptyEnv, tasks.FourRoomsEnv, tasks.DoorKeyEnv, tasks.MultiRoomEnv), _reach_goal),
    **dict.fromkeys((tasks.LavaGapEnv, tasks.CrossingEnv, tasks.DistShiftEnv, tasks.LockedRoomEnv), _reach_goal),
    **dict.fromkeys((tasks.UnlockPickupEnv, tasks.BlockedUnlockPickupEnv, tasks.KeyCorridorEnv), _pick_up),
    WFCEnv: _reach_goal,
    tasks.MemoryEnv: _reach_match,
    tasks.DynamicObstaclesEnv: _dodge,
    tasks.ObstructedMazeEnv: _pick_up,
    tasks.FetchEnv: _fetch,
    tasks.UnlockEnv: _unlock,
    babyai.KeyInBox: _unlock,  # minigrid's bot does not look into boxes
    tasks.GoToDoorEnv: _go_beside,
    tasks.GoToObjectEnv: _go_beside,
    tasks.PutNearEnv: _put_near,
    tasks.RedBlueDoorEnv: _red_then_blue,
}
"""By minigrid's class: how to see a world of it as a search problem."""


class SearchExpert:
    """Follows a shortest plan until the agent leaves it."""

    def __init__(self, world: Any, see: Callable[[Any], Problem]):
        self.world, self.see = world, see
        self._problem: Problem | None = None
        self._plan: list[int] = []

    def action(self) -> int:
        if not self._plan:
            try:
                self._plan = self._search()
            except (Unsolvable, TooLong):
                self._plan = [DONE]
        return self._plan[0]

    def _search(self) -> list[int]:
        model, goal = self.problem()
        return shortest_plan(model, goal, model.read(), PATIENCE)

    def problem(self) -> Problem:
        """The level as a search problem, seen once per level: its fields of distances are kept."""
        if self._problem is None:
            self._problem = self.see(self.world)
        return self._problem

    def before_step(self, action: int) -> None:
        self._plan = self._plan[1:] if self._plan and self._plan[0] == action else []

    def forget(self) -> None:
        self._problem, self._plan = None, []

    def memory(self) -> list[int]:
        return list(self._plan)

    def bot(self) -> Any:
        return None

    def restore(self, memory: list[int], bot: Any) -> None:
        self._plan = list(memory)

    def solution_length(self, at_most: int) -> int:
        try:
            return min(len(self._search()), at_most)
        except (Unsolvable, TooLong):
            return at_most


class DodgingExpert(SearchExpert):
    """Plans anew at every step round the obstacles as they stand, and turns on the spot while they bar every way.

    Obstacles never walk into the agent, and a step into a cell that is free now is safe, so patience suffices.
    """

    def action(self) -> int:
        try:
            return self._search()[0]
        except (Unsolvable, TooLong):
            return LEFT

    def solution_length(self, at_most: int) -> int:
        model, goal = self.problem()
        return min(goal.bound(model.read()), at_most)  # a field of distances without the obstacles


def make_expert(task: str, world: Any) -> Expert:
    """The expert of a minigrid id. Raises NoExpert where there is none."""
    if task in NO_EXPERT:
        raise NoExpert(
            f"embodia/{task} has no expert: {NO_EXPERT[task]}; learn it from rewards, or choose another task"
        )
    for kind, see in SEARCHED.items():
        if isinstance(world, kind):
            return (DodgingExpert if kind is tasks.DynamicObstaclesEnv else SearchExpert)(world, see)
    return BotExpert(world)

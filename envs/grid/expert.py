"""Privileged experts: exact search for MiniGrid's tasks, minigrid's bot for BabyAI's.

An expert's action depends only on the current state and its memory. The memory is part of the environment's snapshot,
so a resumed run gets the same actions. If a task can no longer be solved, the action is `done`.
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
        "if the mission names two doors, opening the first already counts as failing the second",
    ),
    "BabyAI-PickupDistDebug-v0": "sometimes other objects enclose the target, and moving one of them is a failure",
    "BabyAI-GoToImpUnlock-v0": "sometimes the key is locked up in the room that it opens",
    **dict.fromkeys(
        (f"MiniGrid-ObstructedMaze-{size}-v0" for size in ("2Dlhb", "1Q", "2Q")),
        "sometimes a ball replaces a box with a needed key; version 1 of the task fixes this",
    ),
}
"""minigrid ids with some unsolvable levels, and why; the experts solve the other levels."""


def expert_ids() -> tuple[list[str], list[str]]:
    """Return the `embodia/` ids with an expert, and those without."""
    return [f"embodia/{t}" for t in MINIGRID_IDS if t not in NO_EXPERT], [f"embodia/{t}" for t in NO_EXPERT]


class Expert(Protocol):
    """Expert for one environment."""

    def action(self) -> int:
        """Return the action for the current state."""

    def before_step(self, action: int) -> None:
        """Notify the expert that the agent is about to take `action`."""

    def forget(self) -> None:
        """Notify the expert that the environment was reset or restored."""

    def memory(self) -> list[int]:
        """Return what the actions depend on besides the environment and the bot."""

    def bot(self) -> Any:
        """Return minigrid's bot if the expert uses it and it is up to date, else None."""

    def restore(self, memory: list[int], bot: Any) -> None:
        """Restore `memory` and `bot`. The environment has already been restored."""

    def solution_length(self, at_most: int) -> int:
        """Return the expert's number of steps to success, or `at_most` if it needs more or fails."""


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
    babyai.KeyInBox: _unlock,  # minigrid's bot does not open boxes
    tasks.GoToDoorEnv: _go_beside,
    tasks.GoToObjectEnv: _go_beside,
    tasks.PutNearEnv: _put_near,
    tasks.RedBlueDoorEnv: _red_then_blue,
}
"""For each minigrid class: a function that turns its environments into a search problem."""


class SearchExpert:
    """Expert that follows a shortest plan and searches again when the agent leaves it."""

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
        """Return the level as a search problem, built once per level because distance fields are expensive."""
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
    """Expert that replans in every step around the current obstacles, and turns in place while all ways are blocked.

    Obstacles never move into the agent, and a step into a free cell is safe, so waiting is enough.
    """

    def action(self) -> int:
        try:
            return self._search()[0]
        except (Unsolvable, TooLong):
            return LEFT

    def solution_length(self, at_most: int) -> int:
        model, goal = self.problem()
        return min(goal.bound(model.read()), at_most)  # distance without the obstacles


def make_expert(task: str, world: Any) -> Expert:
    """Create the expert of a minigrid id. Raises NoExpert if there is none."""
    if task in NO_EXPERT:
        raise NoExpert(f"embodia/{task} has no expert: {NO_EXPERT[task]}; learn from rewards, or choose another task")
    for kind, see in SEARCHED.items():
        if isinstance(world, kind):
            return (DodgingExpert if kind is tasks.DynamicObstaclesEnv else SearchExpert)(world, see)
    return BotExpert(world)

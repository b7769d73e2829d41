"""The privileged experts: exact search for MiniGrid's tasks, minigrid's own bot for BabyAI's.

An expert's action depends on the present state and on its plan alone, and the plan is part of the environment's
snapshot, so that a resumed run hears the same advice.
"""

from collections.abc import Callable
from typing import Any, Protocol

from envs import NoExpert
from envs.grid import goals
from envs.grid.search import Goal, Model, shortest_plan


class Expert(Protocol):
    """Advises one world."""

    def action(self) -> int: ...

    def before_step(self, action: int) -> None:
        """The agent is about to take `action`, the expert's or another."""

    def forget(self) -> None:
        """The world has been reset or restored."""

    def plan(self) -> list[int] | None:
        """The actions still planned from the present state; None without a plan."""

    def bot(self) -> Any:
        """minigrid's bot, where that is the expert and it is up to date, else None."""

    def restore(self, plan: list[int] | None, bot: Any) -> None: ...

    def solution_length(self, at_most: int) -> int:
        """Steps of the expert from the present state to success, or `at_most` if it needs more or fails."""


def _reach(world: Any) -> tuple[Model, Goal]:
    model = Model(world)
    return model, goals.Reach(model, goals.goal_cell(world))


SEARCHED: dict[str, Callable[[Any], tuple[Model, Goal]]] = {
    "EmptyEnv": _reach,
    "FourRoomsEnv": _reach,
    "DoorKeyEnv": _reach,
}
"""By minigrid's class: how to see a world of it as a search problem."""


class SearchExpert:
    """Follows a shortest plan until the agent leaves it."""

    def __init__(self, task: str, world: Any):
        self.task, self.world = task, world
        self._problem: tuple[Model, Goal] | None = None
        self._plan: list[int] = []

    def action(self) -> int:
        if not self._plan:
            self._plan = self._search()
        return self._plan[0]

    def _search(self) -> list[int]:
        model, goal = self._problem or SEARCHED[type(self.world).__name__](self.world)
        self._problem = model, goal
        return shortest_plan(model, goal, model.read())

    def before_step(self, action: int) -> None:
        self._plan = self._plan[1:] if self._plan and self._plan[0] == action else []

    def forget(self) -> None:
        self._problem, self._plan = None, []

    def plan(self) -> list[int] | None:
        return self._plan or None

    def bot(self) -> Any:
        return None

    def restore(self, plan: list[int] | None, bot: Any) -> None:
        self._plan = list(plan or [])

    def solution_length(self, at_most: int) -> int:
        return min(len(self._search()), at_most)


def make_expert(task: str, world: Any) -> Expert:
    """The expert of a minigrid id. Raises NoExpert where there is none."""
    if type(world).__name__ in SEARCHED:
        return SearchExpert(task, world)
    raise NoExpert(f"embodia/{task} has no expert")

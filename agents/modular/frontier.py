"""Exploration by frontiers (Yamauchi 1997, "A frontier-based approach for autonomous exploration")."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry
from embodia.agents.modular.body import FORWARD, LEFT, STOP, Body
from embodia.agents.modular.map_agent import MapAgent, Plan, Window
from embodia.perception.mapping.map_kernels import OCCUPIED, SEEN
from embodia.planners.search.frontiers import best_frontier, frontiers
from embodia.planners.search.grid_paths import cost_to_go

LARGE = (8, 3, 1)  # [cells] sizes of frontiers, tried in turn
ARRIVED = 0.3  # [m] from a frontier, which then counts as seen
SIZE_GAIN = 0.5  # what a cell of a frontier is worth, in cells of way


class Frontier(MapAgent):
    """Walks to the nearest border between seen floor and the unknown, and stops when none is left.

    A frontier is chosen by its distance, the angle to turn and its size, and kept until it has been seen.
    """

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any], body: Body = Body()):  # noqa: B008
        super().__init__(observation_space, action_space, body)

    def initial(self, n: int) -> Carry:
        return {**super().initial(n), "spun": np.zeros(n, np.int64)}

    def begin(self, carry: Carry, i: int) -> None:
        super().begin(carry, i)
        carry["spun"][i] = 0

    def choose(self, obs: Mapping[str, Array], carry: Carry, i: int) -> int:
        plan: Plan = carry["plan"][i]
        if plan.ended:
            return STOP
        if self.keeps(carry, i) and (action := plan.next_action()) is not None:
            return action
        return self.decide(obs, carry, i)

    def decide(self, obs: Mapping[str, Array], carry: Carry, i: int) -> int:
        """Return the action of world i, which has no plan left."""
        if self.explore(carry, i) and (action := carry["plan"][i].next_action()) is not None:
            carry["spun"][i] = 0
            return action
        carry["spun"][i] += 1  # no frontier is known: look around once before giving up
        carry["plan"][i] = Plan(ended=bool(carry["spun"][i] * self.turn > 2 * np.pi))
        return STOP if carry["plan"][i].ended else LEFT

    def keeps(self, carry: Carry, i: int) -> bool:
        """Whether world i's frontier has not been seen yet. One that was approached in vain counts as seen."""
        goal = carry["plan"][i].goal
        if goal is None:
            return False
        around = carry["map"][i, goal[0] - 1 : goal[0] + 2, goal[1] - 1 : goal[1] + 2]
        if ((around[..., SEEN] > 0) | (around[..., OCCUPIED] > 0)).all():
            return False
        away = np.linalg.norm(self.mapper.layout.places_of(goal) - carry["pose"][i, :2])
        facing = carry["action"][i] == FORWARD
        if away < ARRIVED and facing:
            around[..., SEEN] = 1
            return False
        return True

    def explore(self, carry: Carry, i: int) -> bool:
        """Plan towards the best frontier of world i. Returns whether there is one."""
        window = self.window(carry, i)
        if self.keeps(carry, i):
            goal = carry["plan"][i].goal
            if self.head_for(carry, i, window, (goal - window.corner)[None]):
                carry["plan"][i].goal = goal
                return True
        for least in LARGE:
            target = self.target(carry, i, window, least)
            if target is not None and self.head_for(carry, i, window, target):
                carry["plan"][i].goal = target[0] + window.corner
                return True
        return False

    def target(self, carry: Carry, i: int, window: Window, least: int) -> Array | None:
        """Return the cell (1, 2) of the window to go to; None if there is no frontier."""
        place = self.place(carry, i, window)
        way = cost_to_go(window.cost, np.floor(place).astype(int)[None])
        passable = ~window.blocked & (window.cost < 30)
        found = frontiers(window.map[..., 2] > 0, passable, way, least)
        radian = self.turn_cost / self.turn
        number = best_frontier(found, place, carry["pose"][i, 2], radian, SIZE_GAIN)
        return None if number is None else found.nearest[number][None]

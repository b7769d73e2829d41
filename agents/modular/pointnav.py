"""PointNav on a map: A* over what is known, optimistic about the rest."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry
from embodia.agents.modular.body import STOP, Body
from embodia.agents.modular.map_agent import MapAgent, Plan, dead_reckoned
from embodia.perception.mapping.planar_poses import compose, from_gps

NEAR = 0.17  # [m] from the goal, where the agent stops


class ModularPointNav(MapAgent):
    """Maps, plans to the point goal, and steps.

    Without `gps` and `compass` the pose follows from the goal's distance and bearing, and from the turns so far.
    """

    needs = ("depth", "pointgoal_with_gps_compass")

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any], body: Body = Body()):  # noqa: B008
        super().__init__(observation_space, action_space, body)
        self.located = {"gps", "compass"} <= set(observation_space.spaces)

    def initial(self, n: int) -> Carry:
        return {**super().initial(n), "goal": np.zeros((n, 2))}

    def poses(self, obs: Mapping[str, Array], carry: Carry, first: Array) -> Array:
        if self.located:
            pose = from_gps(obs["gps"], obs["compass"])
            carry["goal"] = compose(pose, self.ahead(obs))[:, :2]  # the latest reading: it follows a drift of the pose
            return pose
        yaw = np.where(first, 0.0, dead_reckoned(carry["pose"][:, 2], carry["action"], self.turn))
        here = np.zeros((len(yaw), 3))
        here[:, 2] = yaw
        offset = compose(here, self.ahead(obs))[:, :2]
        carry["goal"] = np.where(first[:, None], offset, carry["goal"])
        here[:, :2] = carry["goal"] - offset
        return here

    def ahead(self, obs: Mapping[str, Array]) -> Array:
        """Return the goal in the body's frame, as a motion (n, 3)."""
        distance, bearing = np.asarray(obs["pointgoal_with_gps_compass"], np.float64).T
        return np.stack([-distance * np.sin(bearing), -distance * np.cos(bearing), 0 * bearing], 1)

    def choose(self, obs: Mapping[str, Array], carry: Carry, i: int) -> int:
        if float(obs["pointgoal_with_gps_compass"][i, 0]) < NEAR:
            return STOP
        plan: Plan = carry["plan"][i]
        if (action := plan.next_action()) is not None:
            return action
        goal = self.mapper.layout.cells_of(carry["goal"][i])
        goal = np.clip(goal, 0, np.array(self.mapper.layout.shape) - 1)
        window = self.window(carry, i, goal)
        if not self.head_for(carry, i, window, (goal - window.corner)[None]):
            carry["bumped"][i] = False  # no way is left: some bumps must have been false
            return int(np.where(bool(carry["action"][i] == 2), 2, 3))
        return carry["plan"][i].next_action() or STOP

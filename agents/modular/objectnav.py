"""ObjectNav on a semantic map: explore until the goal's category is on the map, then walk up to it and stop.

Source of the recipe: Chaplot et al. 2020, "Object goal navigation using goal-oriented semantic exploration", with
frontiers in place of the learned exploration goals.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry
from embodia.agents.modular.body import STOP, STRETCH, Body
from embodia.agents.modular.frontier import Frontier
from embodia.agents.modular.map_agent import MapAgent, Plan, Window
from embodia.perception.mapping.depth_mapper import OCCUPANCY_CHANNELS
from embodia.planners.search.grid_paths import near_and_visible

CATEGORIES = ("chair", "bed", "plant", "toilet", "tv_monitor", "sofa")
Labels = Callable[[Mapping[str, Array]], Array]
"""From observations, each (n, ...), to the category of each pixel (n, H, W): 1 + the goal category's id, else 0."""

LEAST = 12.0  # pixels of the goal's category in a cell before it counts
NEAR, NEAREST = 0.8, 0.35  # [m] from the object where the agent stops: within 1 m it counts as found
LOW = 0.75  # share of the eye's height below which things do not hide the goal


def true_labels(obs: Mapping[str, Array]) -> Array:
    """Return the simulator's own labels, from the observation `category`."""
    return np.asarray(obs["category"])[..., 0]


class ModularObjectNav(Frontier):
    """Explores by frontiers, and walks to the nearest object of the goal's category that is on the semantic map.

    Args:
        observation_space: Needs depth, gps, compass, objectgoal; and `category`, unless other `labels` are given.
        action_space: Habitat's discrete actions.
        body: Camera, depth sensor and actions.
        labels: What names the pixels. The default reads the true labels; a detector or a segmentation network fits in
            its place.
    """

    needs: tuple[str, ...] = ("depth", "gps", "compass", "objectgoal")

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        body: Body = STRETCH,
        labels: Labels = true_labels,
    ):
        if labels is true_labels:
            self.needs = (*self.needs, "category")
        MapAgent.__init__(self, observation_space, action_space, body, CATEGORIES)
        self.labels = labels

    def semantics(self, obs: Mapping[str, Array]) -> dict[str, Array]:
        return {"category": self.labels(obs)}

    def keeps(self, carry: Carry, i: int) -> bool:
        return carry["plan"][i].found or super().keeps(carry, i)

    def decide(self, obs: Mapping[str, Array], carry: Carry, i: int) -> int:
        """Return the action of world i, which has no plan left: walk to the goal or stop at it, else explore."""
        window = self.window(carry, i)
        goal = window.map[..., len(OCCUPANCY_CHANNELS) + int(obs["objectgoal"][i, 0])] >= LEAST
        if not goal.any():
            return super().decide(obs, carry, i)
        around = self.beside(window, goal)
        row, column = np.floor(self.place(carry, i, window)).astype(int)
        if around[row, column]:
            carry["plan"][i] = Plan(ended=True)
            return STOP
        if around.any() and self.head_for(carry, i, window, np.argwhere(around)):
            action = carry["plan"][i].next_action()
            if action is not None:
                carry["plan"][i].found = True
                return action
        carry["plan"][i] = Plan()
        return super().decide(obs, carry, i)

    def beside(self, window: Window, goal: Array) -> Array:
        """Return the cells (h, w) of open floor from which the goal's cells (h, w) are near and not hidden."""
        cell = self.mapper.layout.cell
        tall = (window.map[..., 3] > LOW * self.body.camera_height) & window.blocked & ~goal
        return near_and_visible(goal, tall, window.open & (window.cost < 30), NEAREST / cell, NEAR / cell)

"""Habitat's navigation measures and reward over N worlds at once.

Source: habitat-lab 0.3, `habitat/tasks/nav/nav.py` (DistanceToGoal, Success, SPL, SoftSPL, NumSteps, Collisions,
DistanceToGoalReward) and `core/environments.py` (the reward). SPL: Anderson et al. 2018, "On evaluation of embodied
navigation agents".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs import Scores

Array = NDArray[Any]

SLACK_REWARD = -0.01
SUCCESS_REWARD = 2.5
NAVIGATION_SCORES: Scores = {
    "success": "higher",
    "spl": {"better": "higher", "label": "SPL"},
    "soft_spl": {"better": "higher", "label": "soft SPL"},
    "distance_to_goal": {"better": "lower", "unit": "m"},
    "num_steps": {"better": "lower", "label": "steps"},
    "collisions/count": {"better": "lower", "label": "collisions"},
    "collisions/is_collision": {"better": "lower", "label": "collision in the last step"},
    "distance_to_goal_reward": {"better": "higher", "label": "progress in the last step", "unit": "m"},
}
"""Scores of `NavigationMeasures.metrics`; the first is the main one."""


def has_moved(previous: Array, position: Array) -> Array:
    """Return (N,) bool: whether Habitat measures the distance again; moves below 0.1 mm do not count."""
    return np.any(np.abs(previous - position) > 1e-4 + 1e-5 * np.abs(position), axis=-1)


class NavigationMeasures:
    """distance_to_goal, success, spl, soft_spl, num_steps, collisions and the reward of N episodes.

    The caller passes geodesic distances [m], inf where there is no path.
    """

    def __init__(self, num_envs: int, success_distance: float) -> None:
        self.success_distance = success_distance  # [m], strict
        self.position = np.zeros((num_envs, 3))
        self.start_distance = np.zeros(num_envs)
        self.distance_to_goal = np.zeros(num_envs)
        self.reward_distance = np.zeros(num_envs)  # distance_to_goal_reward, this step's progress [m]
        self.path_length = np.zeros(num_envs)
        self.success = np.zeros(num_envs)
        self.spl = np.zeros(num_envs)
        self.soft_spl = np.zeros(num_envs)
        self.num_steps = np.zeros(num_envs, np.int64)
        self.collisions = np.zeros(num_envs, np.int64)
        self.is_collision = np.zeros(num_envs, bool)

    def reset(self, mask: Array, position: Array, distance: Array) -> None:
        """Start the episodes where `mask` (N,): at `position` (N, 3), `distance` (N,) [m] from the goal."""
        self.position[mask] = position[mask]
        self.start_distance[mask] = self.distance_to_goal[mask] = distance[mask]
        for counter in (self.reward_distance, self.path_length, self.success, self.spl, self.soft_spl):
            counter[mask] = 0
        self.num_steps[mask] = self.collisions[mask] = 0
        self.is_collision[mask] = False

    def update(self, active: Array, position: Array, distance: Array, stopped: Array, collided: Array) -> None:
        """Update the measures of the worlds where `active` (N,) after one step; `stopped` (N,): stop was called."""
        kept = self._state()
        self.path_length += np.linalg.norm(position - self.position, axis=-1)
        self.reward_distance = -_difference(distance, self.distance_to_goal)
        self.position, self.distance_to_goal = position.astype(np.float64), distance.astype(np.float64)
        self.success = (stopped & (distance < self.success_distance)).astype(np.float64)
        # A walk that starts on the goal has nothing left to go, and if it stays there it made no detour.
        efficiency = _ratio(self.start_distance, np.maximum(self.start_distance, self.path_length), zero_by_zero=1.0)
        remaining = _ratio(self.distance_to_goal, self.start_distance, zero_by_zero=0.0)
        self.spl = self.success * efficiency
        self.soft_spl = np.maximum(0, 1 - remaining) * efficiency
        self.num_steps += 1
        self.is_collision = collided.astype(bool)
        self.collisions += self.is_collision
        for name, before in kept.items():
            now = getattr(self, name)
            now[~active] = before[~active]

    def reward(self) -> Array:
        """Return Habitat's RL reward (N,): slack, progress, and the full bonus on success (not multiplied by SPL)."""
        return SLACK_REWARD + self.reward_distance + SUCCESS_REWARD * (self.spl > 0)

    def metrics(self) -> dict[str, Array]:
        """Return each measure, (N,), by Habitat's name; sub-keys of dict-valued measures as `measure/subkey`."""
        return {
            "distance_to_goal": self.distance_to_goal.copy(),
            "success": self.success.copy(),
            "spl": self.spl.copy(),
            "soft_spl": self.soft_spl.copy(),
            "num_steps": self.num_steps.astype(np.float64),
            "collisions/count": self.collisions.astype(np.float64),
            "collisions/is_collision": self.is_collision.astype(np.float64),
            "distance_to_goal_reward": self.reward_distance.copy(),
        }

    def get_state(self) -> dict[str, Any]:
        return self._state()

    def set_state(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.copy())

    def _state(self) -> dict[str, Array]:
        return {name: value.copy() for name, value in vars(self).items() if isinstance(value, np.ndarray)}


def _ratio(numerator: Array, denominator: Array, zero_by_zero: float) -> Array:
    """numerator / denominator, with a value of its own for 0 / 0. Infinite over infinite is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numerator / denominator
    return np.where(np.isnan(ratio), np.where(denominator == 0, zero_by_zero, 0.0), ratio)


def _difference(now: Array, before: Array) -> Array:
    """now - before, and 0 between two infinite distances."""
    with np.errstate(invalid="ignore"):
        difference = now - before
    return np.where(np.isnan(difference), 0.0, difference)

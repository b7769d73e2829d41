"""How an agent moves on a map that it observes: MiniGrid's whole grid, or the top-down map of a home.

A body turns observations into features of cells, a state and a goal, and a step of a path into the environment's
action. It knows how moves change the state, and nothing of what a cell costs. Which cells are open is asked for only by
agents that learn from shortest paths.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces

from embodia.agents import Array
from embodia.agents.imitation.inverse.cost_loop import MapPlanner
from embodia.agents.imitation.inverse.demonstrations import DemonstrationError
from embodia.agents.imitation.inverse.dynamics import Dynamics, cells, poses

LEFT, RIGHT, FORWARD = 0, 1, 2
"""MiniGrid's actions; the first three of `poses`."""
EMPTY, GOAL, AGENT, KINDS = 1, 8, 10, 11
"""MiniGrid's object types."""
STOP, AHEAD, TURN_LEFT, TURN_RIGHT = range(4)
"""Habitat's actions."""
FLOOR = 0.5
"""Share of a cell's floor from which on it counts as open."""
NEAR = 0.18
"""Distance to the goal at which a body in a home stops [m]; the task asks for 0.2."""


class MapBody(Protocol):
    """A body on maps of `shape` (rows, columns)."""

    shape: tuple[int, int]
    channels: int
    """Number of features of a cell."""
    dynamics: Dynamics
    """Moves between states."""
    planner: MapPlanner
    """Cheapest paths for these moves."""

    def features(self, obs: Mapping[str, Array]) -> Array:
        """Return the features of the cells (n, channels, rows, columns) float32."""

    def open(self, features: Array) -> Array:
        """Return which cells (n, cells) can be entered, from features (n, channels, rows, columns)."""

    def state(self, obs: Mapping[str, Array]) -> Array:
        """Return the states (n,)."""

    def goal(self, obs: Mapping[str, Array]) -> Array:
        """Return the goal cells (n,); of no meaning after the first step, when the agent may hide the goal."""

    def action(self, obs: Mapping[str, Array], states: Array, moves: Array) -> int:
        """Return the action that follows a path: its states (T,) and moves (T,), for one observation."""


class GridBody:
    """MiniGrid's body: it turns left and right, and steps forward. A cell's features are its type of object.

    Args:
        space: observation space with the whole grid, `symbolic` of the view `symbolic_full`.
    """

    channels = KINDS

    def __init__(self, space: spaces.Dict):
        rows, columns, _ = space["symbolic"].shape or ()
        self.shape = (rows, columns)
        self.dynamics = poses(rows, columns)
        self.planner = MapPlanner(self.dynamics, torch.arange(rows * columns).repeat_interleave(4))

    def features(self, obs: Mapping[str, Array]) -> Array:
        kinds = np.where(obs["symbolic"][..., 0] == AGENT, EMPTY, obs["symbolic"][..., 0])
        one_hot = np.eye(KINDS, dtype=np.float32)[kinds].transpose(0, 3, 1, 2)
        return np.ascontiguousarray(one_hot)

    def open(self, features: Array) -> Array:
        found: Array = features[:, [EMPTY, GOAL]].any(1).reshape(len(features), -1)
        return found

    def state(self, obs: Mapping[str, Array]) -> Array:
        here = (obs["symbolic"][..., 0] == AGENT).reshape(len(obs["symbolic"]), -1).argmax(1)
        return 4 * here + np.asarray(obs["direction"])

    def goal(self, obs: Mapping[str, Array]) -> Array:
        goals: Array = (obs["symbolic"][..., 0] == GOAL).reshape(len(obs["symbolic"]), -1).argmax(1)
        return goals

    def action(self, obs: Mapping[str, Array], states: Array, moves: Array) -> int:
        return int(moves[0]) if len(moves) else FORWARD


class HomeBody:
    """Habitat's body on the top-down map: it turns towards a cell a little ahead on the path, then steps forward.

    A cell's feature is the share of its floor that can be walked on.

    Args:
        space: observation space with `map`, `map_pose` and `map_goal`.
    """

    channels = 1
    ahead = 1
    """Number of moves that the body looks ahead on its path."""

    def __init__(self, space: spaces.Dict):
        rows, columns, _ = space["map"].shape or ()
        self.shape = (rows, columns)
        self.dynamics = cells(rows, columns)
        self.planner = MapPlanner(self.dynamics, lengths=torch.tensor([1.0] * 4 + [2**0.5] * 4))

    def features(self, obs: Mapping[str, Array]) -> Array:
        return np.ascontiguousarray(np.moveaxis(obs["map"], -1, 1), np.float32)

    def open(self, features: Array) -> Array:
        found: Array = features[:, 0].reshape(len(features), -1) > FLOOR
        return found

    def state(self, obs: Mapping[str, Array]) -> Array:
        return self._cell(obs["map_pose"][..., :2])

    def goal(self, obs: Mapping[str, Array]) -> Array:
        return self._cell(obs["map_goal"])

    def _cell(self, place: Array) -> Array:
        row, column = np.clip(np.floor(place).astype(int), 0, np.array(self.shape) - 1).T
        cell: Array = row * self.shape[1] + column
        return cell

    def action(self, obs: Mapping[str, Array], states: Array, moves: Array) -> int:
        place, angle, size = obs["map_pose"][:2], float(obs["map_pose"][2]), float(obs["map_pose"][3])
        target = np.asarray(obs["map_goal"], np.float64)
        if np.linalg.norm(target - place) * size < NEAR:
            return STOP
        if len(states) > self.ahead:
            target = np.array(divmod(int(states[self.ahead]), self.shape[1])) + 0.5
        down, right = target - place
        turn = (np.arctan2(right, down) - angle + np.pi) % (2 * np.pi) - np.pi
        return AHEAD if abs(turn) < np.pi / 18 else TURN_LEFT if turn > 0 else TURN_RIGHT


def body_of(space: spaces.Dict, actions: spaces.Space[Any]) -> MapBody:
    """Return the body for an environment's spaces.

    Raises:
        TypeError: if the environment shows no map, or its actions are others.
    """
    seen = set(space.spaces)
    if isinstance(actions, spaces.Discrete):
        if {"symbolic", "carrying", "direction"} <= seen:
            return GridBody(space)
        if {"map", "map_pose", "map_goal"} <= seen and actions.n == 4:
            return HomeBody(space)
    raise TypeError(
        f"a reward map needs a map: MiniGrid with --env.options.observation symbolic_full, or a home with the sensors "
        f"map, map_pose and map_goal and discrete actions; this environment shows {', '.join(sorted(seen))}"
    )


def follow(body: MapBody, states: Array) -> tuple[Array, Array]:
    """Return the states (T,) and moves (T,) of a walk through `states` (T + 1,), without those where it stood still.

    Raises:
        DemonstrationError: if a state does not follow from the one before it by a move.
    """
    states = states[np.concatenate([[True], np.diff(states) != 0])]
    reached = body.planner.paths.outcome[states[:-1]] == states[1:, None]
    if not reached.any(1).all():
        t = int(np.flatnonzero(~reached.any(1))[0])
        raise DemonstrationError(f"a demonstration leaves the map: no move leads from state {states[t]} to "
                                 f"{states[t + 1]} at step {t}")  # fmt: skip
    return states[:-1], reached.argmax(1)

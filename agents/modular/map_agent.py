"""The part that all modular agents share: pose, map, costs, and steps along a plan."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Array, Carry, Mode
from embodia.agents.modular.body import FORWARD, LEFT, RIGHT, STOP, Body
from embodia.agents.modular.picture import draw_map
from embodia.agents.references.untrained import Untrained
from embodia.perception.mapping.depth_mapper import DepthMapper, occupied, open_floor
from embodia.perception.mapping.map_kernels import known_bounds
from embodia.perception.mapping.planar_poses import camera_matrices, check_motion, compose, from_gps, wrapped
from embodia.planners.search.grid_paths import cost_to_go, downhill, travel_costs
from embodia.planners.search.waypoints import turns_and_step

FARTHEST_JUMP = 1.0  # [m] in one step; more is an error of the pose
STUCK = 0.05  # [m]; a step forward that moved less has met an obstacle
WALL_DISTANCE = 0.35  # [m] kept from walls where there is room
MARGIN = 60.0  # cost beyond the cheapest path that the search explores
UNKNOWN = 1.5  # cost of cells that were not seen
TURN_COST = 0.1  # of the turns before a step, so that the straighter of two equal ways is taken


@dataclass
class Plan:
    """What one agent is about to do."""

    turns: int = 0
    """Turns left to do before the next step forward, positive to the left."""
    step: bool = False
    """Whether a step forward follows the turns."""
    path: Array = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """Cells (T, 2) of the path, for pictures."""
    goal: Array | None = None
    """Cell (2,) that the agent wants to reach or look at."""
    found: bool = False
    """Whether that is an object of the category that the agent looks for."""
    ended: bool = False
    """Whether the agent has decided to stop."""

    def next_action(self) -> int | None:
        """Return the next action and remove it from the plan; None if nothing is left."""
        if self.turns:
            side = LEFT if self.turns > 0 else RIGHT
            self.turns -= 1 if self.turns > 0 else -1
            return side
        if self.step:
            self.step = False
            return FORWARD
        return None


@dataclass
class Window:
    """The part of one map that holds all that is known, with the costs of moving through it."""

    corner: Array
    """Cell (2,) of the map at the window's (0, 0)."""
    map: Array
    """Map (h, w, C), a view."""
    blocked: Array
    """Cells (h, w) with obstacles."""
    open: Array
    """Cells (h, w) of open floor."""
    cost: Array
    """Costs (h, w) of moving through the cells."""


class MapAgent(Untrained):
    """Base class of agents with a map.

    The pose is that of the sensors `gps` and `compass`, if they are observed. The carry holds the maps (n, H, W, C),
    in the frame of each episode's start pose, and the plans.

    Raises:
        ValueError: If an observation that the agent needs is missing, or actions are not Habitat's discrete ones.
    """

    needs: tuple[str, ...] = ("depth", "gps", "compass")
    """Observations that the agent reads."""

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        body: Body,
        categories: tuple[str, ...] = (),
    ):
        missing = [key for key in self.needs if key not in observation_space.spaces]
        if missing:
            raise ValueError(
                f"it needs the observations {', '.join(self.needs)}, and {', '.join(missing)} is missing; choose the "
                f"sensors of the environment (--env.options.sensors), or one of the presets named like the agent"
            )
        if not isinstance(action_space, spaces.Discrete) or action_space.n < 4:
            raise ValueError(f"it needs Habitat's discrete actions stop, forward, left, right, not {action_space}")
        self.observation_space, self.action_space, self.body = observation_space, action_space, body
        self.mapper = DepthMapper(body.mapper(categories))
        self.turn = float(np.deg2rad(body.turn))
        self.turn_cost = body.forward / self.mapper.layout.cell  # a turn takes as long as a step forward

    def initial(self, n: int) -> Carry:
        return {
            "map": self.mapper.initial(n),
            "bumped": np.zeros((n, *self.mapper.layout.shape), bool),
            "pose": np.zeros((n, 3)),
            "action": np.zeros(n, np.int64),
            "plan": np.array([Plan() for _ in range(n)], object),
        }

    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        for i in np.flatnonzero(first):
            self.begin(carry, int(i))
        pose = self.poses(obs, carry, first)
        check_motion(carry["pose"], pose, FARTHEST_JUMP, first)
        self.look(obs, carry, pose)
        self.feel(carry, pose, first)
        carry = {**carry, "pose": pose}
        action = np.array([self.choose(obs, carry, i) for i in range(len(first))], np.int64)
        extras = {"picture": np.stack([self.picture(carry, i) for i in range(len(first))])} if self.draws else {}
        return action, {**carry, "action": action}, extras

    def begin(self, carry: Carry, i: int) -> None:
        """Forget the last episode of world i."""
        carry["map"][i], carry["bumped"][i] = 0, False
        carry["plan"][i], carry["action"][i] = Plan(), STOP

    def poses(self, obs: Mapping[str, Array], carry: Carry, first: Array) -> Array:
        """Return the poses (n, 3) in the frames of the start poses."""
        return from_gps(obs["gps"], obs["compass"])

    def look(self, obs: Mapping[str, Array], carry: Carry, pose: Array) -> None:
        """Add the images to the maps."""
        space = self.observation_space["depth"]
        assert isinstance(space, spaces.Box)
        images = {"depth": self.body.metres(obs["depth"], space), **self.semantics(obs)}
        carry["map"] = self.mapper.update(carry["map"], images, camera_matrices(pose, self.body.camera_height))

    def semantics(self, obs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the image of categories, if the agent uses any."""
        return {}

    def feel(self, carry: Carry, pose: Array, first: Array) -> None:
        """Mark an obstacle ahead of each body that could not step forward, and drop its plan."""
        moved = np.hypot(*(pose - carry["pose"])[:, :2].T)
        for i in np.flatnonzero((carry["action"] == FORWARD) & (moved < STUCK) & ~first):
            ahead = self.body.radius + np.array([0.03, 0.08])
            motions = [[side, -distance, 0] for distance in ahead for side in (-0.05, 0.0, 0.05)]
            cells = self.mapper.layout.cells_of(compose(np.tile(pose[i], (6, 1)), motions)[:, :2])
            inside = ((cells >= 0) & (cells < self.mapper.layout.shape)).all(1)
            carry["bumped"][i][tuple(cells[inside].T)] = True
            carry["plan"][i] = Plan()

    @abstractmethod
    def choose(self, obs: Mapping[str, Array], carry: Carry, i: int) -> int:
        """Return the action of world i."""

    # --- for subclasses

    def window(self, carry: Carry, i: int, *more: Array, unknown: float = UNKNOWN) -> Window:
        """Return the known part of world i's map, which also contains the cells `more`."""
        map, margin = carry["map"][i], 12
        here = self.mapper.layout.cells_of(carry["pose"][i, :2])
        cells = np.concatenate([known_bounds(map, 4), here[None], *[each.reshape(1, 2) for each in more]])
        size = np.array(self.mapper.layout.shape)
        low, high = np.maximum(cells.min(0) - margin, 0), np.minimum(cells.max(0) + margin + 1, size)
        part = map[low[0] : high[0], low[1] : high[1]]
        bumped = carry["bumped"][i, low[0] : high[0], low[1] : high[1]]
        blocked, floor = occupied(part) | bumped, open_floor(part) & ~bumped
        cell = self.mapper.layout.cell
        cost = travel_costs(blocked, floor, self.body.radius / cell, WALL_DISTANCE / cell, unknown)
        return Window(low, part, blocked, floor, cost)

    def place(self, carry: Carry, i: int, window: Window) -> Array:
        """Return where world i's body is in a window, (row, column) with fractions."""
        layout, pose = self.mapper.layout, carry["pose"][i]
        return (pose[[1, 0]] - np.array(layout.corner)[[1, 0]]) / layout.cell - window.corner

    def head_for(self, carry: Carry, i: int, window: Window, goals: Array) -> bool:
        """Plan the next turns and step of world i towards the nearest of cells (G, 2) of the window.

        Returns:
            Whether there is a way.
        """
        place, yaw = self.place(carry, i, window), carry["pose"][i, 2]
        start = np.floor(place).astype(int)
        to_go = cost_to_go(window.cost, goals, start, MARGIN)
        forward = self.body.forward / self.mapper.layout.cell
        turns = turns_and_step(to_go, window.cost, place, yaw, forward, self.turn, TURN_COST)
        path = downhill(to_go, start) + window.corner
        carry["plan"][i] = Plan(turns or 0, turns is not None, path, path[-1])
        return turns is not None

    def picture(self, carry: Carry, i: int) -> Array:
        """Return an image of world i's map, path and goal, (H, W, 3) uint8, always of the same size."""
        return draw_map(carry["map"][i], self.mapper.layout, carry["pose"][i], carry["plan"][i])


def dead_reckoned(yaw: Array, action: Array, turn: float) -> Array:
    """Return the yaw (n,) after actions (n,) whose turns are exact."""
    return wrapped(yaw + turn * np.select([action == LEFT, action == RIGHT], [1.0, -1.0]))

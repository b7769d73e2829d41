"""The privileged expert of the homes: habitat-sim's greedy follower of geodesic distance, and a search beyond it.

Source: habitat-sim `GreedyGeodesicFollower` (scoring and thrashing guard) and habitat-lab `ShortestPathFollower`.
Actions are Habitat's: 0 stop, 1 forward, 2 turn left, 3 turn right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.navmesh.navigator import Navigator

Array = NDArray[Any]

STOP, FORWARD, LEFT, RIGHT = 0, 1, 2, 3

TURN_COST = 0.0125
COLLISION_COST = 0.25
NEAR_WALL_COST, NEAR_WALL = 0.05, 0.2  # [-], [m]
GOOD_ENOUGH, TOO_BAD = np.float32(0.99), np.float32(-0.25)
MAX_ACTIONS = 5000


class FollowerError(RuntimeError):
    """The goal cannot be reached from here, or no action leads nearer."""


def forward_target(position: ArrayLike, yaw: float, distance: float) -> Array:
    """Where a step of `distance` [m] along yaw [rad] would end without walls, (3,)."""
    return np.asarray(position, np.float64) + distance * np.array([-np.sin(yaw), 0.0, -np.cos(yaw)])


def headings_to_a_side(turn: float) -> int:
    """How many turns to one side are tried, none included: habitat-sim adds them up in float32 until half a turn.

    Rounding decides whether the half turn itself is one of them: of 10, 15 or 30 degrees it is, of 45 it is not.
    """
    angle, count = np.float32(0), 0
    while angle < np.float32(np.pi):
        angle += np.float32(turn)
        count += 1
    return count


def is_collision(start: Array, target: Array, end: Array) -> bool:
    """habitat-sim's test: the step came out shorter than asked for."""
    moved, asked = end - start, target - start
    return bool(moved @ moved + 1e-5 < asked @ asked)


@dataclass(frozen=True)
class GreedyGeodesicFollower:
    """Turns and steps greedily down the geodesic distance. Lengths in metres, `turn` in radians."""

    navigator: Navigator
    forward: float = 0.25
    turn: float = float(np.deg2rad(10))
    goal_radius: float | None = None  # default 0.75 forward steps
    sliding: bool = True
    fix_thrashing: bool = True
    thrashing_threshold: int = 16

    def step(self, position: ArrayLike, yaw: float) -> tuple[Array, bool]:
        """A filtered forward step: where it ends (3,), and whether it collided."""
        start, target = np.asarray(position, np.float64), forward_target(position, yaw, self.forward)
        move = self.navigator.try_step if self.sliding else self.navigator.try_step_no_sliding
        end = move(start, target)
        return end, is_collision(start, target, end)

    def next_action(self, position: ArrayLike, yaw: float, goals: Any) -> int:
        """The first action of the best primitive. Raises FollowerError."""
        return self.primitive(position, yaw, goals)[0]

    def is_thrashing(self, recent: Sequence[int]) -> bool:
        """Whether the last actions, the newest last, were left and right in strict alternation."""
        last = recent[-self.thrashing_threshold :]
        if not self.fix_thrashing or len(last) < self.thrashing_threshold:
            return False
        return all({a, b} == {LEFT, RIGHT} for a, b in pairwise(last))

    def primitive(self, position: ArrayLike, yaw: float, goals: Any) -> list[int]:
        """The best of "n turns, then forward"; [STOP] within the goal radius. Raises FollowerError."""
        here = self.navigator.distance(position, goals)
        if not np.isfinite(here):
            raise FollowerError(f"No path leads from {np.asarray(position).round(3).tolist()} to the goal.")
        if here < (0.75 * self.forward if self.goal_radius is None else self.goal_radius):
            return [STOP]
        ahead = [(0, LEFT)]
        turned = [(n, side) for n in range(1, headings_to_a_side(self.turn)) for side in (LEFT, RIGHT)]
        # Most decisions are settled by the step straight ahead, so the turns are tried only where it is not enough.
        score = self._scores(position, yaw, ahead, here, goals)
        if score[0] <= GOOD_ENOUGH:
            score = np.append(score, self._scores(position, yaw, turned, here, goals))
        best = _first_best(score)
        if score[best] <= TOO_BAD:
            raise FollowerError(f"No step from {np.asarray(position).round(3).tolist()} leads nearer to the goal.")
        turns, side = (ahead + turned)[best]
        return [side] * turns + [FORWARD]

    def _scores(
        self, position: ArrayLike, yaw: float, candidates: list[tuple[int, int]], here: float, goals: Any
    ) -> Array:
        """(M,) float32 score of each "n turns to one side, then forward"."""
        turns = np.array([n for n, _ in candidates])
        heading = yaw + self.turn * turns * [1 if side == LEFT else -1 for _, side in candidates]
        start = np.asarray(position, np.float64)
        targets = start + self.forward * np.stack([-np.sin(heading), 0 * heading, -np.cos(heading)], axis=-1)
        ends, clearance, distance = self.navigator.probe_steps(start, targets, goals, self.sliding, 1.1 * NEAR_WALL)
        collided = ((ends - start) ** 2).sum(axis=1) + 1e-5 < ((targets - start) ** 2).sum(axis=1)
        progress = (np.float32(here) - distance.astype(np.float32)) / np.float32(self.forward)
        cost = TURN_COST * turns + COLLISION_COST * collided + NEAR_WALL_COST * (clearance < NEAR_WALL)
        return progress - cost.astype(np.float32)

    def find_path(self, position: ArrayLike, yaw: float, goals: Any) -> list[int]:
        """All actions up to and including the stop, whole primitives at a time; [] on failure, as habitat-sim."""
        actions: list[int] = []
        place = np.asarray(position, np.float64)
        while len(actions) < MAX_ACTIONS:
            try:
                primitive = self.primitive(place, yaw, goals)
            except FollowerError:
                return []
            actions += primitive
            if primitive == [STOP]:
                return actions
            yaw += self.turn * (primitive.count(LEFT) - primitive.count(RIGHT))
            place = self.step(place, yaw)[0].astype(np.float64)
        return []


def _first_best(score: Array) -> int:
    """The first of the best scores; the search ends with the first number of turns that is good enough."""
    rounds = np.append(0, (np.arange(1, len(score)) + 1) // 2)  # straight ahead, then left and right of each n
    good = np.flatnonzero(score > GOOD_ENOUGH)
    if len(good):
        score = score[rounds <= rounds[good[0]]]
    return int(np.argmax(score))

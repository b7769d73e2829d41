"""Privileged experts, one per world. They know the map and the goal.

Discrete actions follow habitat-sim's greedy follower; velocity actions steer along the shortest path; exploration
goes to the nearest floor not yet seen.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs import State
from embodia.envs.drawing.rotations import yaw_of
from embodia.envs.homes.experts.follower import FORWARD, STOP, FollowerError, GreedyGeodesicFollower
from embodia.envs.homes.experts.shortest_walk import shortest_walk
from embodia.envs.homes.measures.exploration import DONE, AreaSeen
from embodia.envs.homes.navmesh.navigator import Navigator
from embodia.envs.homes.tasks.navigation import Task, VelocityControl

Array = NDArray[Any]
Pose = tuple[int, ...]  # place in units of SAME_PLACE, and heading in turns

SAME_PLACE = 0.005  # [m]
ARRIVED = 0.3  # [m] from floor that the explorer meant to look at


class DiscreteExpert:
    """The greedy follower with its memory: recent actions, visited poses and committed actions.

    The follower decides by its pose alone. If its own actions lead it to the same pose twice, it would repeat them
    without end, so the shortest walk takes over.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.recent: list[int] = []
        self.committed: list[int] = []
        self.visited: list[Pose] = []  # after steps forward, all of them its own
        self.advised: int | None = None

    def reset(self) -> None:
        self.recent, self.committed, self.visited, self.advised = [], [], [], None

    def action(self, navigator: Navigator, position: Array, rotation: Array, goals: Any) -> int:
        """Return the follower's action, or the shortest walk's where the follower is stuck. Stop if there is none."""
        self.advised = self._decide(navigator, position, float(yaw_of(rotation)), goals)
        return self.advised

    def _decide(self, navigator: Navigator, position: Array, yaw: float, goals: Any) -> int:
        if self.committed:
            return self.committed[0]
        task = self.task
        follower = GreedyGeodesicFollower(
            navigator, task.forward, float(np.deg2rad(task.turn)), task.success_distance, task.sliding
        )
        try:
            primitive = follower.primitive(position, yaw, goals)
        except FollowerError:
            return self._walk(follower, position, yaw, goals)
        if primitive != [STOP] and self._goes_round(position, yaw):
            return self._walk(follower, position, yaw, goals)
        if follower.is_thrashing(self.recent):
            self.committed = primitive
        return primitive[0]

    def _walk(self, follower: GreedyGeodesicFollower, position: Array, yaw: float, goals: Any) -> int:
        self.committed = shortest_walk(follower, position, yaw, goals)
        return self.committed[0] if self.committed else STOP

    def _goes_round(self, position: Array, yaw: float) -> bool:
        """Whether the last step forward led to a pose where an earlier one had led."""
        if self.recent[-1:] != [FORWARD]:
            return False
        turns = round(yaw / np.deg2rad(self.task.turn)) % round(360 / self.task.turn)
        pose = (*(round(float(x) / SAME_PLACE) for x in position), turns)
        if pose in self.visited:
            return True
        self.visited.append(pose)
        return False

    def done(self, action: int) -> None:
        """Record an executed action, the expert's or another policy's."""
        self.recent = [*self.recent[-15:], int(action)]
        self.committed = self.committed[1:] if self.committed[:1] == [action] else []
        if action != self.advised:
            self.visited = []
        self.advised = None

    def get_state(self) -> dict[str, Any]:
        return {
            "recent": list(self.recent),
            "committed": list(self.committed),
            "visited": [list(pose) for pose in self.visited],
            "advised": self.advised,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.recent, self.committed = list(state["recent"]), list(state["committed"])
        self.visited, self.advised = [tuple(pose) for pose in state["visited"]], state["advised"]


def velocity_action(
    task: Task, control: VelocityControl, navigator: Navigator, position: Array, rotation: Array, goals: Any
) -> Array:
    """(2,) float32 in [-1, 1]: turn towards the next corner of the shortest path, go when it lies ahead."""
    halt = _command(control, 0.0, 0.0)
    path = navigator.shortest_path(position, goals)
    # Within three quarters of the success distance: a step of the discrete follower's own margin.
    if not np.isfinite(path.geodesic_distance) or path.geodesic_distance < 0.75 * task.success_distance:
        return halt
    ahead = path.points - np.asarray(position)
    reach = np.hypot(ahead[:, 0], ahead[:, 2])
    far = np.flatnonzero(reach > 0.02)
    if not len(far):
        return halt
    right, _, back = ahead[far[0]]
    bearing = np.rad2deg((np.arctan2(-right, -back) - yaw_of(rotation) + np.pi) % (2 * np.pi) - np.pi)
    turning = float(np.clip(bearing / control.time_step, *control.angular))
    if abs(bearing) > 2 * control.angular[1] * control.time_step:
        return _command(control, 0.0, turning)
    speed = float(np.clip(reach[far[0]] / control.time_step, 2 * control.min_linear, control.linear[1]))
    return _command(control, speed, turning)


def _command(control: VelocityControl, linear: float, angular: float) -> Array:
    """Speeds [m/s], [deg/s] -> the action that asks for them."""
    low, high = np.array([control.linear, control.angular]).T
    return (2 * (np.array([linear, angular]) - low) / (high - low) - 1).astype(np.float32)


class ExplorationGoals:
    """The floor to look at next. It is kept until it has been seen, so that the expert does not switch goals.

    Some corners never come into view. One that was approached in vain is given up, or the expert would go to and fro
    between two of them.
    """

    def __init__(self) -> None:
        self.target: Array | None = None
        self.given_up: list[Array] = []

    def reset(self) -> None:
        self.target, self.given_up = None, []

    def goal_set(self, navigator: Navigator, position: Array, area: AreaSeen) -> Any:
        """Return goals for the follower; None if no unseen floor can be reached."""
        if area.coverage >= min(DONE + 0.08, 1.0):
            return None
        if self.target is not None and not _seen(self.target, area) and _near(self.target, position):
            self.given_up.append(self.target)
            self.target = None
        if self.target is None or _seen(self.target, area):
            self.target = self._nearest_unseen(navigator, position, area)
        return None if self.target is None else navigator.goal_set(self.target)

    def _nearest_unseen(self, navigator: Navigator, position: Array, area: AreaSeen) -> Array | None:
        unseen = area.unseen()
        for place in (position, *self.given_up):
            unseen = unseen[~_near(unseen, place)]
        if not len(unseen):
            return None
        path = navigator.shortest_path(position, navigator.goal_set(unseen))
        return None if path.closest_end == -1 else unseen[path.closest_end]


def _near(places: Array, place: Array) -> Array:
    """Whether places (..., 3) lie within ARRIVED of a place (3,) in plan."""
    return np.asarray(np.linalg.norm((places - place)[..., [0, 2]], axis=-1) <= ARRIVED)


def _seen(target: Array, area: AreaSeen) -> bool:
    return bool(area.mask[area.grid.to_grid(target[0], target[2])])


class Experts:
    """Experts of N worlds.

    Args:
        num_envs: number of worlds.
        task: the task.
        control: the velocity action; None where actions are discrete.
    """

    def __init__(self, num_envs: int, task: Task, control: VelocityControl | None) -> None:
        self.task, self.control = task, control
        self.followers = [DiscreteExpert(task) for _ in range(num_envs)]
        self.frontiers = [ExplorationGoals() for _ in range(num_envs)]

    def forget(self, i: int) -> None:
        """Reset the expert of world i for a new episode."""
        self.followers[i].reset()
        self.frontiers[i].reset()

    def done(self, worlds: Array, actions: Array) -> None:
        """Record the executed discrete actions (N,) of worlds (n,)."""
        for i in worlds:
            self.followers[i].done(int(actions[i]))

    def action(
        self, i: int, navigator: Navigator, position: Array, rotation: Array, goals: Any, area: AreaSeen | None
    ) -> Any:
        """Return world i's action towards its goals, or towards unseen floor if it explores an `area`."""
        if area is not None:
            goals = self.frontiers[i].goal_set(navigator, position, area)
        if self.control is not None:
            goals = navigator.goal_set(position) if goals is None else goals
            return velocity_action(self.task, self.control, navigator, position, rotation, goals)
        return STOP if goals is None else self.followers[i].action(navigator, position, rotation, goals)

    def get_state(self) -> State:
        targets = [frontier.target for frontier in self.frontiers]
        return {
            "frontiers": [None if target is None else target.copy() for target in targets],
            "given_up": [list(frontier.given_up) for frontier in self.frontiers],
            "experts": [follower.get_state() for follower in self.followers],
        }

    def set_state(self, state: State) -> None:
        for frontier, target, given_up in zip(self.frontiers, state["frontiers"], state["given_up"], strict=True):
            frontier.target, frontier.given_up = None if target is None else target.copy(), list(given_up)
        for follower, memory in zip(self.followers, state["experts"], strict=True):
            follower.set_state(memory)

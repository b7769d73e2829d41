"""Experts, which give an action in any state: the logged driver, or a planner."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.learning.drives import Drives
from embodia.envs.driving.learning.manoeuvre import ACCELERATION, STEERING_RATE, TRAJECTORY_TIMES, ActionKind
from embodia.envs.driving.learning.pool import Recent
from embodia.envs.driving.scenarios.scenario import Scenario
from embodia.envs.driving.simulation.closed_loop import CHALLENGE_HORIZON, Planner
from embodia.envs.driving.simulation.planner_runs import complaint, first_carry, next_plan
from embodia.envs.driving.simulation.worlds import ROOM
from embodia.envs.driving.types import Floats, Insight, InvalidTrajectory, Trajectory
from embodia.envs.driving.vehicle.log_expert import LogExpert, local_poses
from embodia.envs.driving.vehicle.lqr import Reference, fit_reference, lqr_commands, track

MakePlanner = Callable[[Scenario], Planner]
UNITS = (ACCELERATION, STEERING_RATE)


class Expert(Protocol):
    """Gives actions in any state."""

    def action(self, drives: Drives, i: int) -> tuple[Floats, Trajectory | None]:
        """Return world i's action, not clipped, and the whole plan that it stands for, or None."""

    def prepare(self, drives: Drives, worlds: Sequence[int]) -> None:
        """Plan for many worlds at once, if that is possible; `action` is asked for each of them afterwards."""

    def insight(self, i: int) -> Insight | None:
        """What the planner of world i saw in its last plan, if it tells."""

    def forget(self, mask: NDArray[np.bool_]) -> None:
        """Drop what is remembered of the worlds under a mask (N,): other episodes begin there."""


def make_expert(planner: MakePlanner | None, kind: ActionKind) -> Expert | None:
    """Return the logged driver, or a planner made for each scenario; None for manoeuvres, which have no expert."""
    if kind == "manoeuvre":
        return None
    return LoggedDriver(kind) if planner is None else PlannedDriver(planner, kind)


class LoggedDriver:
    """The recorded drive. From any state it returns to the recorded way, by a trajectory or by the LQR tracker."""

    def __init__(self, kind: ActionKind):
        self.kind = kind
        self.drives: Recent[tuple[LogExpert, Reference]] = Recent(ROOM)  # by scenario, whatever world drives it

    def action(self, drives: Drives, i: int) -> tuple[Floats, None]:
        log, t, ego = drives.scenario_of(i), drives.iteration(i), drives.ego(i).array()
        poses = log.ego[log.start :, :3]
        expert, reference = self.drives.get(drives.number_of(i), lambda: (LogExpert(poses), fit_reference(poses[None])))
        if self.kind == "trajectory":
            return expert.plan(t, ego, TRAJECTORY_TIMES).ravel(), None
        t = min(t, reference.poses.shape[1] - 2)
        profiles = (reference.velocity, reference.curvature, reference.times())
        return lqr_commands(ego[None], reference.poses[:, t], *profiles, 0.1 * t)[0] / UNITS, None

    def prepare(self, drives: Drives, worlds: Sequence[int]) -> None: ...

    def insight(self, i: int) -> None: ...

    def forget(self, mask: NDArray[np.bool_]) -> None: ...


class PlannedDriver:
    """One planner per world, made for its scenario at the first call."""

    def __init__(self, make: MakePlanner, kind: ActionKind):
        self.make, self.kind = make, kind
        self.planners: dict[int, tuple[Planner, dict[str, Any]]] = {}  # by world, each with its memory
        self.prepared: dict[int, tuple[Trajectory, dict[str, Any]]] = {}  # plans and memories, by world

    def prepare(self, drives: Drives, worlds: Sequence[int]) -> None:
        self.prepared = {}
        if len(worlds) < 2:
            return
        begun = [self.begun(drives, i) for i in worlds]
        planner = begun[0][0]
        if all(each is planner for each, _ in begun) and hasattr(planner, "plans"):
            with suppress(Exception):  # each is asked alone then, and complains on its own account
                found = planner.plans([drives.scene(i) for i in worlds], [carry for _, carry in begun])
                self.prepared = dict(zip(worlds, found))

    def begun(self, drives: Drives, i: int) -> tuple[Planner, dict[str, Any]]:
        """World i's planner and its memory."""
        if i not in self.planners:
            planner = self.make(drives.scenario_of(i))
            self.planners[i] = planner, first_carry(planner, drives.scenario_of(i))
        return self.planners[i]

    def action(self, drives: Drives, i: int) -> tuple[Floats, Trajectory]:
        """Raises PlannerError, which names scenario and iteration."""
        scenario, scene = drives.scenario_of(i), drives.scene(i)
        planner, carry = self.begun(drives, i)
        if i in self.prepared:
            plan, carry = self.prepared.pop(i)
        else:
            plan, carry = next_plan(planner, scenario, scene, carry)
        self.planners[i] = planner, carry
        try:
            plan.check(scene.time_us, CHALLENGE_HORIZON)
        except InvalidTrajectory as error:
            raise complaint(planner, scenario, scene.iteration, str(error)) from error
        ego = scene.ego.array()
        if self.kind == "continuous":
            return track(ego, plan, scene.time_us) / UNITS, plan
        times = scene.time_us + np.round(TRAJECTORY_TIMES * 1e6).astype(np.int64)
        return local_poses(plan.at(np.minimum(times, plan.end_us))[:, :3], ego).ravel(), plan

    def insight(self, i: int) -> Insight | None:
        planner, carry = self.planners.get(i, (None, {}))
        return planner.insight(carry) if planner is not None and hasattr(planner, "insight") else None

    def forget(self, mask: NDArray[np.bool_]) -> None:
        for i in np.flatnonzero(mask).tolist():
            self.planners.pop(i, None)

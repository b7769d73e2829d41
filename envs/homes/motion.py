"""Motion of the agents in N worlds: Habitat's discrete steps and velocity action, filtered by the navmesh."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.rotations import from_yaw, multiply, rotate
from embodia.envs.homes.engines.engine import Home
from embodia.envs.homes.observations import Poses
from embodia.envs.homes.tasks.navigation import (
    FORWARD,
    LEFT,
    LOOK_DOWN,
    LOOK_UP,
    RIGHT,
    STOP,
    Task,
    VelocityControl,
)

Array = NDArray[Any]


def move(task: Task, poses: Poses, homes: Sequence[Home], actions: Array, active: Array) -> tuple[Array, Array]:
    """Execute discrete actions (N,) where `active` (N,), in place; return (N,) stopped and (N,) collided."""
    turning = np.select([actions == LEFT, actions == RIGHT], [1.0, -1.0]) * active
    tilting = np.select([actions == LOOK_UP, actions == LOOK_DOWN], [1.0, -1.0]) * active
    turn = from_yaw(turning * np.deg2rad(task.turn))
    poses.rotation = np.where(turning[:, None] != 0, multiply(poses.rotation, turn), poses.rotation)
    poses.tilt = poses.tilt + tilting * np.deg2rad(task.tilt)
    collided = advance(task, poses, homes, active & (actions == FORWARD), np.full(len(actions), task.forward))
    return active & (actions == STOP), collided


def drift(
    task: Task, control: VelocityControl, poses: Poses, homes: Sequence[Home], actions: Array, active: Array
) -> tuple[Array, Array]:
    """Execute velocity actions (N, 2) where `active` (N,), in place; return (N,) stopped and (N,) collided."""
    linear, angular = control.speeds(actions).T
    stopped = active & (np.abs(linear) < control.min_linear) & (np.abs(angular) < control.min_angular)
    going = active & ~stopped
    collided = advance(task, poses, homes, going, linear * control.time_step)
    turn = from_yaw(np.deg2rad(angular) * control.time_step)
    poses.rotation = np.where(going[:, None], multiply(poses.rotation, turn), poses.rotation)
    return stopped, collided


def advance(task: Task, poses: Poses, homes: Sequence[Home], going: Array, lengths: Array) -> Array:
    """Move straight ahead by `lengths` (N,) [m], filtered, in place; return (N,) whether a step collided."""
    start = poses.position
    target = start + rotate(poses.rotation, np.stack([0 * lengths, 0 * lengths, -lengths], axis=-1))
    end = start.copy()
    for i in np.flatnonzero(going).tolist():
        finder = homes[i].pathfinder
        end[i] = (finder.try_step if task.sliding else finder.try_step_no_sliding)(start[i], target[i])
    poses.position = end
    came, asked = ((end - start) ** 2).sum(axis=1), ((target - start) ** 2).sum(axis=1)
    return going & (came + 1e-5 < asked)

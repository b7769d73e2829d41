"""The LQR tracker that drives a planned trajectory through the bicycle, for one ego or a batch of proposals.

nuPlan's LQRTracker: velocity and curvature profiles are fitted to the planned poses by regularised least squares, then
one-step LQR problems over a one-second horizon give an acceleration and a steering rate. The fit depends on the
trajectory alone and is done once; all of it is scalar recurrences, compiled, the same for one ego and for many.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from embodia.envs.compiled import cached
from embodia.envs.driving.types import STATE_SIZE, Floats, Ints, InvalidTrajectory, Trajectory, interpolated, unwrapped
from embodia.envs.driving.vehicle.bicycle import PACIFICA, move

DT = 0.1  # [s] of the fit and of the horizon's steps
STEP_US = 100_000  # the same in microseconds
HORIZON = 10  # steps
LONGITUDINAL_GAIN = 10.0 / 11.0  # B q / (B^2 q + r) with B = 1 s, q = 10, r = 1
LATERAL_WEIGHT = 1.0
HEADING_WEIGHT = 10.0
STEERING_RATE_WEIGHT = 1.0
JERK_PENALTY = 1e-4
CURVATURE_RATE_PENALTY = 1e-2
INITIAL_CURVATURE_PENALTY = 1e-10
STOPPING_GAIN = 0.5
STOPPING_SPEED = 0.2  # [m/s]


Penalty = Literal["jerk", "acceleration"]
"""What the velocity fit keeps small: nuPlan's tracker jerk, PDM-Closed's copy of it accelerations (`penalised`)."""


def penalised(num_steps: int, penalty: Penalty) -> Floats:
    """Rows (M - 2, M) of the velocity fit's penalty on (v_0, a_0, ..., a_{M-2}).

    "jerk" is nuPlan's: the differences of neighbouring accelerations. "acceleration" is what the published code of
    PDM-Closed computes: it writes +1 to the right of the diagonal and then overwrites all of it but the last row's
    with -1, so every row but the last penalises one acceleration by itself.
    """
    jerk = np.diff(np.eye(num_steps), axis=0)[1:] if num_steps > 2 else np.zeros((0, num_steps))
    if penalty == "acceleration":
        jerk[:-1] = np.minimum(jerk[:-1], 0.0)
    return jerk


@lru_cache(maxsize=64)
def velocity_fit(num_steps: int, penalty: Penalty = "jerk") -> Floats:
    """The constant matrix (M, M) that takes displacements along the headings (M,) [m] to the velocity profile [m/s].

    Unknowns are v_0 and M - 1 accelerations. Headings drop out of the normal equations, because cos^2 + sin^2 = 1, so
    the pseudo-inverse depends on the number of steps and on what is penalised alone.
    """
    integrate = np.tri(num_steps) * DT
    integrate[:, 0] = 1.0  # v_k = v_0 + dt * (a_0 + ... + a_{k-1})
    travel = DT * integrate
    rows = penalised(num_steps, penalty)
    return np.asarray(integrate @ np.linalg.pinv(travel.T @ travel + JERK_PENALTY * rows.T @ rows) @ travel.T)


@lru_cache(maxsize=64)
def fitting_columns(num_steps: int, penalty: Penalty = "jerk") -> Floats:
    """`velocity_fit` by columns, as the compiled fit reads it."""
    return np.ascontiguousarray(velocity_fit(num_steps, penalty).T)


@cached
def fit_velocity(poses: Floats, columns: Floats) -> Floats:
    """Velocity profile (M,) [m/s] of poses (M + 1, 3), by the columns (M, M) of `velocity_fit`."""
    steps = len(columns)
    velocity = np.zeros(steps)
    for k in range(steps):
        heading = poses[k, 2]
        dx, dy = poses[k + 1, 0] - poses[k, 0], poses[k + 1, 1] - poses[k, 1]
        along = dx * math.cos(heading) + dy * math.sin(heading)
        for i in range(steps):
            velocity[i] += columns[k, i] * along
    return velocity


@cached
def fit_curvature(poses: Floats, velocity: Floats) -> Floats:
    """Curvature profile (M,) [1/m] from poses (M + 1, 3) and their velocity profile (M,) [m/s].

    Minimises sum (dh_k - v_k dt c_k)^2 + 1e-2 sum ((c_{k+1} - c_k) / dt)^2 + 1e-10 c_0^2: a chain of springs, solved
    exactly from its far end by series and parallel stiffness, without a subtraction.
    """
    steps = len(velocity)
    spring = CURVATURE_RATE_PENALTY / DT**2
    out = np.empty(steps)
    stiffness, force = np.empty(steps), np.empty(steps)
    for k in range(steps - 1, -1, -1):
        arm = velocity[k] * DT
        stiffness[k] = arm * arm + (INITIAL_CURVATURE_PENALTY if k == 0 else 0.0)
        force[k] = arm * wrap(poses[k + 1, 2] - poses[k, 2])
        if k < steps - 1:
            share = spring / (spring + stiffness[k + 1])
            stiffness[k] += share * stiffness[k + 1]
            force[k] += share * force[k + 1]
    out[0] = force[0] / stiffness[0]
    for k in range(1, steps):
        out[k] = (force[k] + spring * out[k - 1]) / (stiffness[k] + spring)
    return out


@cached
def fit_profiles(poses: Floats, columns: Floats) -> tuple[Floats, Floats]:
    """Velocity and curvature profiles (B, M) of poses (B, M + 1, 3)."""
    velocity, curvature = np.empty((len(poses), len(columns))), np.empty((len(poses), len(columns)))
    for b in range(len(poses)):
        velocity[b] = fit_velocity(poses[b], columns)
        curvature[b] = fit_curvature(poses[b], velocity[b])
    return velocity, curvature


@dataclass(frozen=True)
class Reference:
    """B trajectories prepared for tracking: poses every 0.1 s with fitted velocity and curvature."""

    start_us: int
    poses: Floats  # (B, M + 1, 3) rear axle
    velocity: Floats  # (B, M) [m/s]
    curvature: Floats  # (B, M) [1/m]

    def times(self) -> Floats:
        """(M,) [s] of the profiles."""
        return (self.start_us + STEP_US * np.arange(self.velocity.shape[1])) / 1e6


def fit_reference(poses: Floats, start_us: int = 0, penalty: Penalty = "jerk") -> Reference:
    """Fit profiles to poses (B, M + 1, 3) that are 0.1 s apart. Raises InvalidTrajectory for fewer than three."""
    if poses.shape[1] < 3:
        raise InvalidTrajectory(f"the LQR tracker needs at least 0.2 s of trajectory, 3 poses; got {poses.shape[1]}")
    columns = fitting_columns(poses.shape[1] - 1, penalty)
    return Reference(start_us, poses, *fit_profiles(np.ascontiguousarray(poses, np.float64), columns))


def reference_of(trajectory: Trajectory) -> Reference:
    """The reference (B = 1) of one trajectory, resampled every 0.1 s from its start."""
    times = np.arange(trajectory.start_us, trajectory.end_us + 1, STEP_US)
    return fit_reference(trajectory.at(times)[None, :, :3], trajectory.start_us)


@cached
def interpolate(profile: Floats, times: Floats, time: float) -> float:
    """Linear interpolation of a profile (M,) at increasing times (M,) [s], clamped to its ends."""
    if time <= times[0]:
        return profile[0]
    if time >= times[-1]:
        return profile[-1]
    low = int((time - times[0]) / (times[-1] - times[0]) * (len(times) - 1))  # evenly spaced, but for rounding
    while times[low] > time:
        low -= 1
    while times[low + 1] <= time:
        low += 1
    slope = (profile[low + 1] - profile[low]) / (times[low + 1] - times[low])
    return profile[low] + slope * (time - times[low])


@cached
def wrap(angle: float) -> float:
    return (angle + np.pi) % (2 * np.pi) - np.pi


@cached
def steering_rate(offset: float, turn: float, steering: float, v: float, accel: float, curvature: Floats) -> float:
    """One constant steering rate over the horizon that minimises the errors at its end.

    offset, turn: lateral [m] and heading error [rad]; v, accel: speed [m/s] and acceleration held over the horizon;
    curvature (HORIZON,). The errors are affine in the rate: e_N = zero-input response + response * rate.
    """
    response_offset = response_turn = response_steering = 0.0
    for k in range(HORIZON):
        travel = (v + accel * DT * k) * DT
        offset, response_offset = offset + travel * turn, response_offset + travel * response_turn
        turn += travel * (steering / PACIFICA_WHEEL_BASE - curvature[k])
        response_turn += travel / PACIFICA_WHEEL_BASE * response_steering
        response_steering += DT
    gain = LATERAL_WEIGHT * response_offset**2 + HEADING_WEIGHT * response_turn**2 + STEERING_RATE_WEIGHT
    return -(LATERAL_WEIGHT * response_offset * offset + HEADING_WEIGHT * response_turn * wrap(turn)) / gain


PACIFICA_WHEEL_BASE = PACIFICA.wheel_base


@cached
def command(
    state: Floats, pose: Floats, velocity: Floats, curvature: Floats, times: Floats, now: float
) -> tuple[float, float]:
    """Acceleration and steering rate of one ego; see `lqr_commands`."""
    heading, v = state[2], state[3]
    v_ref = interpolate(velocity, times, now + HORIZON * DT)
    if v_ref <= STOPPING_SPEED and v <= STOPPING_SPEED:
        return -STOPPING_GAIN * (v - v_ref), 0.0
    accel = -LONGITUDINAL_GAIN * (v - v_ref)
    ahead = np.empty(HORIZON)
    for k in range(HORIZON):
        ahead[k] = interpolate(curvature, times, now + k * DT)
    h = pose[2]
    offset = (state[1] - pose[1]) * np.cos(h) - (state[0] - pose[0]) * np.sin(h)
    return accel, steering_rate(offset, wrap(heading - h), state[7], v, accel, ahead)


@cached
def lqr_commands(
    states: Floats, poses: Floats, velocity: Floats, curvature: Floats, times: Floats, now: float
) -> Floats:
    """Commands (B, 2): acceleration [m/s^2] and steering rate [rad/s].

    states (B, 11); reference poses (B, 3) now; velocity and curvature profiles (B, M) at times (M,) [s]; now [s].
    """
    commands = np.empty((len(states), 2))
    for b in range(len(states)):
        commands[b, 0], commands[b, 1] = command(states[b], poses[b], velocity[b], curvature[b], times, now)
    return commands


def track(state: Floats, trajectory: Trajectory, now_us: int, reference: Reference | None = None) -> Floats:
    """Acceleration and steering rate (2,) that make the ego state (11,) follow the trajectory from now on."""
    reference = reference_of(trajectory) if reference is None else reference
    pose = trajectory.at(now_us)[None, :3]
    # seconds since the epoch keep no more than 2e-7 s; the devkit interpolates in them, and a second's look-ahead shows
    commands = lqr_commands(
        state[None], pose, reference.velocity, reference.curvature, reference.times(), now_us * 1e-6
    )
    return np.asarray(commands[0])


def drive(states: Floats, trajectories: Sequence[Trajectory], until_us: Ints) -> Floats:
    """Drive each of B egos (B, 11) along its own trajectory, from that trajectory's start until a time (B,): (B, 11).

    What `track` and `bicycle_step` do, for all at once. Raises InvalidTrajectory for one shorter than 0.2 s.
    """
    lengths = [(len(each.time_us), (each.end_us - each.start_us) // STEP_US) for each in trajectories]
    out = np.empty((len(trajectories), STATE_SIZE))
    for length in set(lengths):
        if length[1] < 2:
            raise InvalidTrajectory(f"the LQR tracker needs at least 0.2 s of trajectory, 3 poses; got {length[1] + 1}")
        rows = [b for b, each in enumerate(lengths) if each == length]
        times = np.stack([trajectories[b].time_us for b in rows])
        planned = np.stack([trajectories[b].states for b in rows])
        out[rows] = drive_alike(states[rows], times, planned, until_us[rows], fitting_columns(length[1]))
    return out


@cached
def drive_alike(states: Floats, time_us: Ints, planned: Floats, until_us: Ints, columns: Floats) -> Floats:
    """States (B, 11) at `until_us` (B,), along trajectories of one length: times (B, m), states (B, m, 8)."""
    out = np.empty_like(states)
    count = len(columns)
    for b in range(len(states)):
        start = time_us[b, 0]
        nodes = planned[b, :, :3].copy()
        nodes[:, 2] = unwrapped(nodes[:, 2])
        poses = interpolated(time_us[b], nodes, start + STEP_US * np.arange(count + 1))
        velocity = fit_velocity(poses, columns)
        times = (start + STEP_US * np.arange(count)) / 1e6
        # seconds since the epoch, as in `track`
        a, rate = command(states[b], poses[0], velocity, fit_curvature(poses, velocity), times, start * 1e-6)
        move(states[b], a, rate, (until_us[b] - start) * 1e-6, out[b])
    return out


def simulate_proposals(state: Floats, poses: Floats) -> Floats:
    """Drive B planned pose sequences (B, M + 1, 3), 0.1 s apart from now on, at once: ego states (B, M + 1, 11).

    Every proposal starts from the same ego state (11,) and is tracked by the LQR tracker through the bicycle, its
    velocities fitted as the published code of PDM-Closed fits them (see `penalised`).
    """
    reference = fit_reference(poses, penalty="acceleration")
    return np.asarray(roll_out(state, reference.poses, reference.velocity, reference.curvature, reference.times()))


@cached
def roll_out(state: Floats, poses: Floats, velocity: Floats, curvature: Floats, times: Floats) -> Floats:
    states = np.empty((*poses.shape[:2], STATE_SIZE))
    for b in range(len(poses)):
        states[b, 0] = state
        for k in range(poses.shape[1] - 1):
            a, rate = command(states[b, k], poses[b, k], velocity[b], curvature[b], times, k * DT)
            move(states[b, k], a, rate, DT, states[b, k + 1])
    return states

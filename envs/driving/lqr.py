"""The LQR tracker that drives a planned trajectory through the bicycle, for one ego or a batch of proposals.

nuPlan's LQRTracker: velocity and curvature profiles are fitted to the planned poses by regularised least squares, then
one-step LQR problems over a one-second horizon give an acceleration and a steering rate. The fit depends on the
trajectory alone and is done once; the commands are scalar recurrences, compiled.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

from envs.driving.geometry import wrap_angle
from envs.driving.types import Floats, InvalidTrajectory, Trajectory
from envs.driving.vehicle import PACIFICA, bicycle_step

DT = 0.1  # [s] of the fit and of the horizon's steps
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


@lru_cache(maxsize=64)
def velocity_fit(num_steps: int) -> Floats:
    """The constant matrix (M, M) that takes displacements along the headings (M,) [m] to the velocity profile [m/s].

    Unknowns are v_0 and M - 1 accelerations, with a penalty on jerk. Headings drop out of the normal equations,
    because cos^2 + sin^2 = 1, so the pseudo-inverse depends on the number of steps alone.
    """
    integrate = np.tri(num_steps) * DT
    integrate[:, 0] = 1.0  # v_k = v_0 + dt * (a_0 + ... + a_{k-1})
    travel = DT * integrate
    jerk = np.diff(np.eye(num_steps), axis=0)[1:] if num_steps > 2 else np.zeros((0, num_steps))
    return np.asarray(integrate @ np.linalg.pinv(travel.T @ travel + JERK_PENALTY * jerk.T @ jerk) @ travel.T)


@njit(cache=True)
def fit_curvature(turns: Floats, velocity: Floats) -> Floats:
    """Curvature profiles (B, M) [1/m] from heading increments (B, M) [rad] and velocity profiles (B, M) [m/s].

    Minimises sum (dh_k - v_k dt c_k)^2 + 1e-2 sum ((c_{k+1} - c_k) / dt)^2 + 1e-10 c_0^2: a chain of springs, solved
    exactly from its far end by series and parallel stiffness, without a subtraction.
    """
    batch, steps = turns.shape
    spring = CURVATURE_RATE_PENALTY / DT**2
    out = np.empty((batch, steps))
    stiffness, force = np.empty(steps), np.empty(steps)
    for b in range(batch):
        for k in range(steps - 1, -1, -1):
            arm = velocity[b, k] * DT
            stiffness[k] = arm * arm + (INITIAL_CURVATURE_PENALTY if k == 0 else 0.0)
            force[k] = arm * turns[b, k]
            if k < steps - 1:
                share = spring / (spring + stiffness[k + 1])
                stiffness[k] += share * stiffness[k + 1]
                force[k] += share * force[k + 1]
        out[b, 0] = force[0] / stiffness[0]
        for k in range(1, steps):
            out[b, k] = (force[k] + spring * out[b, k - 1]) / (stiffness[k] + spring)
    return out


@dataclass(frozen=True)
class Reference:
    """B trajectories prepared for tracking: poses every 0.1 s with fitted velocity and curvature."""

    start_us: int
    poses: Floats  # (B, M + 1, 3) rear axle
    velocity: Floats  # (B, M) [m/s]
    curvature: Floats  # (B, M) [1/m]

    def times(self) -> Floats:
        """(M,) [s] of the profiles."""
        return (self.start_us + round(DT * 1e6) * np.arange(self.velocity.shape[1])) / 1e6


def fit_reference(poses: Floats, start_us: int = 0) -> Reference:
    """Fit profiles to poses (B, M + 1, 3) that are 0.1 s apart. Raises InvalidTrajectory for fewer than three."""
    if poses.shape[1] < 3:
        raise InvalidTrajectory(f"the LQR tracker needs at least 0.2 s of trajectory, 3 poses; got {poses.shape[1]}")
    steps = np.diff(poses, axis=1)
    headings = poses[:, :-1, 2]
    along = steps[..., 0] * np.cos(headings) + steps[..., 1] * np.sin(headings)
    velocity = along @ velocity_fit(along.shape[1]).T
    return Reference(start_us, poses, velocity, fit_curvature(wrap_angle(steps[..., 2]), velocity))


def reference_of(trajectory: Trajectory) -> Reference:
    """The reference (B = 1) of one trajectory, resampled every 0.1 s from its start."""
    step = round(DT * 1e6)
    times = np.arange(trajectory.start_us, trajectory.end_us + 1, step)
    return fit_reference(trajectory.at(times)[None, :, :3], trajectory.start_us)


@njit(cache=True)
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


@njit(cache=True)
def wrap(angle: float) -> float:
    return (angle + np.pi) % (2 * np.pi) - np.pi


@njit(cache=True)
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


@njit(cache=True)
def lqr_commands(
    states: Floats, poses: Floats, velocity: Floats, curvature: Floats, times: Floats, now: float
) -> Floats:
    """Commands (B, 2): acceleration [m/s^2] and steering rate [rad/s].

    states (B, 11); reference poses (B, 3) now; velocity and curvature profiles (B, M) at times (M,) [s]; now [s].
    """
    commands = np.zeros((len(states), 2))
    ahead = np.empty(HORIZON)
    for b in range(len(states)):
        x, y, heading, v = states[b, 0], states[b, 1], states[b, 2], states[b, 3]
        v_ref = interpolate(velocity[b], times, now + HORIZON * DT)
        if v_ref <= STOPPING_SPEED and v <= STOPPING_SPEED:
            commands[b, 0] = -STOPPING_GAIN * (v - v_ref)
            continue
        accel = -LONGITUDINAL_GAIN * (v - v_ref)
        for k in range(HORIZON):
            ahead[k] = interpolate(curvature[b], times, now + k * DT)
        h = poses[b, 2]
        offset = (y - poses[b, 1]) * np.cos(h) - (x - poses[b, 0]) * np.sin(h)
        commands[b, 0] = accel
        commands[b, 1] = steering_rate(offset, wrap(heading - h), states[b, 7], v, accel, ahead)
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


def simulate_proposals(state: Floats, poses: Floats) -> Floats:
    """Drive B planned pose sequences (B, M + 1, 3), 0.1 s apart from now on, at once: ego states (B, M + 1, 11).

    Every proposal starts from the same ego state (11,) and is tracked by the LQR tracker through the bicycle.
    """
    reference = fit_reference(poses)
    times = reference.times()
    states = np.empty((*poses.shape[:2], state.shape[-1]))  # (B, M + 1, 11)
    states[:, 0] = state
    for k in range(poses.shape[1] - 1):
        commands = lqr_commands(states[:, k], poses[:, k], reference.velocity, reference.curvature, times, k * DT)
        states[:, k + 1] = bicycle_step(states[:, k], commands[:, 0], commands[:, 1], DT)
    return states

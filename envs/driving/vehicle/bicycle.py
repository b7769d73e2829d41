"""The ego vehicle: its measures, and the kinematic bicycle that moves it, for one vehicle or any batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from embodia.envs.compiled import cached
from embodia.envs.driving.map.geometry import shifted_boxes
from embodia.envs.driving.types import STATE_SIZE, Floats, StateColumn


@dataclass(frozen=True)
class VehicleParameters:
    """Measures of a vehicle [m]; the rear axle is its origin."""

    width: float
    front_length: float  # rear axle to front bumper
    rear_length: float  # rear axle to rear bumper
    wheel_base: float
    height: float
    cog_from_rear_axle: float

    @property
    def length(self) -> float:
        return self.front_length + self.rear_length

    @property
    def rear_axle_to_center(self) -> float:
        return self.length / 2 - self.rear_length


PACIFICA = VehicleParameters(
    width=2.297,
    front_length=4.049,
    rear_length=1.127,
    wheel_base=3.089,
    height=1.777,
    cog_from_rear_axle=1.67,
)
"""nuPlan's ego, a Chrysler Pacifica."""

ACCELERATION_TIME_CONSTANT = 0.2  # [s]
STEERING_TIME_CONSTANT = 0.05  # [s]
MAX_STEERING = np.pi / 3  # [rad]
WHEEL_BASE = PACIFICA.wheel_base  # [m]
MAX_EGO_SPEED = 50.0  # [m/s] beyond which perfect tracking refuses


def bicycle_step(
    states: Floats, acceleration: Floats | float, steering_rate: Floats | float, dt: float | Floats
) -> Floats:
    """One step of the kinematic bicycle with first-order lags on both commands (nuPlan's KinematicBicycleModel).

    states (..., 11), commanded acceleration (...) [m/s^2] and steering rate (...) [rad/s], dt [s] -> states (..., 11).
    Positions advance with the old speed, heading and steering (explicit Euler); speed may become negative.
    """
    shape = np.broadcast_shapes(states.shape[:-1], *(np.shape(each) for each in (acceleration, steering_rate, dt)))
    rows = np.array(np.broadcast_to(states, (*shape, STATE_SIZE)), np.float64).reshape(-1, STATE_SIZE)
    a, rate, step = (np.array(np.broadcast_to(v, shape), np.float64).ravel() for v in (acceleration, steering_rate, dt))
    return np.asarray(step_bicycles(rows, a, rate, step)).reshape(*shape, STATE_SIZE)


@cached
def step_bicycles(states: Floats, acceleration: Floats, steering_rate: Floats, dt: Floats) -> Floats:
    """`bicycle_step` for states (B, 11) and commands and dt (B,)."""
    out = np.empty_like(states)
    for b in range(len(states)):
        move(states[b], acceleration[b], steering_rate[b], dt[b], out[b])
    return out


@cached
def move(state: Floats, acceleration: float, steering_rate: float, dt: float, out: Floats) -> None:
    """Write the state (11,) that follows `state` (11,), in the order of `StateColumn`."""
    heading, v, a, steering = state[2], state[3], state[5], state[7]
    lagged_acceleration = a + dt / (dt + ACCELERATION_TIME_CONSTANT) * (acceleration - a)
    lagged_steering = steering + dt / (dt + STEERING_TIME_CONSTANT) * (dt * steering_rate)
    lagged_rate = (lagged_steering - steering) / dt
    out[0] = state[0] + v * math.cos(heading) * dt
    out[1] = state[1] + v * math.sin(heading) * dt
    out[2] = (heading + v * math.tan(steering) / WHEEL_BASE * dt + math.pi) % (2 * math.pi) - math.pi
    out[3] = v + lagged_acceleration * dt
    out[4], out[6] = 0.0, 0.0
    out[5] = lagged_acceleration
    out[7] = min(max(steering + lagged_rate * dt, -MAX_STEERING), MAX_STEERING)
    out[8] = lagged_rate
    yaw_rate = out[3] * math.tan(out[7]) / WHEEL_BASE
    out[10] = (yaw_rate - state[9]) / dt
    out[9] = yaw_rate


def ego_boxes(states: Floats, vehicle: VehicleParameters = PACIFICA) -> Floats:
    """Boxes (..., 5) of ego states (..., >= 3) given at the rear axle."""
    return shifted_boxes(states[..., :3], vehicle.rear_axle_to_center, vehicle.length, vehicle.width)


def ego_centers(states: Floats, vehicle: VehicleParameters = PACIFICA) -> Floats:
    """Box centres (..., 2) of ego states (..., >= 3) given at the rear axle."""
    return ego_boxes(states, vehicle)[..., :2]


def center_velocities(states: Floats, vehicle: VehicleParameters = PACIFICA) -> Floats:
    """(..., 2) ego-frame velocity of the box centre: the rigid body adds r * yaw rate to the left."""
    velocity = states[..., [StateColumn.VX, StateColumn.VY]].copy()
    velocity[..., 1] += vehicle.rear_axle_to_center * states[..., StateColumn.YAW_RATE]
    return velocity


def center_accelerations(states: Floats, vehicle: VehicleParameters = PACIFICA) -> Floats:
    """(..., 2) ego-frame acceleration of the box centre as the devkit computes it.

    Both the centripetal and the tangential term are added along the displacement (x); the lateral acceleration stays
    that of the rear axle. Physically wrong, and what every published score rests on.
    """
    acceleration = states[..., [StateColumn.AX, StateColumn.AY]].copy()
    rate, rate_change = states[..., StateColumn.YAW_RATE], states[..., StateColumn.YAW_ACCELERATION]
    acceleration[..., 0] += vehicle.rear_axle_to_center * (rate**2 + rate_change)
    return acceleration


@dataclass(frozen=True)
class IdmParameters:
    """The intelligent driver model (Treiber et al. 2000) with nuPlan's numbers for traffic agents."""

    min_gap: float = 1.0  # [m]
    headway: float = 1.5  # [s]
    max_acceleration: float = 1.0  # [m/s^2]
    max_deceleration: float = 2.0  # [m/s^2]
    exponent: float = 4.0

    def acceleration(
        self, v: Floats | float, target: Floats | float, gap: Floats | float, lead_v: Floats | float
    ) -> Floats:
        """Acceleration (...) [m/s^2], unclipped, at speed v towards a target speed, `gap` [m] behind a leader.

        The desired gap is not clamped at zero: a leader that pulls away fast makes its square grow, as in nuPlan.
        """
        return np.asarray(self.law(v, target, gap, lead_v, np.maximum))

    def law(self, v: Any, target: Any, gap: Any, lead_v: Any, larger: Callable[[Any, Any], Any]) -> Any:
        """The formula itself, on numbers (`larger` is max) or on arrays (np.maximum)."""
        braking = 2 * math.sqrt(self.max_acceleration * self.max_deceleration)
        desired = self.min_gap + v * self.headway + v * (v - lead_v) / braking
        ratio = desired / larger(gap, self.min_gap)
        return self.max_acceleration * (1 - (v / target) ** self.exponent - ratio**2)

    def next_speed(
        self, v: Floats | float, target: Floats | float, gap: Floats | float, lead_v: Floats | float, dt: float
    ) -> Floats:
        """Speed (...) [m/s] after dt [s] with the acceleration clipped to the model's bounds; never negative."""
        change = np.clip(self.acceleration(v, target, gap, lead_v), -self.max_deceleration, self.max_acceleration)
        return np.maximum(v + dt * change, 0.0)

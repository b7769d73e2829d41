"""The ego vehicle: its measures, and the kinematic bicycle that moves it, for one vehicle or any batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.driving.geometry import shifted_boxes, wrap_angle
from envs.driving.types import Floats, StateColumn


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
MAX_EGO_SPEED = 50.0  # [m/s] beyond which perfect tracking refuses


def bicycle_step(
    states: Floats, acceleration: Floats | float, steering_rate: Floats | float, dt: float | Floats
) -> Floats:
    """One step of the kinematic bicycle with first-order lags on both commands (nuPlan's KinematicBicycleModel).

    states (..., 11), commanded acceleration (...) [m/s^2] and steering rate (...) [rad/s], dt [s] -> states (..., 11).
    Positions advance with the old speed, heading and steering (explicit Euler); speed may become negative.
    """
    c = StateColumn
    x, y, heading, v = (states[..., k] for k in (c.X, c.Y, c.HEADING, c.VX))
    steering, yaw_rate = states[..., c.STEERING], states[..., c.YAW_RATE]
    lagged_acceleration = states[..., c.AX] + dt / (dt + ACCELERATION_TIME_CONSTANT) * (
        acceleration - states[..., c.AX]
    )
    lagged_steering = steering + dt / (dt + STEERING_TIME_CONSTANT) * (dt * np.asarray(steering_rate))
    lagged_rate = (lagged_steering - steering) / dt

    out = np.zeros(np.broadcast_shapes(states.shape[:-1], np.shape(lagged_acceleration)) + states.shape[-1:])
    out[..., c.X] = x + v * np.cos(heading) * dt
    out[..., c.Y] = y + v * np.sin(heading) * dt
    out[..., c.HEADING] = wrap_angle(heading + v * np.tan(steering) / PACIFICA.wheel_base * dt)
    out[..., c.VX] = v + lagged_acceleration * dt
    out[..., c.AX] = lagged_acceleration
    out[..., c.STEERING] = np.clip(steering + lagged_rate * dt, -MAX_STEERING, MAX_STEERING)
    out[..., c.STEERING_RATE] = lagged_rate
    out[..., c.YAW_RATE] = out[..., c.VX] * np.tan(out[..., c.STEERING]) / PACIFICA.wheel_base
    out[..., c.YAW_ACCELERATION] = (out[..., c.YAW_RATE] - yaw_rate) / dt
    return out


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

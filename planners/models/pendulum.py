"""The torque-limited pendulum of Gymnasium's Pendulum-v1 as a differentiable model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.planners.models.analytic_model import AnalyticModel


@dataclass
class Pendulum(AnalyticModel):
    """Pendulum dynamics, integrated by semi-implicit Euler.

    x = (theta [rad], 0 upright, theta_dot [rad/s]); u = torque [N m].
    """

    gravity: float = 10.0  # gravitational acceleration [m/s^2]
    mass: float = 1.0  # mass of the rod [kg]
    length: float = 1.0  # length of the rod [m]
    dt: float = 0.05  # duration of an integration step [s]
    max_torque: float = 2.0  # maximum torque [N m]
    max_speed: float = 8.0  # maximum angular speed [rad/s]
    substeps: int = 1
    """Number of steps of dt per action: the control period is substeps * dt."""
    state_dim = 2
    action_dim = 1

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        theta, speed = x[..., 0], x[..., 1]
        torque = u[..., 0].clamp(-self.max_torque, self.max_torque)
        for _ in range(self.substeps):
            gravity = 3 * self.gravity / (2 * self.length) * theta.sin()
            speed = speed + (gravity + 3 / (self.mass * self.length**2) * torque) * self.dt
            speed = speed.clamp(-self.max_speed, self.max_speed)
            theta = theta + speed * self.dt
        return torch.stack([theta, speed], -1)

    def features(self, x: Tensor) -> Tensor:
        """Return (cos theta, sin theta, theta_dot)."""
        return torch.stack([x[..., 0].cos(), x[..., 0].sin(), x[..., 1]], -1)

    def from_features(self, seen: Tensor) -> Tensor:
        return torch.stack([torch.atan2(seen[..., 1], seen[..., 0]), seen[..., 2]], -1)

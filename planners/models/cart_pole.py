"""Swing-up of a pole on a force-driven cart without friction (Barto, Sutton & Anderson 1983)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.planners.models.analytic_model import AnalyticModel


@dataclass
class CartPole(AnalyticModel):
    """Cart-pole dynamics, integrated by RK4.

    x = (position [m], velocity [m/s], theta [rad], 0 upright, theta_dot [rad/s]); u = force [N].
    """

    gravity: float = 9.8  # gravitational acceleration [m/s^2]
    cart_mass: float = 1.0  # mass of the cart [kg]
    pole_mass: float = 0.1  # mass of the pole [kg]
    half_length: float = 0.5  # half the length of the pole [m]
    dt: float = 0.04  # duration of an integration step [s]
    max_force: float = 10.0  # maximum force [N]
    substeps: int = 1
    """Number of steps of dt per action: the control period is substeps * dt."""
    state_dim = 4
    action_dim = 1

    def derivative(self, x: Tensor, force: Tensor) -> Tensor:
        """Return dx/dt (*B, 4) of the equations of motion for x (*B, 4) and forces (*B,)."""
        velocity, theta, omega = x[..., 1], x[..., 2], x[..., 3]
        total = self.cart_mass + self.pole_mass
        sin, cos = theta.sin(), theta.cos()
        push = (force + self.pole_mass * self.half_length * omega.square() * sin) / total
        inertia = self.half_length * (4 / 3 - self.pole_mass * cos.square() / total)
        alpha = (self.gravity * sin - cos * push) / inertia
        acceleration = push - self.pole_mass * self.half_length * alpha * cos / total
        return torch.stack([velocity, acceleration, omega, alpha], -1)

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        force = u[..., 0].clamp(-self.max_force, self.max_force)
        for _ in range(self.substeps):
            x = self.runge_kutta(x, force)
        return x

    def runge_kutta(self, x: Tensor, force: Tensor) -> Tensor:
        """Integrate one step of dt with fourth-order Runge-Kutta."""
        k1 = self.derivative(x, force)
        k2 = self.derivative(x + self.dt / 2 * k1, force)
        k3 = self.derivative(x + self.dt / 2 * k2, force)
        k4 = self.derivative(x + self.dt * k3, force)
        return x + self.dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def energy(self, x: Tensor) -> Tensor:
        """Return the kinetic plus potential energy [J], (*B,); it is constant without a force."""
        velocity, theta, omega = x[..., 1], x[..., 2], x[..., 3]
        length, mass = self.half_length, self.pole_mass
        cart = 0.5 * self.cart_mass * velocity.square()
        centre = 0.5 * mass * ((velocity + length * omega * theta.cos()).square() + (length * omega * theta.sin()) ** 2)
        spin = 0.5 * (mass * length**2 / 3) * omega.square()
        return cart + centre + spin + mass * self.gravity * length * theta.cos()

    def features(self, x: Tensor) -> Tensor:
        """Return (position, velocity, cos theta, sin theta, theta_dot)."""
        theta = x[..., 2]
        return torch.stack([x[..., 0], x[..., 1], theta.cos(), theta.sin(), x[..., 3]], -1)

    def from_features(self, seen: Tensor) -> Tensor:
        theta = torch.atan2(seen[..., 3], seen[..., 2])
        return torch.stack([seen[..., 0], seen[..., 1], theta, seen[..., 4]], -1)

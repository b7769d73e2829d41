"""A car driven by jerk and steering acceleration, so that accelerations and steering rates are continuous."""

import torch
from torch import Tensor

from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.planners.models.analytic_model import AnalyticModel
from embodia.planners.models.linear_system import LinearSystem


class JerkBicycle(AnalyticModel):
    """Kinematic bicycle with integrators before acceleration and steering, integrated by explicit Euler.

    x = (x [m], y [m], heading [rad], speed [m/s], acceleration [m/s^2], steering [rad], steering rate [rad/s]) of the
    rear axle. u = (jerk [m/s^3], steering acceleration [rad/s^2]).

    Args:
        dt: Duration of a step [s].
    """

    state_dim = 7
    action_dim = 2

    def __init__(self, dt: float = 0.1):
        self.dt = dt

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        _, _, heading, speed, acceleration, steering, rate = x.unbind(-1)
        turn = speed * steering.tan() / PACIFICA.wheel_base
        change = (speed * heading.cos(), speed * heading.sin(), turn, acceleration, u[..., 0], rate, u[..., 1])
        return x + self.dt * torch.stack(change, -1)

    def straight(self, speed: float) -> LinearSystem:
        """Return the dynamics linearised at driving along the x axis at a speed [m/s], as deviations from it."""
        x = torch.zeros(self.state_dim, dtype=torch.float64)
        x[3] = speed
        u = torch.zeros(self.action_dim, dtype=torch.float64)
        a, b = torch.func.jacrev(self.dynamics, (0, 1))(x, u)
        return LinearSystem(a, b)

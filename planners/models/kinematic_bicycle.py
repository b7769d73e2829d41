"""The ego vehicle as a differentiable world model: nuPlan's kinematic bicycle with lane-relative features."""

import torch
from torch import Tensor

from embodia.envs.driving.vehicle.bicycle import (
    ACCELERATION_TIME_CONSTANT,
    MAX_STEERING,
    PACIFICA,
    STEERING_TIME_CONSTANT,
)
from embodia.planners.models.analytic_model import AnalyticModel


class KinematicBicycle(AnalyticModel):
    """Kinematic bicycle with first-order lags, like `embodia.envs.driving.vehicle.bicycle.bicycle_step` without heading
    wrap.

    x = (x [m], y [m], heading [rad], speed [m/s], acceleration [m/s^2], steering [rad]) of the rear axle. u =
    (commanded acceleration [m/s^2], commanded steering rate [rad/s]).

    Args:
        lane: Centre line (M, 2) [m], M > 1. With a lane, `features` are (distance to the left of the lane [m], heading
            relative to it [rad], speed, acceleration, steering), so a `Quadratic` objective can follow it. None uses x.
        dt: Duration of a step [s].
    """

    state_dim = 6
    action_dim = 2

    def __init__(self, lane: Tensor | None = None, dt: float = 0.1):
        self.lane, self.dt = lane, dt

    def dynamics(self, x: Tensor, u: Tensor) -> Tensor:
        px, py, heading, speed, acceleration, steering = x.unbind(-1)
        dt = self.dt
        lagged = acceleration + dt / (dt + ACCELERATION_TIME_CONSTANT) * (u[..., 0] - acceleration)
        turned = steering + dt / (dt + STEERING_TIME_CONSTANT) * dt * u[..., 1]
        after = (
            px + speed * heading.cos() * dt,
            py + speed * heading.sin() * dt,
            heading + speed * steering.tan() / PACIFICA.wheel_base * dt,
            speed + lagged * dt,
            lagged,
            turned.clamp(-MAX_STEERING, MAX_STEERING),
        )
        return torch.stack(after, -1)

    def features(self, x: Tensor) -> Tensor:
        if self.lane is None:
            return x
        offset, error = self.to_lane(x[..., :2], x[..., 2])
        return torch.cat([torch.stack([offset, error], -1), x[..., 3:]], -1)

    def to_lane(self, position: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance to the left of the lane's nearest segment [m] and the heading relative to it [rad], each
        (*B,).
        """
        assert self.lane is not None
        start, along = self.lane[:-1].to(position), self.lane.diff(dim=0).to(position)  # (M - 1, 2)
        length = along.norm(dim=-1)
        relative = position[..., None, :] - start  # (*B, M - 1, 2)
        share = ((relative * along).sum(-1) / length.square()).clamp(0, 1)
        nearest = (relative - share[..., None] * along).square().sum(-1).argmin(-1, keepdim=True)
        across = (along[:, 0] * relative[..., 1] - along[:, 1] * relative[..., 0]) / length
        direction = torch.atan2(along[:, 1], along[:, 0])
        error = heading - direction.expand(across.shape).gather(-1, nearest)[..., 0]
        return across.gather(-1, nearest)[..., 0], torch.atan2(error.sin(), error.cos())

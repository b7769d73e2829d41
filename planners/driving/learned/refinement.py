"""Gradient descent on the cost of trajectories, with a line search, so that no step makes a plan worse."""

from collections.abc import Callable

import torch
from torch import Tensor

from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import INTERVAL, Samples, from_frenet

PIECES = 5  # accelerations, each for PIECE intervals
PIECE = 2
SHAPES = 3  # lateral shapes t^3, t^4, t^5: offset, slope and curvature at the start stay as they are
SCALES = (0.5,) * PIECES + (0.5,) * SHAPES  # [m/s^2], [m]: what a step of 1 changes
STEPS = (0.0, 0.03, 0.1, 0.3, 1.0)  # tried in the line search
Cost = Callable[[Samples], Tensor]
"""Costs (N, S) of trajectories."""


def refined(view: RoadView, line: Centreline, start: Samples, cost: Cost, iterations: int) -> Samples:
    """Return the trajectories (N, 1) that descent from `start` (N, 1) arrives at; none costs more than its start."""
    scales = torch.tensor(SCALES, device=view.ego.device)
    change = torch.zeros(len(view), 1, len(SCALES), device=view.ego.device)
    steps = torch.tensor(STEPS, device=view.ego.device).view(1, -1, 1)
    with torch.enable_grad():
        for _ in range(iterations):
            now = change.detach().requires_grad_()
            (slope,) = torch.autograd.grad(cost(changed(line, start, now)).sum(), now)
            with torch.no_grad():
                direction = -slope * scales**2
                direction = direction / (direction / scales).norm(dim=-1, keepdim=True).clamp_min(1e-9)
                tried = change + steps * direction  # (N, 5, 8)
                best = cost(changed(line, start, tried)).argmin(-1)
                change = tried.gather(1, best[:, None, None].expand(-1, -1, len(SCALES)))
    with torch.no_grad():
        end = changed(line, start, change)
        worse = cost(end) >= cost(start)  # `start` itself, where a clothoid does not lie on the route's frame
        return Samples(
            **{
                name: torch.where(worse.view(*worse.shape, *[1] * (value.ndim - 2)), getattr(start, name), value)
                for name, value in vars(end).items()
            }
        )


def changed(line: Centreline, start: Samples, change: Tensor) -> Samples:
    """Trajectories (N, S) that differ from `start` (N, 1) by accelerations and lateral shapes (N, S, 8)."""
    shape = (len(change), change.shape[1], start.speed.shape[-1])
    rates = change[..., :PIECES].repeat_interleave(PIECE, -1)
    gained = torch.nn.functional.pad((rates * INTERVAL).cumsum(-1), (1, 0))  # (N, S, 11)
    gained = torch.cat([gained, gained[..., -1:].expand(*shape[:2], shape[2] - gained.shape[-1])], -1)
    speed = (start.speed + gained).clamp_min(0)
    extra = speed - start.speed
    moved = torch.nn.functional.pad(((extra[..., 1:] + extra[..., :-1]) * (INTERVAL / 2)).cumsum(-1), (1, 0))
    s = start.s + moved
    time = torch.linspace(0, 1, shape[2], device=change.device)
    powers = torch.stack([time**k for k in range(3, 3 + SHAPES)])  # (3, 17)
    rises = torch.stack([k * time ** (k - 1) for k in range(3, 3 + SHAPES)]) / ((shape[2] - 1) * INTERVAL)
    d = start.d + change[..., PIECES:] @ powers
    slope = slopes(line, start) + (change[..., PIECES:] @ rises) / speed.clamp_min(1.0)
    made = from_frenet(line, s, d, slope.expand(shape), speed, start.behaviour.expand(shape[:2]))
    return made


def slopes(line: Centreline, samples: Samples) -> Tensor:
    """The offsets' derivatives by arc length (N, S, T) of trajectories, from their headings."""
    _, heading, curvature = line.at(samples.s.flatten(1))
    heading, curvature = heading.view(samples.s.shape), curvature.view(samples.s.shape)
    turned = torch.remainder(samples.poses[..., 2] - heading + torch.pi, 2 * torch.pi) - torch.pi
    return turned.clamp(-1.2, 1.2).tan() * (1 - curvature * samples.d).clamp_min(0.2)

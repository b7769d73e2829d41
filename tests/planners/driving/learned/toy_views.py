"""Toy views: an ego on a straight or round route, and objects around it."""

import math

import torch

from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.planners.driving.learned.road_view import AGENTS, CENTRE, LANES, ROUTE, ROUTE_STEP, RoadView

LIMIT = 10.0


def toy_view(n=1, speed=5.0, radius=math.inf, objects=(), red=math.inf, aside=0.0, lanes=(0.0, 3.5, -3.5)):
    """N equal views; the ego stands `aside` [m] left of its route, objects are (x, y, heading, vx, vy)."""
    bend = 0.0 if math.isinf(radius) else 1 / radius
    boxes, velocities = torch.zeros(n, AGENTS, 5), torch.zeros(n, AGENTS, 2)
    for row, (x, y, heading, vx, vy) in enumerate(objects):
        boxes[:, row] = torch.tensor([x, y, heading, 4.5, 2.0])
        velocities[:, row] = torch.tensor([vx, vy])
    there = (torch.arange(AGENTS) < len(objects)).expand(n, -1)
    pieces = torch.zeros(n, LANES, 10, 2)
    rows = 0
    for offset in lanes:
        for begin in range(-8, 80, 18):
            pieces[:, rows] = arc(begin + 2.0 * torch.arange(10), bend, offset - aside)[:, :2]
            rows += 1
    return RoadView(
        ego=torch.tensor([[speed, 0.0, math.atan(PACIFICA.wheel_base * bend), speed * bend]]).repeat(n, 1),
        boxes=boxes,
        velocities=velocities,
        kinds=torch.zeros(n, AGENTS, dtype=torch.int64),
        there=there,
        route=arc(CENTRE + ROUTE_STEP * torch.arange(ROUTE + 1), bend, -aside).expand(n, -1, -1).clone(),
        limits=torch.full((n, ROUTE + 1), LIMIT),
        on_route=torch.ones(n, ROUTE + 1, dtype=torch.bool),
        red=torch.full((n,), red),
        lanes=pieces,
        lane_there=(torch.arange(LANES) < rows).expand(n, -1),
    )


def arc(s, bend, offset):
    """Poses (K, 3) at arc lengths along a circle through the origin, moved to the left."""
    s = s.float()
    x, y = (s, 0 * s) if bend == 0 else ((s * bend).sin() / bend, (1 - (s * bend).cos()) / bend)
    return torch.stack([x - offset * (s * bend).sin(), y + offset * (s * bend).cos(), s * bend], -1)

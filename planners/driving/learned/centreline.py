"""The centre line that trajectories follow: the route of N views, resampled to a point a metre.

Arc length s is 0 beside the centre of the ego's box; left offsets d are positive.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from embodia.planners.driving.learned.road_view import ROUTE_STEP, RoadView

BEHIND, AHEAD = 12, 60  # [m] of line before the first and after the last point of the route
MAX_CURVATURE = 0.2  # [1/m] of what is read; a sharper kink is an artefact of a lane change


@dataclass(frozen=True)
class Centreline:
    """N lines of Q points a metre apart; the first lies `BEHIND` metres behind the ego."""

    points: Tensor  # (N, Q, 2)
    headings: Tensor  # (N, Q) [rad], without jumps
    curvature: Tensor  # (N, Q) [1/m]
    limits: Tensor  # (N, Q) [m/s]

    def at(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points (N, K, 2), headings (N, K) and curvatures (N, K) at arc lengths s (N, K), linear between points."""
        place = (s + BEHIND).clamp(0, self.headings.shape[1] - 1.001)
        low = place.floor().long()
        share = place - low
        # beyond both ends the line runs on straight
        beyond = (s + BEHIND - place)[..., None]
        point = between(self.points, low, share[..., None])
        heading = between(self.headings, low, share)
        direction = torch.stack([heading.cos(), heading.sin()], -1)
        return point + beyond * direction, heading, between(self.curvature, low, share)

    def limit_at(self, s: Tensor) -> Tensor:
        """Speed limits (N, K) [m/s] at arc lengths s (N, K)."""
        index = (s + BEHIND).long().clamp(0, self.limits.shape[1] - 1)
        return self.limits.gather(1, index)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Arc lengths and left offsets (N, K) [m] of points (N, K, 2)."""
        with torch.no_grad():
            nearest = torch.cdist(points, self.points, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)
        heading = self.headings.gather(1, nearest)
        away = points - self.points.gather(1, nearest[..., None].expand(-1, -1, 2))
        along = away[..., 0] * heading.cos() + away[..., 1] * heading.sin()
        left = away[..., 1] * heading.cos() - away[..., 0] * heading.sin()
        return nearest - BEHIND + along, left


def between(table: Tensor, low: Tensor, share: Tensor) -> Tensor:
    """Values (N, K, ...) between the rows `low` (N, K) and the next of a table (N, Q, ...)."""
    rows = torch.arange(len(table), device=table.device)[:, None]
    first = table[rows, low]
    return first + share * (table[rows, low + 1] - first)


def centreline(view: RoadView) -> Centreline:
    """Resample the routes of N views. A view without a route gets a straight line from the ego on."""
    knots, limits = extended(view)
    points = hermite(torch.cat([continued_back(knots), knots], 1))
    chords = points.diff(dim=1)
    headings = unwrapped(torch.atan2(chords[..., 1], chords[..., 0]))
    headings = torch.cat([headings[:, :1], (headings[:, 1:] + headings[:, :-1]) / 2, headings[:, -1:]], 1)
    curvature = torch.nn.functional.avg_pool1d(headings.diff(dim=1), 5, 1, 2, count_include_pad=False)
    curvature = torch.cat([curvature, curvature[:, -1:]], 1).clamp(-MAX_CURVATURE, MAX_CURVATURE)
    per_knot = int(ROUTE_STEP)
    limits = limits.repeat_interleave(per_knot, 1)
    beyond = points.shape[1] - BEHIND - limits.shape[1]
    limits = torch.cat([limits[:, :1].expand(-1, BEHIND), limits, limits[:, -1:].expand(-1, beyond)], 1)
    return Centreline(points, headings, curvature, limits)


def extended(view: RoadView) -> tuple[Tensor, Tensor]:
    """Poses of the route (N, 21, 3) and limits (N, 21), continued straight where the route ends."""
    count = view.on_route.shape[1]
    nowhere = ~view.on_route.any(1)
    route = torch.where(nowhere[:, None, None], 0.0, view.route)
    last = (view.on_route.long().sum(1, keepdim=True) - 1).clamp_min(0)  # (N, 1)
    end = route.gather(1, last[..., None].expand(-1, -1, 3))  # (N, 1, 3)
    steps = torch.arange(count, device=route.device)[None] - last  # (N, 21)
    moved = ROUTE_STEP * steps[..., None] * torch.stack([end[..., 2].cos(), end[..., 2].sin()], -1)
    straight = torch.cat([end[..., :2] + moved, end[..., 2:].expand(-1, count, -1)], -1)
    knots = torch.where((steps > 0)[..., None], straight, route)
    return knots, view.limits.gather(1, torch.minimum(torch.arange(count, device=last.device)[None], last))


def continued_back(knots: Tensor) -> Tensor:
    """The pose (N, 1, 3) from which the first of the knots (N, P, 3) is reached as the second is from the first."""
    first, second = knots[:, 0], knots[:, 1]
    turned = torch.remainder(second[:, 2] - first[:, 2] + torch.pi, 2 * torch.pi) - torch.pi
    moved = first[:, :2] - second[:, :2]
    cos, sin = turned.cos(), turned.sin()
    place = torch.stack([moved[:, 0] * cos + moved[:, 1] * sin, moved[:, 1] * cos - moved[:, 0] * sin], -1)
    return torch.cat([first[:, :2] + place, (first[:, 2] - turned)[:, None]], -1)[:, None]


def hermite(knots: Tensor) -> Tensor:
    """Points (N, Q, 2) a metre apart on the cubic curve through poses (N, P, 3), straight before and after them.

    The first pose is 4 m behind the line's origin.
    """
    per_knot = int(ROUTE_STEP)
    direction = torch.stack([knots[..., 2].cos(), knots[..., 2].sin()], -1)
    a, b = knots[:, :-1, None, :2], knots[:, 1:, None, :2]
    chord = (b - a).norm(dim=-1, keepdim=True)
    slope_a, slope_b = chord * direction[:, :-1, None], chord * direction[:, 1:, None]
    t = torch.arange(per_knot, device=knots.device).view(1, 1, -1, 1) / per_knot
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * a
        + (t**3 - 2 * t**2 + t) * slope_a
        + (3 * t**2 - 2 * t**3) * b
        + (t**3 - t**2) * slope_b
    ).flatten(1, 2)
    before = (
        torch.arange(per_knot - BEHIND, 0, device=knots.device).view(1, -1, 1) * direction[:, :1] + knots[:, :1, :2]
    )
    after = torch.arange(AHEAD, device=knots.device).view(1, -1, 1) * direction[:, -1:] + knots[:, -1:, :2]
    return torch.cat([before, curve, after], 1)


def unwrapped(headings: Tensor) -> Tensor:
    """Headings (N, Q) without jumps of more than half a turn."""
    step = headings.diff(dim=1)
    step = torch.remainder(step + torch.pi, 2 * torch.pi) - torch.pi
    return torch.cat([headings[:, :1], headings[:, :1] + step.cumsum(1)], 1)

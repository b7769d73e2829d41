"""Sampled trajectories: speed profiles along the route at lateral offsets, lane changes, and clothoids.

A trajectory has 17 poses of the rear axle, 0.5 s apart from now on. Those along the route follow its centre line in
Frenet coordinates: a speed profile (s over time) and a quintic polynomial from the present offset to a target offset
(d over s), as in Werling et al. 2010, "Optimal trajectory generation for dynamic street scenarios in a Frenet frame".
Clothoids leave the route alone: their curvature goes from the present one to a target linearly, then stays, as in the
neural motion planner (Zeng et al. 2019, section 3.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.road_view import CENTRE, RoadView

STEPS, INTERVAL = 16, 0.5  # poses after the first, [s] between them
FINE = 5  # steps of integration in an interval
KEEP, LEFT, RIGHT, FREE = range(4)
BEHAVIOURS = ("keep", "left", "right", "free")
LANE_WIDTH = 3.5  # [m] of a lane change
OFFSETS = (0.0, -0.4, 0.4, -0.9, 0.9, LANE_WIDTH, -LANE_WIDTH)  # [m] left of the centre line
ACCELERATIONS = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.5, 2.0)  # [m/s^2] all the way
SHORT_ACCELERATIONS = (-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 1.5)  # [m/s^2] for SHORT seconds, then constant speed
SHORT = 1.0  # [s]
CURVATURES = (-0.12, -0.04, 0.0, 0.04, 0.12)  # [1/m] that clothoids end with
FREE_ACCELERATIONS = (-3.0, -1.0, 0.0, 1.0)
TRANSITION, SHORTEST = 3.5, 10.0  # [s], [m] at least: length of a lateral transition
CLOTHOID_TRANSITION, SHORTEST_CLOTHOID = 1.5, 6.0  # [s], [m] at least
MAX_CURVATURE = 0.25  # [1/m] of the ego's steering


@dataclass(frozen=True)
class Samples:
    """S trajectories for each of N egos; T = 17 times, the first one now."""

    poses: Tensor  # (N, S, T, 3) rear axle x, y, heading in the ego's frame
    speed: Tensor  # (N, S, T) [m/s]
    acceleration: Tensor  # (N, S, T) [m/s^2]
    curvature: Tensor  # (N, S, T) [1/m]
    s: Tensor  # (N, S, T) [m] along the centre line, 0 beside the centre of the ego's box
    d: Tensor  # (N, S, T) [m] left of it
    behaviour: Tensor  # (N, S) int64: KEEP, LEFT, RIGHT, or FREE for clothoids

    def choose(self, index: Tensor) -> "Samples":
        """The trajectories `index` (N, K) of each ego."""
        rows = torch.arange(len(index), device=index.device)[:, None]
        return Samples(**{f.name: getattr(self, f.name)[rows, index] for f in fields(self)})

    @staticmethod
    def concatenated(parts: Sequence["Samples"]) -> "Samples":
        """All trajectories of several sets for the same egos."""
        return Samples(**{f.name: torch.cat([getattr(part, f.name) for part in parts], 1) for f in fields(Samples)})


@dataclass(frozen=True)
class SamplerConfig:
    """Which trajectories are sampled."""

    offsets: tuple[float, ...] = OFFSETS
    """Target offsets left of the route's centre line in metres; from 2 m on they are lane changes."""
    accelerations: tuple[float, ...] = ACCELERATIONS
    """Accelerations in m/s^2 that are kept until the vehicle stands or is at the speed limit."""
    short_accelerations: tuple[float, ...] = SHORT_ACCELERATIONS
    """Accelerations in m/s^2 that last a second."""
    curvatures: tuple[float, ...] = CURVATURES
    """Curvatures in 1/m that the clothoids end with; none for no clothoids."""


def sample(view: RoadView, line: Centreline, config: SamplerConfig | None = None) -> Samples:
    """Sample trajectories for N egos, the same set for each: first those along the route, then the clothoids."""
    config = config or SamplerConfig()
    profiles = speed_profiles(view, line, config.accelerations, config.short_accelerations)
    parts = [along_route(view, line, profiles, config.offsets)]
    if config.curvatures:
        free = speed_profiles(view, line, FREE_ACCELERATIONS)
        parts.append(clothoids(view, line, free, config.curvatures))
    return Samples.concatenated(parts)


# Speed profiles ---------------------------------------------------------------------------------------------------


def speed_profiles(view: RoadView, line: Centreline, lasting: Sequence[float], short: Sequence[float] = ()) -> Tensor:
    """Speeds (N, L, 81) [m/s] every 0.1 s, never below 0, nor above the speed limit unless the ego already is."""
    count = STEPS * FINE
    rates = torch.tensor([*lasting, *short], device=view.ego.device)
    ends = torch.tensor([1e3] * len(lasting) + [SHORT] * len(short), device=view.ego.device)
    times = torch.arange(count + 1, device=view.ego.device) * (INTERVAL / FINE)
    gained = rates[:, None] * torch.minimum(times, ends[:, None])  # (L, 81)
    now = view.ego[:, :1].clamp_min(0)
    limit = line.limit_at(torch.zeros_like(now))
    highest = torch.maximum(now, torch.where(limit > 0, limit, torch.inf))
    speed = now[:, None] + gained
    return torch.minimum(speed.clamp_min(0), highest[:, None])


def travelled(speed: Tensor) -> Tensor:
    """Distances (..., 81) [m] covered at speeds (..., 81) every 0.1 s, by the trapezoidal rule."""
    moved = (speed[..., 1:] + speed[..., :-1]) * (INTERVAL / FINE / 2)
    return torch.nn.functional.pad(moved.cumsum(-1), (1, 0))


def rates_of(speed: Tensor) -> Tensor:
    """Accelerations (..., T) [m/s^2] of speeds (..., T) 0.5 s apart; each is that of the interval it begins."""
    change = speed.diff(dim=-1) / INTERVAL
    return torch.cat([change, change[..., -1:]], -1)


# Along the route --------------------------------------------------------------------------------------------------


def along_route(view: RoadView, line: Centreline, profiles: Tensor, offsets: Sequence[float]) -> Samples:
    """The product of target offsets (O) and speed profiles (N, L, 81), offsets outermost."""
    n, count = profiles.shape[:2]
    s0, d0, slope, bend = start_state(view, line)
    moved, speed = travelled(profiles)[..., ::FINE], profiles[..., ::FINE]  # (N, L, 17)
    targets = torch.tensor(offsets, device=moved.device)
    length = (TRANSITION * view.ego[:, 0]).clamp_min(SHORTEST)
    share = (moved / length[:, None, None]).clamp(0, 1)[:, None]  # (N, 1, L, 17)
    coefficients = quintic(d0, slope * length, bend * length**2, targets)  # (N, O, 6)
    d, change = polynomial(coefficients, share)
    s = s0[:, None, None, None] + moved[:, None].expand(-1, len(offsets), -1, -1)
    change = change / length[:, None, None, None]
    behaviour = torch.where(targets.abs() < LANE_WIDTH / 2, KEEP, torch.where(targets > 0, LEFT, RIGHT))
    behaviour = behaviour[None, :, None].expand(n, -1, count)
    speed = speed[:, None].expand(-1, len(offsets), -1, -1)
    flat = (each.flatten(1, 2) for each in (s, d, change, speed, behaviour))
    return from_frenet(line, *flat)


def start_state(view: RoadView, line: Centreline) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Arc length, offset, and the offset's first and second derivative by arc length (N,) of the rear axles."""
    origin = view.ego.new_zeros(len(view), 1, 2)
    s, d = (each[:, 0] for each in line.project(origin))
    _, heading, curvature = (each[:, 0] for each in line.at(s[:, None]))
    heading = torch.remainder(-heading + torch.pi, 2 * torch.pi) - torch.pi
    scale = (1 - curvature * d).clamp_min(0.2)
    slope = heading.clamp(-1.2, 1.2).tan() * scale
    own = (view.ego[:, 2].clamp(-1, 1).tan() / PACIFICA.wheel_base).clamp(-MAX_CURVATURE, MAX_CURVATURE)
    return s, d, slope, (own - curvature).clamp(-0.1, 0.1)


def quintic(value: Tensor, slope: Tensor, bend: Tensor, target: Tensor) -> Tensor:
    """Coefficients (N, O, 6), lowest order first, of polynomials on [0, 1].

    They begin with value, first and second derivative (N,), and end at the targets (O,) with zero derivatives.
    """
    left = target[None] - (value + slope + bend / 2)[:, None]  # what the higher orders must add at 1
    first, second = -(slope + bend)[:, None], -bend[:, None]
    a3 = 10 * left - 4 * first + second / 2
    a4 = -15 * left + 7 * first - second
    a5 = 6 * left - 3 * first + second / 2
    low = [each[:, None].expand_as(left) for each in (value, slope, bend / 2)]
    return torch.stack([*low, a3, a4, a5], -1)


def polynomial(coefficients: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Values and derivatives (N, O, L, T) of polynomials (N, O, 6) at arguments (N, 1, L, T)."""
    c = coefficients[:, :, None, None].unbind(-1)
    value = c[0] + at * (c[1] + at * (c[2] + at * (c[3] + at * (c[4] + at * c[5]))))
    slope = c[1] + at * (2 * c[2] + at * (3 * c[3] + at * (4 * c[4] + at * 5 * c[5])))
    return value, slope


def from_frenet(line: Centreline, s: Tensor, d: Tensor, slope: Tensor, speed: Tensor, behaviour: Tensor) -> Samples:
    """Trajectories from arc lengths, offsets, the offsets' derivatives by arc length, and speeds (N, S, T)."""
    shape = s.shape
    point, heading, curvature = line.at(s.flatten(1))
    left = torch.stack([-heading.sin(), heading.cos()], -1)
    place = point + d.flatten(1)[..., None] * left
    heading = heading + torch.atan2(slope.flatten(1), (1 - curvature * d.flatten(1)).clamp_min(0.2))
    poses = torch.cat([place, heading[..., None]], -1).view(*shape, 3)
    return Samples(poses, speed, rates_of(speed), bends_of(poses), s, d, behaviour)


def bends_of(poses: Tensor) -> Tensor:
    """Curvatures (..., T) [1/m] of poses (..., T, 3), at most MAX_CURVATURE; where the vehicle stands, the last one."""
    moved = poses[..., :2].diff(dim=-2).norm(dim=-1)
    turned = poses[..., 2].diff(dim=-1)
    turned = torch.remainder(turned + torch.pi, 2 * torch.pi) - torch.pi
    bend = (turned / moved.clamp_min(0.3)).clamp(-MAX_CURVATURE, MAX_CURVATURE)
    return torch.cat([bend, bend[..., -1:]], -1)


# Clothoids --------------------------------------------------------------------------------------------------------


def clothoids(view: RoadView, line: Centreline, profiles: Tensor, curvatures: Sequence[float]) -> Samples:
    """The product of final curvatures (C) and speed profiles (N, L, 81), curvatures outermost."""
    n, count = profiles.shape[:2]
    ends = torch.tensor(curvatures, device=profiles.device)
    now = (view.ego[:, 2].clamp(-1, 1).tan() / PACIFICA.wheel_base).clamp(-MAX_CURVATURE, MAX_CURVATURE)
    length = (CLOTHOID_TRANSITION * view.ego[:, 0]).clamp_min(SHORTEST_CLOTHOID)
    moved = travelled(profiles)[:, None]  # (N, 1, L, 81)
    share = (moved / length.view(-1, 1, 1, 1)).clamp(0, 1)
    bend = now.view(-1, 1, 1, 1) + share * (ends[None] - now[:, None])[..., None, None]  # (N, C, L, 81)
    step = moved.diff(dim=-1)
    heading = torch.nn.functional.pad(((bend[..., 1:] + bend[..., :-1]) / 2 * step).cumsum(-1), (1, 0))
    middle = (heading[..., 1:] + heading[..., :-1]) / 2
    place = torch.stack([(middle.cos() * step).cumsum(-1), (middle.sin() * step).cumsum(-1)], -1)
    place = torch.nn.functional.pad(place, (0, 0, 1, 0))
    poses = torch.cat([place, heading[..., None]], -1)[..., ::FINE, :].flatten(1, 2)
    speed = profiles[:, None, :, ::FINE].expand(-1, len(curvatures), -1, -1).flatten(1, 2)
    behaviour = torch.full((n, len(curvatures) * count), FREE, device=poses.device)
    return from_poses(line, poses, speed, behaviour)


def from_poses(line: Centreline, poses: Tensor, speed: Tensor, behaviour: Tensor) -> Samples:
    """Trajectories from poses (N, S, T, 3) and speeds (N, S, T)."""
    s, d = (each.view(speed.shape) for each in line.project(poses[..., :2].flatten(1, 2)))
    return Samples(poses, speed, rates_of(speed), bends_of(poses), s, d, behaviour)


def recorded(view: RoadView, line: Centreline, poses: Tensor) -> Samples:
    """The recorded driver's poses (N, 17, 3) as one trajectory for each ego; KEEP, or the lane change they make."""
    speed = poses[..., :2].diff(dim=-2).norm(dim=-1) / INTERVAL
    speed = torch.cat([view.ego[:, :1], speed], -1)[:, None]
    made = from_poses(line, poses[:, None], speed, torch.full((len(poses), 1), KEEP, device=poses.device))
    return Samples(**{**vars(made), "behaviour": behaviour_of(made.d)})


def behaviour_of(d: Tensor) -> Tensor:
    """Behaviours (N, S) of trajectories with offsets (N, S, T): a lane change ends more than half a lane aside."""
    end = d[..., -1]
    return torch.where(end.abs() < LANE_WIDTH / 2, KEEP, torch.where(end > 0, LEFT, RIGHT))


def body(poses: Tensor) -> Tensor:
    """Boxes' centres (..., 2) of rear-axle poses (..., 3)."""
    return poses[..., :2] + CENTRE * torch.stack([poses[..., 2].cos(), poses[..., 2].sin()], -1)

"""Sampled futures of other vehicles, and which of them collide with each other and with the ego's trajectories."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.compiled import cached
from embodia.planners.driving.learned.object_costs import HALF_LENGTH, HALF_WIDTH, PACIFICA_CENTRE, Singles, gaps
from embodia.planners.driving.learned.plan_features import JUDGED
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import INTERVAL

ACTORS = 4  # the nearest vehicles; all other objects keep their velocity
STRAIGHT = (-4.0, -2.0, -1.0, -0.4, 0.0, 0.4, 1.0, 2.0)  # [m/s^2] accelerations on a straight line
TURNING = (-2.0, -0.7, 0.0, 0.7)  # [m/s^2] accelerations in a turn
CURVATURES = (-0.15, -0.06, -0.02, 0.02, 0.06, 0.15)  # [1/m]
MOTIONS = tuple((rate, 0.0) for rate in STRAIGHT) + tuple((rate, bend) for bend in CURVATURES for rate in TURNING)
KNOWN = 6  # least number of recorded places that make a label


@dataclass(frozen=True)
class Actors:
    """K = 32 futures of each of M actors around N egos, each of constant acceleration and curvature."""

    rows: Tensor  # (N, M) which objects of the view they are
    there: Tensor  # (N, M) bool
    boxes: Tensor  # (N, M, K, T, 5) in 0.5, 1, ... 5 s
    rate: Tensor  # (K,) [m/s^2]
    curvature: Tensor  # (K,) [1/m]
    speed: Tensor  # (N, M) [m/s] now


def actors_of(view: RoadView) -> Actors:
    """The vehicles nearest to the ego; objects come nearest first."""
    vehicle = view.there & (view.kinds == 0)
    order = torch.where(vehicle, 0, 1) * 1000 + torch.arange(vehicle.shape[1], device=vehicle.device)
    rows = order.argsort(-1)[:, :ACTORS]
    here = torch.arange(len(view), device=rows.device)[:, None]
    boxes, speed = view.boxes[here, rows], view.velocities[here, rows].norm(dim=-1)
    rate, bend = (torch.tensor(each, device=rows.device) for each in zip(*MOTIONS))
    times = INTERVAL * torch.arange(1, JUDGED + 1, device=rows.device)
    # a vehicle that brakes stands when its speed is gone
    until = torch.where(rate < 0, speed[..., None] / (-rate).clamp_min(1e-3), torch.inf)[..., None]
    driven = torch.minimum(times, until)  # (N, M, K, T)
    way = speed[..., None, None] * driven + rate[:, None] * driven.square() / 2
    turned = bend[:, None] * way
    # an arc's chord has the mean of both headings; its length is the arc's times sin(x) / x of half the turn
    chord = way * torch.sinc(turned / (2 * torch.pi))
    direction = boxes[..., None, None, 2] + turned / 2
    place = boxes[..., None, None, :2] + chord[..., None] * torch.stack([direction.cos(), direction.sin()], -1)
    heading = boxes[..., None, None, 2] + turned
    size = boxes[..., None, None, 3:].expand(*heading.shape, 2)
    return Actors(rows, vehicle[here, rows], torch.cat([place, heading[..., None], size], -1), rate, bend, speed)


def labels(view: RoadView, actors: Actors) -> tuple[Tensor, Tensor]:
    """Which future (N, M) is nearest to the recorded one, and whether the recording is long enough to say (N, M).

    Raises ValueError if the view has no recorded futures.
    """
    if view.futures is None:
        raise ValueError("the rows lack the agents' futures; record drives with the observation `futures`")
    here = torch.arange(len(view), device=actors.rows.device)[:, None]
    future = view.futures[here, actors.rows][:, :, None]  # (N, M, 1, T, 4)
    known = future[..., 3]
    apart = (actors.boxes[..., :2] - future[..., :2]).norm(dim=-1) * known
    enough = actors.there & (known.sum(-1)[..., 0] >= KNOWN)
    return apart.sum(-1).argmin(-1), enough


def collide(actors: Actors) -> Tensor:
    """(N, M, M, K, K) whether two actors' futures touch at any time; False for actors that are not there."""
    found = actor_pairs(actors.boxes.detach().cpu().contiguous().numpy(), actors.there.cpu().numpy())
    return torch.from_numpy(found).to(actors.boxes.device)


def reached(actors: Actors, poses: Tensor, weights: Tensor) -> Tensor:
    """(N, S, M, K) the weight (T,) of the time from which the ego at poses (N, S, T, 3) touches a future; else 0."""
    given = (actors.boxes, actors.there, poses, weights)
    arrays = [each.detach().cpu().contiguous().numpy() for each in given]
    return torch.from_numpy(ego_pairs(*arrays)).to(poses.device)


@cached
def apart(a: Singles, b: Singles) -> bool:
    """Whether the circles around two boxes (5,) do not meet."""
    reach = (a[3] + a[4] + b[3] + b[4]) / 2
    return abs(a[0] - b[0]) > reach or abs(a[1] - b[1]) > reach


@cached
def overlap(a: Singles, b: Singles) -> bool:
    found = gaps(
        a[0], a[1], math.cos(a[2]), math.sin(a[2]), a[3] / 2, a[4] / 2,
        b[0], b[1], math.cos(b[2]), math.sin(b[2]), b[3] / 2, b[4] / 2,
    )  # fmt: skip
    return found[0] < 0


@cached
def actor_pairs(boxes: Singles, there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    n, m, count, times = boxes.shape[:4]
    out = np.zeros((n, m, m, count, count), np.bool_)
    for i in range(n):
        for a in range(m):
            for b in range(a + 1, m):
                if not there[i, a] or not there[i, b]:
                    continue
                for k in range(count):
                    for q in range(count):
                        for t in range(times):
                            one, other = boxes[i, a, k, t], boxes[i, b, q, t]
                            if not apart(one, other) and overlap(one, other):
                                out[i, a, b, k, q] = out[i, b, a, q, k] = True
                                break
    return out


@cached
def ego_pairs(boxes: Singles, there: NDArray[np.bool_], poses: Singles, weights: Singles) -> Singles:
    n, s, times = poses.shape[:3]
    m, count = boxes.shape[1:3]
    out = np.zeros((n, s, m, count), np.float32)
    ego = np.empty((times, 5), np.float32)
    ego[:, 3], ego[:, 4] = 2 * HALF_LENGTH, 2 * HALF_WIDTH
    for i in range(n):
        for j in range(s):
            for t in range(times):
                ego[t, 2] = poses[i, j, t, 2]
                ego[t, 0] = poses[i, j, t, 0] + PACIFICA_CENTRE * math.cos(ego[t, 2])
                ego[t, 1] = poses[i, j, t, 1] + PACIFICA_CENTRE * math.sin(ego[t, 2])
            for a in range(m):
                if not there[i, a]:
                    continue
                for k in range(count):
                    for t in range(times):
                        other = boxes[i, a, k, t]
                        if not apart(ego[t], other) and overlap(ego[t], other):
                            out[i, j, a, k] = weights[t]
                            break
    return out

"""How close trajectories come to other objects: collisions, nearness and headway.

Two computations of the same numbers: tensors with gradients, for the refinement of one plan, and a compiled kernel,
ten times faster, for the many samples among which a plan is chosen.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embodia.envs.compiled import cached
from embodia.envs.driving.vehicle.bicycle import PACIFICA
from embodia.planners.driving.learned.trajectory_sampler import body

MARGIN, NEAR = 0.3, 1.5  # [m] that counts as a collision, as near
GAP, HEADWAY = 1.5, 1.2  # [m], [s]: the gap that is kept to an object ahead
BESIDE, BACK = 0.3, -1.0  # [m] an object counts as ahead up to this far aside, and this far into the ego's box
SAME_WAY = 0.5  # least cosine between headings that are the same way
FAR = 1e3  # [m] of an object that is not there
HALF_LENGTH, HALF_WIDTH = PACIFICA.length / 2, PACIFICA.width / 2  # [m]
PACIFICA_CENTRE = PACIFICA.rear_axle_to_center  # [m]
Singles = NDArray[np.float32]


@dataclass(frozen=True)
class Objects:
    """Forecasts of A objects around N egos."""

    boxes: Tensor  # (N, A, T, 5)
    there: Tensor  # (N, A) bool
    behind: Tensor  # (N, A) bool: now behind the ego, on the same way


def object_costs(objects: Objects, poses: Tensor, speed: Tensor, weights: Tensor) -> Tensor:
    """Collision, collision from behind, nearness and headway.

    Args:
        objects: their boxes at T times.
        poses: rear-axle poses (N, S, T, 3) of the ego.
        speed: speeds (N, S, T) [m/s] of the ego.
        weights: weights (T,) of the times.

    Returns:
        (N, S, 4), each the weighted sum over time of the worst object's cost. A collision lasts to the end.
    """
    if poses.requires_grad:
        return differentiable(objects, poses, speed, weights)
    given = (objects.boxes, objects.there, objects.behind, poses, speed, weights)
    return torch.from_numpy(kernel(*(each.detach().cpu().contiguous().numpy() for each in given))).to(poses.device)


def differentiable(objects: Objects, poses: Tensor, speed: Tensor, weights: Tensor) -> Tensor:
    """`object_costs` with gradients by poses and speed."""
    apart, ahead, beside, same_way = separations(poses, objects.boxes)  # (N, S, T, A)
    there, behind = objects.there[:, None, None], objects.behind[:, None, None]
    apart = torch.where(there, apart, FAR)
    touching = ((MARGIN - apart) / MARGIN).clamp(0, 1)
    near = ((NEAR - apart) / NEAR).clamp(0, 1).square() * ~behind
    wanted = GAP + HEADWAY * speed[..., None]
    leads = there & ~behind & (ahead > BACK) & (beside < BESIDE) & same_way
    close = torch.where(leads, ((wanted - ahead.clamp(0, FAR)) / wanted).clamp_min(0).square(), 0.0)
    # a collision does not end: who drives on through an object is no better off than who stays in it
    hit = [each.amax(-1).cummax(-1).values for each in (touching * ~behind, touching * behind)]
    worst = [*hit, near.amax(-1), close.amax(-1)]
    return (torch.stack(worst, -1) * weights[:, None]).sum(2)


def separations(poses: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """How the ego's box at rear-axle poses (N, S, T, 3) lies to boxes (N, A, T, 5).

    Returns, each (N, S, T, A): the largest gap along any axis of the two boxes [m], negative where they overlap; the
    gap along the ego's heading, minus infinity to objects that are not ahead; the gap to the side; and whether the two
    head the same way.
    """
    others = boxes.transpose(1, 2)[:, None]  # (N, 1, T, A, 5)
    offset = others[..., :2] - body(poses)[..., None, :]
    cos, sin = poses[..., 2, None].cos(), poses[..., 2, None].sin()
    c, s = others[..., 2].cos(), others[..., 2].sin()
    aligned, crossed = cos * c + sin * s, (cos * s - sin * c).abs()
    straight = aligned.abs()
    x, y, length, width = offset[..., 0], offset[..., 1], others[..., 3] / 2, others[..., 4] / 2
    forward = x * cos + y * sin
    along = forward.abs() - HALF_LENGTH - length * straight - width * crossed
    across = (y * cos - x * sin).abs() - HALF_WIDTH - length * crossed - width * straight
    own_along = (x * c + y * s).abs() - length - HALF_LENGTH * straight - HALF_WIDTH * crossed
    own_across = (y * c - x * s).abs() - width - HALF_LENGTH * crossed - HALF_WIDTH * straight
    apart = torch.maximum(torch.maximum(along, across), torch.maximum(own_along, own_across))
    return apart, torch.where(forward > 0, along, -torch.inf), across, aligned > SAME_WAY


def touches(objects: Objects, poses: Tensor) -> Tensor:
    """(N, S, T) whether the ego at rear-axle poses (N, S, T, 3) overlaps any object."""
    given = (objects.boxes, objects.there, poses)
    return torch.from_numpy(overlaps(*(each.detach().cpu().contiguous().numpy() for each in given))).to(poses.device)


@cached
def gaps(
    x: float, y: float, cos: float, sin: float, half_length: float, half_width: float,
    ox: float, oy: float, c: float, s: float, length: float, width: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """`separations` of one pair of boxes, given by centre, heading and half their size.

    Returns the largest gap, the gap ahead of the first, the gap to its side, and the cosine between the headings.
    """
    dx, dy = ox - x, oy - y
    aligned, crossed = cos * c + sin * s, abs(cos * s - sin * c)
    straight = abs(aligned)
    forward = dx * cos + dy * sin
    along = abs(forward) - half_length - length * straight - width * crossed
    across = abs(dy * cos - dx * sin) - half_width - length * crossed - width * straight
    own_along = abs(dx * c + dy * s) - length - half_length * straight - half_width * crossed
    own_across = abs(dy * c - dx * s) - width - half_length * crossed - half_width * straight
    return max(max(along, across), max(own_along, own_across)), along if forward > 0 else -np.inf, across, aligned


@cached
def kernel(
    boxes: Singles, there: NDArray[np.bool_], behind: NDArray[np.bool_], poses: Singles, speed: Singles,
    weights: Singles,
) -> Singles:  # fmt: skip
    """`object_costs` without gradients."""
    n, s, t = speed.shape
    out = np.zeros((n, s, 4), np.float32)
    c, d = np.cos(boxes[..., 2]), np.sin(boxes[..., 2])
    worst = np.empty(4, np.float32)
    for i in range(n):
        for j in range(s):
            worst[:] = 0
            for k in range(t):
                cos, sin = math.cos(poses[i, j, k, 2]), math.sin(poses[i, j, k, 2])
                x, y = poses[i, j, k, 0] + PACIFICA_CENTRE * cos, poses[i, j, k, 1] + PACIFICA_CENTRE * sin
                wanted = GAP + HEADWAY * speed[i, j, k]
                reach = max(wanted, NEAR) + HALF_LENGTH + HALF_WIDTH
                worst[2:] = 0  # collisions do not end
                for a in range(boxes.shape[1]):
                    if not there[i, a]:
                        continue
                    b = boxes[i, a, k]
                    far = reach + (b[3] + b[4]) / 2
                    if abs(b[0] - x) > far or abs(b[1] - y) > far:
                        continue
                    apart, ahead, beside, aligned = gaps(
                        x, y, cos, sin, HALF_LENGTH, HALF_WIDTH, b[0], b[1], c[i, a, k], d[i, a, k], b[3] / 2, b[4] / 2
                    )
                    touching = min(max((MARGIN - apart) / MARGIN, 0.0), 1.0)
                    if behind[i, a]:
                        worst[1] = max(worst[1], touching)
                        continue
                    worst[0] = max(worst[0], touching)
                    worst[2] = max(worst[2], min(max((NEAR - apart) / NEAR, 0.0), 1.0) ** 2)
                    if ahead > BACK and beside < BESIDE and aligned > SAME_WAY:
                        worst[3] = max(worst[3], max((wanted - max(ahead, 0.0)) / wanted, 0.0) ** 2)
                for f in range(4):
                    out[i, j, f] += weights[k] * worst[f]
    return out


@cached
def overlaps(boxes: Singles, there: NDArray[np.bool_], poses: Singles) -> NDArray[np.bool_]:
    """`touches` on arrays."""
    n, s, t = poses.shape[:3]
    out = np.zeros((n, s, t), np.bool_)
    c, d = np.cos(boxes[..., 2]), np.sin(boxes[..., 2])
    for i in range(n):
        for j in range(s):
            for k in range(t):
                cos, sin = math.cos(poses[i, j, k, 2]), math.sin(poses[i, j, k, 2])
                x, y = poses[i, j, k, 0] + PACIFICA_CENTRE * cos, poses[i, j, k, 1] + PACIFICA_CENTRE * sin
                for a in range(boxes.shape[1]):
                    b = boxes[i, a, k]
                    if not there[i, a] or abs(b[0] - x) + abs(b[1] - y) > 2 * (HALF_LENGTH + HALF_WIDTH + b[3] + b[4]):
                        continue
                    found = gaps(
                        x, y, cos, sin, HALF_LENGTH, HALF_WIDTH, b[0], b[1], c[i, a, k], d[i, a, k], b[3] / 2, b[4] / 2
                    )
                    if found[0] < 0:
                        out[i, j, k] = True
                        break
    return out

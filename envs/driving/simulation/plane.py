"""Headings, frames of reference and oriented boxes in the plane, as tensors."""

import torch
from torch import Tensor

from embodia.envs.driving.vehicle.bicycle import PACIFICA


def heading_vector(heading: Tensor) -> Tensor:
    """(..., 2)"""
    return torch.stack([heading.cos(), heading.sin()], -1)


def wrap(angle: Tensor) -> Tensor:
    """In [-pi, pi)."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def turned(vectors: Tensor, heading: Tensor) -> Tensor:
    """Vectors (..., 2) seen from a frame turned by `heading` (...)."""
    cos, sin = heading.cos(), heading.sin()
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack([cos * x + sin * y, cos * y - sin * x], -1)


def in_ego_frame(ego: Tensor, points: Tensor) -> Tensor:
    """Points (N, ..., 2) in the frames of egos (N, >= 3): rear axle, x forward, y left."""
    shape = (len(points),) + (1,) * (points.ndim - 2)
    return turned(points - ego[:, :2].view(*shape, 2), ego[:, 2].view(shape))


def ego_centre(ego: Tensor) -> Tensor:
    """(N, 2)"""
    return ego[:, :2] + PACIFICA.rear_axle_to_center * heading_vector(ego[:, 2])


def ego_boxes(ego: Tensor) -> Tensor:
    """(N, 5)"""
    size = torch.tensor([PACIFICA.length, PACIFICA.width], device=ego.device).expand(len(ego), 2)
    return torch.cat([ego_centre(ego), ego[:, 2:3], size], -1)


def separation(a: Tensor, b: Tensor) -> Tensor:
    """`geometry.box_separation` in torch: the largest gap of boxes (..., 5) along their axes, negative in overlap."""
    offset = b[..., :2] - a[..., :2]
    turn = b[..., 2] - a[..., 2]
    cos, sin = turn.cos().abs(), turn.sin().abs()
    gaps = []
    for own, other in ((a, b), (b, a)):
        c, s = own[..., 2].cos(), own[..., 2].sin()
        along = (offset[..., 0] * c + offset[..., 1] * s).abs()
        across = (offset[..., 1] * c - offset[..., 0] * s).abs()
        gaps.append(along - (own[..., 3] + other[..., 3] * cos + other[..., 4] * sin) / 2)
        gaps.append(across - (own[..., 4] + other[..., 3] * sin + other[..., 4] * cos) / 2)
    return torch.stack(gaps).amax(0)

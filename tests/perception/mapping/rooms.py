"""Depth images of an empty box-shaped room with boxes in it, computed analytically."""

import numpy as np

from embodia.perception.mapping.point_cloud import pixel_rays

WALLS = (np.array([-3.0, 0.0, -2.0]), np.array([3.0, 2.5, 4.0]))
CHEST = (np.array([1.0, 0.0, 0.5]), np.array([1.6, 0.8, 1.3]))


def room_depth(pose, boxes=(), walls=WALLS, size=(96, 128), hfov=90.0):
    """z-depth (H, W) [m] of the room seen from inside, with axis-aligned boxes in it."""
    x, y = pixel_rays(*size, hfov)
    rays = np.stack([*np.meshgrid(x, y), np.full(size, -1.0)], -1) @ pose[:3, :3].T
    eye = pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        leaves = np.maximum((walls[0] - eye) / rays, (walls[1] - eye) / rays).min(-1)
        for low, high in boxes:
            a, b = (low - eye) / rays, (high - eye) / rays
            enters, exits = np.minimum(a, b).max(-1), np.maximum(a, b).min(-1)
            leaves = np.where((enters < exits) & (enters > 0), np.minimum(leaves, enters), leaves)
    return leaves


def floor_cells(layout, boxes=(), walls=WALLS):
    """Which cells (H, W) have their centre on the floor of the room."""
    x, z = np.moveaxis(layout.places_of(np.stack(np.indices(layout.shape), -1)), -1, 0)
    free = (x > walls[0][0]) & (x < walls[1][0]) & (z > walls[0][2]) & (z < walls[1][2])
    for low, high in boxes:
        free &= ~((x > low[0]) & (x < high[0]) & (z > low[2]) & (z < high[2]))
    return free

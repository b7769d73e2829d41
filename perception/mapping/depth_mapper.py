"""Occupancy and semantic top-down maps from depth."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from embodia.perception.mapping import MapLayout
from embodia.perception.mapping.map_kernels import add_images
from embodia.perception.mapping.point_cloud import checked_poses, pixel_rays

Array = NDArray[Any]

OCCUPANCY_CHANNELS = ("occupied", "free", "seen", "height")


@dataclass(frozen=True)
class DepthMapperConfig:
    """Camera and body of a mapper. Lengths in metres; the floor is y = 0."""

    hfov: float = 90.0
    """Horizontal field of view [deg]."""
    shortest: float = 0.0
    """Readings up to this depth are ignored: nothing was hit, or something nearer."""
    longest: float = 10.0
    """Readings from this depth on show free space up to there and no surface."""
    lowest_obstacle: float = 0.2
    """Points below are floor: a body climbs over them."""
    body_height: float = 1.5
    """Points above are no obstacle."""
    body_radius: float = 0.1
    """Floor within this distance of the body is free."""
    ceiling: float = 2.2
    """Points above are ignored."""
    sight: float = 5.0
    """Floor within this distance counts as seen."""
    side: float = 32.0
    """Side of the map, whose middle is the origin of the poses. What lies outside is ignored."""
    cell: float = 0.05
    """Side of a cell."""
    categories: tuple[str, ...] = ()
    """Names of the semantic channels."""


class DepthMapper:
    """Counts, for each cell, the images that saw an obstacle in it and those that saw free floor.

    Channels:
        occupied: Number of images with a point of an obstacle in the cell.
        free: Number of images with the floor in the cell, or a free line of sight over it, and no obstacle.
        seen: 1 if the cell lay within `sight` on a free line of sight along the floor.
        height: Height of the highest point below `ceiling` [m].
        the categories: Number of pixels of the category.

    Pixels without a reading (0, NaN, infinite) are skipped. Images of a tilted camera add their points, but no lines
    of sight.
    """

    def __init__(self, config: DepthMapperConfig | None = None):
        self.config = config or DepthMapperConfig()
        cells, half = round(self.config.side / self.config.cell), self.config.side / 2
        channels = OCCUPANCY_CHANNELS + self.config.categories
        self.layout = MapLayout(channels, (cells, cells), self.config.cell, (-half, -half))

    def initial(self, n: int) -> Array:
        return np.zeros((n, *self.layout.shape, len(self.layout.channels)), np.float32)

    def update(self, map: Array, obs: Mapping[str, Array], pose: Array) -> Array:
        """Add what n cameras see to their maps.

        Args:
            map: Maps (n, H, W, C), changed in place.
            obs: `depth` (n, height, width) or (n, height, width, 1) [m], and optionally `category`, of the same shape:
                0 for none, k for the k-th of `categories`.
            pose: Camera poses (n, 4, 4); the floor is y = 0.

        Raises:
            ValueError: If shapes do not fit, depth is negative, a category is unknown or a pose is no rigid motion.
        """
        depth, category = self._image(obs["depth"], len(map), "depth"), np.zeros((0, 0, 0), np.int64)
        if (depth < 0).any():
            world, row, column = np.argwhere(depth < 0)[0].tolist()
            raise ValueError(
                f"depth of world {world} at row {row}, column {column} is {depth[world, row, column]:g}; give metres, "
                "and 0 or NaN without a reading"
            )
        if self.config.categories and "category" in obs:
            category = self._image(obs["category"], len(map), "category").astype(np.int64)
            if category.shape != depth.shape:
                raise ValueError(f"category {category.shape} and depth {depth.shape} must have the same shape")
            known = len(self.config.categories)
            if category.size and (category.min() < 0 or category.max() > known):
                raise ValueError(f"category ids are {category.min()} to {category.max()}; 0 to {known} are known")
        poses = checked_poses(pose)
        if poses.shape != (len(map), 4, 4):
            raise ValueError(f"poses have shape {poses.shape}; {len(map)} maps need ({len(map)}, 4, 4)")
        c = self.config
        add_images(
            map,
            np.ascontiguousarray(depth, np.float32),
            category,
            poses,
            *pixel_rays(depth.shape[1], depth.shape[2], c.hfov),
            np.asarray(self.layout.corner),
            c.cell,
            np.array([c.lowest_obstacle, c.body_height, c.ceiling]),
            np.array([c.shortest, c.longest, c.sight, c.body_radius]),
        )
        return map

    @staticmethod
    def _image(image: Array, n: int, name: str) -> Array:
        image = np.asarray(image)
        flat = image[..., 0] if image.ndim == 4 and image.shape[-1] == 1 else image
        if flat.ndim != 3 or len(flat) != n or not flat.size:
            raise ValueError(f"{name} has shape {image.shape}; {n} maps need ({n}, height, width)")
        return flat


def occupied(map: Array, share: float = 0.2) -> Array:
    """Return which cells (..., H, W) hold an obstacle: it is in at least this share of the images that saw the cell."""
    hits, free = map[..., 0], map[..., 1]
    return np.asarray((hits > 0) & (hits >= share * (hits + free)))


def open_floor(map: Array) -> Array:
    """Return which cells (..., H, W) were seen as floor, or lay on a free line of sight, and hold no obstacle."""
    return np.asarray(((map[..., 1] > 0) | (map[..., 2] > 0)) & ~occupied(map))


def navigable(map: Array, radius: float, cell: float) -> Array:
    """Return which cells (H, W) of one map the centre of a body can be in: open floor, farther than `radius` [m] from
    every obstacle."""
    clearance = distance_transform_edt(~occupied(map)) * cell
    return np.asarray(open_floor(map) & (clearance > radius))


def intersection_over_union(one: Array, other: Array) -> float:
    """Return the intersection over union of two masks of the same shape; 1 if both are empty."""
    union = int((one | other).sum())
    return float((one & other).sum()) / union if union else 1.0


def labels(map: Array, least: int = 3) -> Array:
    """Return the most frequent category of each cell (..., H, W): 0 for none, k for the k-th.

    Args:
        map: Maps (..., H, W, C).
        least: Smallest number of pixels that count.
    """
    votes = map[..., len(OCCUPANCY_CHANNELS) :]
    if not votes.shape[-1]:
        return np.zeros(map.shape[:-1], np.int64)
    return np.where(votes.max(-1) >= least, votes.argmax(-1) + 1, 0)

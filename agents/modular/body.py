"""What a modular agent must know of its body: camera, depth sensor, discrete actions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from embodia.perception.mapping.depth_mapper import DepthMapperConfig

Array = NDArray[Any]

STOP, FORWARD, LEFT, RIGHT = range(4)


@dataclass(frozen=True)
class Body:
    """Camera, depth sensor and actions. The defaults are those of Habitat's PointNav and of Exploration."""

    hfov: float = 90.0
    """Horizontal field of view of the camera [deg]."""
    camera_height: float = 1.25
    """Height of the camera above the floor [m]."""
    shortest_depth: float = 0.0
    """Smallest reading of the depth sensor [m]."""
    longest_depth: float = 10.0
    """Largest reading of the depth sensor [m]."""
    height: float = 1.5
    """Height of the body [m]."""
    radius: float = 0.1
    """Radius of the body [m]."""
    forward: float = 0.25
    """Length of a step [m]."""
    turn: float = 10.0
    """Angle of a turn [deg]."""

    def mapper(self, categories: tuple[str, ...] = ()) -> DepthMapperConfig:
        """Return the configuration of a mapper for this body."""
        return DepthMapperConfig(
            hfov=self.hfov,
            shortest=self.shortest_depth,
            longest=self.longest_depth,
            body_height=self.height,
            body_radius=self.radius,
            categories=categories,
        )

    def metres(self, depth: Array, space: spaces.Box) -> Array:
        """Return depth readings (n, H, W, 1) in metres (n, H, W); those of a normalized sensor are in [0, 1]."""
        depth = np.asarray(depth, np.float32)[..., 0]
        if float(space.high.max()) > 1.0:
            return depth
        return self.shortest_depth + depth * np.float32(self.longest_depth - self.shortest_depth)


STRETCH = Body(
    hfov=79.0, camera_height=0.88, shortest_depth=0.5, longest_depth=5.0, height=0.88, radius=0.18, turn=30.0
)
"""The body of Habitat's ObjectNav."""

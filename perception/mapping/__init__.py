"""Maps from depth: point clouds, top-down maps, visual odometry and surfaces.

This module defines the contract of a map. All frames are Habitat's: right-handed, metres, +y up. A body at yaw 0 looks
along -z and has +x on its right; a left turn is positive. Poses are camera-to-world matrices (N, 4, 4); a camera looks
along its own -z.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class MapLayout:
    """Where the cells of a top-down map (H, W, C) lie, and what its channels are.

    Rows run along +z and columns along +x, as in the observation `map` of homes.
    """

    channels: tuple[str, ...]
    """Names of the C channels."""
    shape: tuple[int, int] = (640, 640)
    """Number of rows and columns (H, W)."""
    cell: float = 0.05
    """Side of a cell [m]."""
    corner: tuple[float, float] = (-16.0, -16.0)
    """(x, z) of the outer corner of cell (0, 0) [m]."""

    def channel(self, name: str) -> int:
        """Return the index of a channel. Raises KeyError if there is none of that name."""
        if name not in self.channels:
            raise KeyError(f"the map has no channel {name!r}; its channels are {', '.join(self.channels)}")
        return self.channels.index(name)

    def cells_of(self, places: ArrayLike) -> Array:
        """Return (row, column) (..., 2) int64 of places (..., 2), (x, z) [m]. They may lie outside the map."""
        x, z = np.moveaxis(np.asarray(places, np.float64), -1, 0)
        cells = np.stack([z - self.corner[1], x - self.corner[0]], axis=-1) / self.cell
        return np.floor(cells).astype(np.int64)

    def places_of(self, cells: ArrayLike) -> Array:
        """Return (x, z) [m] (..., 2) of the centres of cells (..., 2), (row, column)."""
        row, column = np.moveaxis(np.asarray(cells, np.float64), -1, 0)
        return np.stack([column + 0.5, row + 0.5], axis=-1) * self.cell + np.asarray(self.corner)


class Mapper(Protocol):
    """Builds the maps of n worlds from what they observe. A batch gives the same maps as each world alone."""

    layout: MapLayout
    """Frame, resolution and channels of the maps."""

    def initial(self, n: int) -> Array:
        """Return the empty maps of n worlds, (n, H, W, C) float32."""

    def update(self, map: Array, obs: Mapping[str, Array], pose: Array) -> Array:
        """Add what n cameras see to their maps.

        Args:
            map: Maps (n, H, W, C). They are changed in place.
            obs: Images, each (n, height, width) or (n, height, width, 1).
            pose: Camera poses (n, 4, 4).

        Returns:
            The maps.
        """


__all__ = ["MapLayout", "Mapper"]

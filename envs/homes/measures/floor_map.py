"""The true top-down map as an observation: which share of each cell of the floor can be walked on.

Rows run along +z and columns along +x, from the home's lower corner, as in Habitat's `top_down_map`. All homes have
maps of the same number of cells; a cell is 0.3 m, so that a step of 0.25 m leads at most to the next
cell; it is larger in a home that is longer than 19.2 m.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.navmesh.navigator import Navigator

Array = NDArray[Any]

MAP_SIDE = 64  # cells
CELL = 0.3  # smallest side of a cell [m]
SAMPLES = 4  # places along each side of a cell that are tried


@dataclass(frozen=True)
class MapFrame:
    """Where a map lies in a home."""

    corner: Array
    """(x, z) of the first cell's outer corner [m]."""
    size: float
    """Side of a cell [m]."""

    @classmethod
    def of(cls, bounds: ArrayLike) -> "MapFrame":
        """Return the frame of a home with bounds (2, 3) [m]."""
        low, high = np.asarray(bounds, np.float64)[:, [0, 2]]
        return cls(low, max(CELL, float((high - low).max()) / MAP_SIDE))

    def cell_of(self, place: ArrayLike) -> Array:
        """Return (row, column) of a place (3,) [m] in cells; the whole part is the cell."""
        x, z = (np.asarray(place, np.float64)[[0, 2]] - self.corner) / self.size
        return np.array([z, x])


def floor_map(finder: Navigator, height: float) -> Array:
    """Return the share of each cell that is navigable at a height [m], (MAP_SIDE, MAP_SIDE, 1) float32."""
    frame = MapFrame.of(finder.bounds)
    low = np.array([frame.corner[0], height, frame.corner[1]])
    far = low + frame.size * MAP_SIDE * np.array([1, 0, 1])
    fine = finder.free_cells(np.array([low, far]), (MAP_SIDE * SAMPLES, MAP_SIDE * SAMPLES), height)
    shares = fine.reshape(MAP_SIDE, SAMPLES, MAP_SIDE, SAMPLES).mean((1, 3))
    return shares[..., None].astype(np.float32)

"""The ground of a road as an image: colours and categories of road, markings, walkways and terrain."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.pictures.render import (
    ASPHALT,
    CENTER_LINE,
    GROUND,
    JUNCTION,
    KERB,
    MARKING,
    PARKING,
    SHIFT,
    SHOULDER,
    WALKWAY,
    BirdsEye,
    Color,
    View,
    apply,
    fixed,
)
from embodia.envs.driving.sensors.solids import Category
from embodia.envs.driving.types import Floats

PAINT: dict[Color, tuple[Category, Color]] = {
    GROUND: (Category.TERRAIN, (104, 128, 78)),
    WALKWAY: (Category.WALKWAY, (172, 168, 160)),
    ASPHALT: (Category.ROAD, (92, 94, 98)),
    JUNCTION: (Category.ROAD, (88, 90, 94)),
    SHOULDER: (Category.ROAD, (100, 102, 104)),
    PARKING: (Category.ROAD, (108, 104, 100)),
    KERB: (Category.WALKWAY, (150, 148, 144)),
    MARKING: (Category.MARKING, (226, 226, 222)),
    CENTER_LINE: (Category.MARKING, (214, 168, 56)),
}
"""Category and colour of everything that the bird's-eye view paints."""
TERRAIN = PAINT[GROUND][1]
REACH_VIEW = View(512, 512, 64.0)  # about 100 m around the drive, 8 pixels a metre
TILE = 512  # pixels a side


class Ground(BirdsEye):
    """The ground around a drive, painted by the bird's-eye view at 8 pixels a metre; pixel (0, 0) has the highest y.

    Attributes:
        canvas: Colours (H, W, 3) uint8.
        category: Categories (H, W) uint8.
    """

    category: NDArray[np.uint8]

    def __init__(self, road_map: Map, way: Floats):
        super().__init__(road_map, way, (), REACH_VIEW)

    def _paint(self, route: Any) -> None:
        self.canvas[:] = TERRAIN
        self.category = np.full(self.canvas.shape[:2], Category.TERRAIN, np.uint8)
        super()._paint(route)

    def _fill(self, polygon: Any, color: Color) -> None:
        category, paint = PAINT[color]
        super()._fill(polygon, paint)
        for part in shapely.get_parts(polygon):
            rings = [part.exterior, *part.interiors]
            points = [fixed(apply(self.to_canvas, shapely.get_coordinates(ring))) for ring in rings]
            cv2.fillPoly(self.category, points, int(category), cv2.LINE_8, SHIFT)

    def _line(self, points: Floats, color: Color, metres: float) -> None:
        category, paint = PAINT[color]
        super()._line(points, paint, metres)
        pixels = fixed(apply(self.to_canvas, points))
        thickness = max(round(metres * self.scale), 1)
        cv2.polylines(self.category, [pixels], False, int(category), thickness, cv2.LINE_8, SHIFT)

    def at(self, points: Floats) -> NDArray[np.uint8]:
        """Return the categories (...) at points (..., 2) in map coordinates; beyond the image all is terrain."""
        pixels = np.floor(apply(self.to_canvas, points) + 0.5)
        height, width = self.category.shape
        inside = (pixels >= 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height)
        column, row = np.moveaxis(np.where(inside[..., None], pixels, 0).astype(np.int64), -1, 0)
        return np.where(inside, self.category[row, column], np.uint8(Category.TERRAIN))

    def tiles(self) -> Iterator[tuple[Floats, NDArray[np.uint8] | None]]:
        """Yield squares that cover the image: corners (4, 2) in map coordinates from the upper left one
        counter-clockwise, and the colours (TILE, TILE, 3), None for plain terrain.
        """
        height, width = self.category.shape
        inverse = np.linalg.inv(np.vstack([self.to_canvas, [0, 0, 1]]))[:2]
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                part = slice(top, top + TILE), slice(left, left + TILE)
                edges = np.array([[left, top], [left, top + TILE], [left + TILE, top + TILE], [left + TILE, top]])
                corners = apply(inverse, edges - 0.5)  # a pixel's centre has whole coordinates
                if (self.category[part] == Category.TERRAIN).all():
                    yield corners, None
                    continue
                image = self.canvas[part]  # a view, so that the colours are in memory once
                if image.shape[:2] != (TILE, TILE):
                    image = np.full((TILE, TILE, 3), TERRAIN, np.uint8)
                    painted = self.canvas[part]
                    image[: len(painted), : painted.shape[1]] = painted
                yield corners, image

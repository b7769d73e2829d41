"""Solid objects of a road in 3-D: upright boxes with object ids and categories.

The world frame is the map's (x, y) with z up; the ground is z = 0. A solid is a row (x, y, heading, length, width,
bottom, top) in metres and radians. Heights are not part of nuPlan's tracks; they follow from type and length.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.driving.types import Floats, TrackedObjectType

NOTHING, GROUND, EDGE = 0, 1, 2
"""Object ids: no return (or sky), the ground, the edge of the drivable area."""
FIRST_TRACK = 10
"""Track k of a scenario has the object id FIRST_TRACK + k, in every frame."""
FIRST_BUILDING = 100_000
"""Building k of a scenario has the object id FIRST_BUILDING + k."""

SOLID = 7
"""Number of columns of a solid."""


class Category(IntEnum):
    """Categories of pixels, returns and objects."""

    SKY = 0
    TERRAIN = 1
    ROAD = 2
    MARKING = 3
    WALKWAY = 4
    BUILDING = 5
    VEHICLE = 6
    PEDESTRIAN = 7
    BICYCLE = 8
    TRAFFIC_CONE = 9
    BARRIER = 10
    CZONE_SIGN = 11
    GENERIC_OBJECT = 12


CATEGORIES: tuple[str, ...] = tuple(category.name.lower() for category in Category)
"""Names of the categories, by number."""

HEIGHTS = np.array([1.55, 1.75, 1.7, 0.75, 1.0, 1.2, 1.0, 1.777])
"""Height [m] by `TrackedObjectType`; see `heights` for long vehicles."""
LONG_VEHICLES = ((5.5, 2.1), (7.0, 3.2))
"""Vehicles of at least this length [m] have this height [m]: vans, then trucks and buses."""


def heights(types: NDArray[Any], lengths: Floats) -> Floats:
    """Return the heights (...) [m] of tracks of these types (...) and lengths (...) [m]."""
    found = HEIGHTS[types]
    for length, height in LONG_VEHICLES:
        found = np.where((types == TrackedObjectType.VEHICLE) & (lengths >= length), height, found)
    return found


def track_solids(types: NDArray[Any], boxes: Floats) -> Floats:
    """Return the solids (..., 7) of tracks of these types (...) and boxes (..., 5)."""
    bottom = np.zeros(boxes.shape[:-1])
    return np.concatenate([boxes, bottom[..., None], heights(types, boxes[..., 3])[..., None]], axis=-1)


def track_categories(types: NDArray[Any]) -> NDArray[np.int64]:
    """Return the categories (...) of tracks of these types (...)."""
    return np.asarray(types, np.int64) + Category.VEHICLE

"""The island of a home's navmesh on which episodes start: the floor inside, never the roof or the garden.

A generated home knows its rooms. In a scene file an island counts as indoors by what surrounds a body on it: a ceiling
above, and walls to the sides. Among the islands that are about equally enclosed the largest is taken.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.engines.engine import Home
from embodia.envs.homes.episodes.dataset import EpisodeError

Array = NDArray[Any]

ANY = -1
MIN_RADIUS = 1.5  # [m] of an island worth walking on
MOST_ISLANDS = 8  # that are looked at, the largest first
PLACES = 24  # on each
DIRECTIONS = 16  # to the sides
CEILING = 6.0  # [m] within which something overhead is a ceiling
WALL = 12.0  # [m] within which something to the side is a wall
HEAD, CHEST = 0.5, 1.0  # [m] above the navmesh, from where ceilings and walls are looked for
RIVAL = 0.2  # of the chosen island's area, above which another island is mentioned
ABOUT_EQUAL = 0.3  # difference of `Island.enclosure` that does not decide


@dataclass(frozen=True)
class Island:
    """One island of a navmesh, and how enclosed a body on it is."""

    number: int
    area: float  # [m2]
    height: float  # [m] median y
    covered: float  # share of its places with a ceiling
    walled: float  # share of directions that end at a wall

    @property
    def enclosure(self) -> float:
        return self.covered + self.walled

    def __str__(self) -> str:
        return (
            f"island {self.number}: {self.area:.1f} m2 at y = {self.height:.2f} m, {100 * self.covered:.0f} % under a "
            f"ceiling, walls in {100 * self.walled:.0f} % of directions"
        )


def indoor_island(home: Home) -> int:
    """The island on which a home's episodes are generated; -1 = any. Worked out once per home.

    Raises EpisodeError if the island that was asked for does not exist.
    """
    if "island" not in home.memory:
        home.memory["island"] = _asked_for(home) if home.island is not None else _inside(home)
    return home.memory["island"]


def _asked_for(home: Home) -> int:
    assert home.island is not None
    if not 0 <= home.island < home.pathfinder.num_islands:
        known = "; ".join(str(island) for island in survey(home))
        raise EpisodeError(
            f"scene {home.scene_id!r} has no island {home.island}: its navmesh has {home.pathfinder.num_islands}, "
            f"counted from 0. Its largest: {known}."
        )
    return home.island


def _inside(home: Home) -> int:
    scene = _geometry(home)
    if scene is None:
        return ANY
    if scene.rooms:
        return _under_rooms(home, scene.rooms)
    found = survey(home)
    if not found:
        return ANY
    chosen = most_enclosed(found)
    rivals = [island for island in found if island is not chosen and island.area > RIVAL * chosen.area]
    if rivals:
        others = ", ".join(f"{i.number} with {i.area:.0f} m2 at y = {i.height:.1f} m" for i in rivals)
        warnings.warn(
            f"scene {home.scene_id!r}: episodes are generated on {chosen}. Other islands: {others}. --island chooses "
            "another.",
            stacklevel=2,
        )
    return chosen.number


def most_enclosed(islands: list[Island]) -> Island:
    """The largest of those that are about as enclosed as the most enclosed one."""
    best = max(island.enclosure for island in islands)
    return max((i for i in islands if i.enclosure >= best - ABOUT_EQUAL), key=lambda island: island.area)


def _geometry(home: Home) -> Any:
    if home.scene is None and home.geometry is not None:
        return home.geometry()
    return home.scene


def _under_rooms(home: Home, rooms: Any) -> int:
    """The largest island on the floor of known rooms, -1 = any."""
    islands = [
        home.pathfinder.get_island([*room.polygon[:, 0:1].mean(0), room.floor, *room.polygon[:, 1:2].mean(0)])
        for room in rooms
    ]
    known = [island for island in islands if island != ANY]
    return max(known, key=home.pathfinder.island_area) if known else ANY


def survey(home: Home) -> list[Island]:
    """The islands of at least `MIN_RADIUS`, by falling area, and how enclosed each is."""
    finder, scene, rng = home.pathfinder, _geometry(home), np.random.default_rng(0)
    numbers = sorted(range(finder.num_islands), key=finder.island_area, reverse=True)
    triangles = np.zeros((0, 3, 3), np.float32) if scene is None else scene.triangles
    found: list[Island] = []
    for number in numbers:
        if len(found) == MOST_ISLANDS or not finder.island_area(number):
            break
        places = np.array([finder.get_random_navigable_point(rng, number) for _ in range(PLACES)], np.float32)
        if finder.island_radius(places[0]) >= MIN_RADIUS:
            covered, walled = _surroundings(triangles, places)
            height = float(np.median(places[:, 1]))
            found.append(Island(number, finder.island_area(number), height, covered.mean(), walled.mean()))
    return found


@compiled_exactly
def _surroundings(triangles: Array, places: Array) -> tuple[Array, Array]:
    """(n,) whether each of places (n, 3) has a ceiling, and the share of directions in which it has a wall."""
    count = len(places)
    covered, walled = np.zeros(count), np.zeros(count)
    seen = np.zeros(DIRECTIONS, np.bool_)
    for n in range(count):
        x, head, chest, z = places[n, 0], places[n, 1] + HEAD, places[n, 1] + CHEST, places[n, 2]
        seen[:] = False
        for f in range(len(triangles)):
            a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
            low, high = min(a[1], b[1], c[1]), max(a[1], b[1], c[1])
            if high > head and low < head + CEILING and covered[n] == 0:
                y = _height_over(a, b, c, x, z)
                if head < y < head + CEILING:
                    covered[n] = 1
            if low <= chest < high:
                _look_along(a, b, c, x, chest, z, seen)
        walled[n] = seen.sum() / DIRECTIONS
    return covered, walled


@compiled_exactly
def _height_over(a: Array, b: Array, c: Array, x: float, z: float) -> float:
    """y of a triangle over or under a place in plan; NaN beside it and for an upright one."""
    ux, uz, vx, vz = b[0] - a[0], b[2] - a[2], c[0] - a[0], c[2] - a[2]
    area = ux * vz - uz * vx
    if abs(area) < 1e-12:
        return np.nan
    s, t = ((x - a[0]) * vz - (z - a[2]) * vx) / area, (ux * (z - a[2]) - uz * (x - a[0])) / area
    if s < 0 or t < 0 or s + t > 1:
        return np.nan
    return a[1] + s * (b[1] - a[1]) + t * (c[1] - a[1])


@compiled_exactly
def _look_along(a: Array, b: Array, c: Array, x: float, y: float, z: float, seen: Array) -> None:
    """Mark the directions in which a level ray from (x, y, z) meets a triangle, cut at height y to a segment."""
    ends, count = np.zeros((2, 2)), 0
    for p, q in ((a, b), (b, c), (c, a)):
        if (p[1] <= y) != (q[1] <= y) and count < 2:
            share = (y - p[1]) / (q[1] - p[1])
            ends[count, 0] = p[0] + share * (q[0] - p[0]) - x
            ends[count, 1] = p[2] + share * (q[2] - p[2]) - z
            count += 1
    if count < 2:
        return
    sx, sz = ends[1, 0] - ends[0, 0], ends[1, 1] - ends[0, 1]
    for d in range(len(seen)):
        if seen[d]:
            continue
        angle = 2 * np.pi * d / len(seen)
        dx, dz = np.cos(angle), np.sin(angle)
        area = dx * sz - dz * sx
        if abs(area) < 1e-12:
            continue
        away = (ends[0, 0] * sz - ends[0, 1] * sx) / area
        share = (ends[0, 0] * dz - ends[0, 1] * dx) / area
        if 0 < away < WALL and 0 <= share <= 1:
            seen[d] = True

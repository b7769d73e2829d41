"""The kernels that Python calls all the time, with navmesh, search and goals handed over as plain tuples.

numba takes a few microseconds to recognise a tuple of arrays and ten times as long for a NamedTuple, which is more than
most of these questions take to answer.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.compiled import compiled_exactly
from embodia.envs.homes.navmesh import geodesics, shortest_paths, surface
from embodia.envs.homes.navmesh.navmesh import Floor
from embodia.envs.homes.navmesh.open_list import Search
from embodia.envs.homes.navmesh.shortest_paths import Goals, GoalTree, VisibilityGraph

Array = NDArray[Any]
Parts = tuple[Any, ...]  # what `tuple` makes of a NamedTuple


@compiled_exactly
def project(floor: Parts, place: Array, island: int) -> tuple[int, Array]:
    return surface.project(Floor(*floor), place, island)


@compiled_exactly
def navigable(floor: Parts, place: Array, max_y_delta: float) -> bool:
    return surface.navigable(Floor(*floor), place, max_y_delta)


@compiled_exactly
def try_step(floor: Parts, start: Array, end: Array, sliding: bool) -> Array:
    return surface.try_step(Floor(*floor), start, end, sliding)


@compiled_exactly
def probe_steps(
    floor: Parts, search: Parts, start: Array, targets: Array, sliding: bool, radius: float
) -> tuple[Array, Array]:
    return surface.probe_steps(Floor(*floor), Search(*search), start, targets, sliding, radius)


@compiled_exactly
def wall_distance(floor: Parts, search: Parts, place: Array, radius: float) -> tuple[float, Array]:
    return surface.wall_distance(Floor(*floor), Search(*search), place, radius)


@compiled_exactly
def goals_on(floor: Parts, asked: Array) -> Goals:
    return shortest_paths.goals_on(Floor(*floor), asked)


@compiled_exactly
def distances(floor: Parts, search: Parts, goals: Parts, places: Array) -> Array:
    return geodesics.distances(Floor(*floor), Search(*search), Goals(*goals), places)


@compiled_exactly
def distance_between(floor: Parts, search: Parts, start: Array, end: Array) -> float:
    world, places = Floor(*floor), np.empty((2, 3), np.float32)
    places[0], places[1] = start, end
    goals = shortest_paths.goals_on(world, places[1:])
    return geodesics.distances(world, Search(*search), goals, places[:1])[0]


@compiled_exactly
def nearest_distances(floor: Parts, search: Parts, graph: Parts, goals: Parts, tree: Parts, places: Array) -> Array:
    return geodesics.nearest_distances(
        Floor(*floor), Search(*search), VisibilityGraph(*graph), Goals(*goals), GoalTree(*tree), places
    )


@compiled_exactly
def shortest(floor: Parts, graph: Parts, goals: Parts, tree: Parts, asked: Array) -> tuple[float, int, Array]:
    """Length of the exact shortest path from a place, its first step, and its first point."""
    world = Floor(*floor)
    p, place = surface.project(world, asked, surface.ANY)
    if p == -1:
        return np.inf, shortest_paths.NOWHERE, place
    start = surface.clamped(world, p, asked)
    length, step = shortest_paths.shortest_way(world, VisibilityGraph(*graph), Goals(*goals), GoalTree(*tree), p, start)
    return length, step, start

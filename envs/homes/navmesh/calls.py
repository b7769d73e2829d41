"""The kernels that Python calls all the time, with navmesh, search and goals handed over as plain tuples.

numba takes a few microseconds to recognise a tuple of arrays and ten times as long for a NamedTuple, which is more than
most of these questions take to answer.
"""

from typing import Any

from numpy.typing import NDArray

from embodia.envs.drawing.compiled import compiled_exactly
from embodia.envs.homes.navmesh import geodesics, shortest_paths, surface
from embodia.envs.homes.navmesh.geodesics import Goals
from embodia.envs.homes.navmesh.navmesh import NavMesh
from embodia.envs.homes.navmesh.open_list import Search
from embodia.envs.homes.navmesh.shortest_paths import GoalField, VisibilityGraph

Array = NDArray[Any]
Parts = tuple[Any, ...]  # what `tuple` makes of a NamedTuple


@compiled_exactly
def project(mesh: Parts, place: Array, island: int) -> tuple[int, Array]:
    return surface.project(NavMesh(*mesh), place, island)


@compiled_exactly
def navigable(mesh: Parts, place: Array, max_y_delta: float) -> bool:
    return surface.navigable(NavMesh(*mesh), place, max_y_delta)


@compiled_exactly
def try_step(mesh: Parts, start: Array, end: Array, sliding: bool) -> Array:
    return surface.try_step(NavMesh(*mesh), start, end, sliding)


@compiled_exactly
def wall_distance(mesh: Parts, search: Parts, place: Array, radius: float) -> tuple[float, Array]:
    return surface.wall_distance(NavMesh(*mesh), Search(*search), place, radius)


@compiled_exactly
def distance(mesh: Parts, search: Parts, goals: Parts, asked: Array) -> float:
    return geodesics.distance(NavMesh(*mesh), Search(*search), Goals(*goals), asked)


@compiled_exactly
def probe_steps(
    mesh: Parts, search: Parts, goals: Parts, start: Array, targets: Array, sliding: bool, radius: float
) -> tuple[Array, Array, Array]:
    return geodesics.probe_steps(NavMesh(*mesh), Search(*search), Goals(*goals), start, targets, sliding, radius)


@compiled_exactly
def shortest(mesh: Parts, graph: Parts, field: Parts, asked: Array, seen: Array) -> tuple[float, int, Array]:
    """Length of the exact shortest path from a place, its first step, and the place on the mesh."""
    parts = NavMesh(*mesh)
    p, place = surface.project(parts, asked, -1)
    if p == -1:
        return float("inf"), shortest_paths.NOWHERE, place
    length, step = shortest_paths.nearest_goal(parts, VisibilityGraph(*graph), GoalField(*field), p, place, seen)
    return length, step, place

"""Shortest walk by discrete actions, found by simulating them in the path finder.

A* over places reached by filtered forward steps (Hart, Nilsson & Raphael 1968), with the exact shortest distance as
the bound: it never overestimates, so but for the rounding of places to cells the walk is the shortest there is. It
bounds what a follower can reach (its SPL), and leads on where a greedy one is stuck.
"""

import heapq
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.homes.experts.follower import FORWARD, LEFT, RIGHT, STOP, GreedyGeodesicFollower

Array = NDArray[Any]

PLACE = 0.02  # [m], places nearer than this count as one
LEAST_STEP = 0.05  # [m], shorter moves do not count as a step
TURN_COST = 1e-4  # [m] per turn: among equally short walks the one with fewer turns


def shortest_walk(
    follower: GreedyGeodesicFollower, position: ArrayLike, yaw: float, goals: Any, max_places: int = 3000
) -> list[int]:
    """Actions from a pose to within the follower's goal radius, ending in a stop; [] if none is found.

    Steps and turns, sliding and goal radius are the follower's.
    """
    headings = round(2 * np.pi / follower.turn)
    radius = 0.75 * follower.forward if follower.goal_radius is None else follower.goal_radius
    start = np.asarray(position, np.float64)
    navigator = follower.navigator
    places, came, facing = [start], [-1], [0]
    lengths, left = [0.0], [navigator.shortest_distance(start, goals)]
    queue, settled = [(left[0], 0)], set[tuple[int, ...]]()
    while queue and len(settled) < max_places:
        _, node = heapq.heappop(queue)
        key = tuple(np.round(places[node] / PLACE).astype(int))
        if key in settled:
            continue
        settled.add(key)
        if left[node] < radius and navigator.distance(places[node], goals) < radius:
            return _actions(came, facing, node, headings)
        angle = yaw + np.arange(headings) * follower.turn
        step = follower.forward * np.stack([-np.sin(angle), 0 * angle, -np.cos(angle)], axis=-1)
        ends = navigator.probe_steps(places[node], places[node] + step, goals, follower.sliding, 0.0)[0]
        distance = np.array([navigator.shortest_distance(end, goals) for end in ends])
        moved = np.linalg.norm(ends - places[node], axis=1)
        for h in np.flatnonzero((moved > LEAST_STEP) & np.isfinite(distance)):
            turns = min((h - facing[node]) % headings, (facing[node] - h) % headings)
            length = lengths[node] + float(moved[h]) + TURN_COST * float(turns)
            heapq.heappush(queue, (length + float(distance[h]), len(places)))
            places.append(ends[h])
            came.append(node)
            facing.append(int(h))
            lengths.append(length)
            left.append(float(distance[h]))
    return []


def _actions(came: list[int], facing: list[int], node: int, headings: int) -> list[int]:
    """The turns and steps that lead to a node."""
    course = []
    while node > 0:
        course.append(facing[node])
        node = came[node]
    actions: list[int] = []
    now = 0
    for heading in reversed(course):
        to_left = (heading - now) % headings
        actions += [LEFT] * to_left if to_left <= headings // 2 else [RIGHT] * (headings - to_left)
        actions.append(FORWARD)
        now = heading
    return [*actions, STOP]

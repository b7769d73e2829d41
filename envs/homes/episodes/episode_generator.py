"""New episodes in a loaded home, by Habitat's rules.

PointNav: habitat-lab 0.3, `datasets/pointnav/pointnav_generator.py`. ObjectNav: the goals are all objects of a
category, reached from any place within 1 m of an object's surface from which a camera that may turn sees it (Habitat
Challenge 2020 ff.). InstanceImageNav: Krantz et al. 2022, a picture of one object from a camera of its own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.drawing.rotations import from_yaw, multiply
from embodia.envs.drawing.scene import SceneObject
from embodia.envs.homes.engines.engine import Engine, Home
from embodia.envs.homes.episodes.dataset import HM3D_CATEGORIES, Episode, Goal, ImageGoal, Unreachable, ViewPoint
from embodia.envs.homes.episodes.islands import MIN_RADIUS, indoor_island
from embodia.envs.homes.tasks.navigation import Camera, Task
from embodia.envs.homes.tasks.sensors import image_goal_rotation

Array = NDArray[Any]
Rng = np.random.Generator

NEAREST, FURTHEST = 1.0, 30.0  # geodesic distance from start to goal [m]
STRAIGHT = 1.1  # geodesic over Euclidean below which most episodes are rejected
TRIES_PER_TARGET = 10
MAX_TARGETS = 1000
MAX_DRAWS = 100

VIEW_DISTANCE = 1.0  # [m] from the object's surface
VIEW_GRID = 0.1  # [m] between candidate view points
VIEW_CAMERA = Camera(height=64, width=64, hfov=90.0, above_feet=0.88)
MIN_VIEW = 0.004  # share of that picture which the object must fill
INSTANCE_HFOVS = (60.0, 75.0, 90.0)  # [deg]
INSTANCE_SIZE = (512, 512)
MIN_COVERAGE = 0.03  # share of a goal picture which the object must fill


def is_straight_enough(geodesic: float, euclidean: float, rng: Rng) -> bool:
    """Habitat's filter against trivial episodes: nearly straight ones pass with probability 20 (ratio - 0.98)^2."""
    ratio = geodesic / max(euclidean, 1e-6)
    return ratio >= STRAIGHT or bool(rng.random() < 20 * (ratio - 0.98) ** 2)


def _point(home: Home, rng: Rng) -> Array | None:
    """A navigable point on an island worth walking on, None after 100 draws."""
    for _ in range(100):
        point = home.pathfinder.get_random_navigable_point(rng, indoor_island(home))
        if np.isfinite(point).all() and home.pathfinder.island_radius(point) >= MIN_RADIUS:
            return point
    return None


def point_episode(home: Home, rng: Rng, episode_id: str, task: Task) -> Episode:
    """A PointNav episode. Raises Unreachable if the home offers none."""
    for _ in range(MAX_TARGETS):
        target = _point(home, rng)
        if target is None:
            break
        goals = home.pathfinder.goal_set(target)
        for _ in range(TRIES_PER_TARGET):
            source = _point(home, rng)
            if source is None or abs(source[1] - target[1]) > 0.5:
                continue
            geodesic = home.pathfinder.distance(source, goals)
            if not NEAREST <= geodesic <= FURTHEST:
                continue
            if is_straight_enough(geodesic, float(np.linalg.norm(source - target)), rng):
                goal = Goal(_vector(target), radius=task.success_distance)
                return _episode(home, rng, episode_id, source, (goal,), geodesic)
    raise Unreachable(
        f"scene {home.scene_id!r} offers no episode: no two points of one island lie {NEAREST} to {FURTHEST} m apart."
    )


def free_episode(home: Home, rng: Rng, episode_id: str, task: Task) -> Episode:
    """A start without a goal, for exploration. Raises Unreachable if the home offers none."""
    source = _point(home, rng)
    if source is None:
        raise Unreachable(f"scene {home.scene_id!r} has no island of {MIN_RADIUS} m radius to explore.")
    return _episode(home, rng, episode_id, source, (), 0.0)


def _episode(
    home: Home, rng: Rng, episode_id: str, source: Array, goals: tuple[Goal, ...], geodesic: float, **more: Any
) -> Episode:
    rotation = from_yaw(rng.uniform(0, 2 * np.pi))
    info = {"geodesic_distance": float(geodesic), **more.pop("info", {})}
    return Episode(
        episode_id=episode_id,
        scene_id=home.scene_id,
        start_position=_vector(source),
        start_rotation=_vector(rotation),
        goals=goals,
        info=info,
        **more,
    )


def _vector(values: ArrayLike) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values).ravel())


def surface_distance(objects: SceneObject, points: Array) -> Array:
    """(n,) distance [m] in plan of points (n, 3) to the oriented box of an object."""
    local = np.abs((points - objects.center) @ objects.rotation)
    outside = np.maximum(local - objects.half_extents, 0)
    return np.linalg.norm((outside @ objects.rotation.T)[:, [0, 2]], axis=1)


def look_at(eyes: Array, target: Array) -> Array:
    """Rotations (n, 4) of cameras at eyes (n, 3) that look at one point (3,) or one each (n, 3)."""
    away = np.asarray(target) - eyes
    yaw = np.arctan2(-away[:, 0], -away[:, 2])
    pitch = np.arctan2(away[:, 1], np.hypot(away[:, 0], away[:, 2]))
    tilt = np.stack([np.sin(pitch / 2), 0 * pitch, 0 * pitch, np.cos(pitch / 2)], axis=-1)
    return multiply(from_yaw(yaw), tilt)


def view_points(home: Home, engine: Engine, thing: SceneObject) -> tuple[ViewPoint, ...]:
    """Places of the home's floor within 1 m of an object from which a camera that turns and tilts sees it."""
    places = _places_around(home, thing)
    if not len(places):
        return ()
    eyes = places + np.array([0, VIEW_CAMERA.above_feet, 0])
    rotations = look_at(eyes, thing.center)
    images = engine.render([home] * len(places), eyes, rotations, VIEW_CAMERA, ("semantic",))
    share = (images["semantic"] == thing.semantic_id).mean(axis=(1, 2, 3))
    away = thing.center - places
    body = from_yaw(np.arctan2(-away[:, 0], -away[:, 2]))
    return tuple(
        ViewPoint(_vector(places[i]), _vector(body[i]), float(share[i])) for i in np.flatnonzero(share >= MIN_VIEW)
    )


def _places_around(home: Home, thing: SceneObject) -> Array:
    """Navigable grid points (n, 3) of the main island within VIEW_DISTANCE of an object's surface."""
    low, high = thing.aabb
    xs, zs = (np.arange(low[k] - VIEW_DISTANCE, high[k] + VIEW_DISTANCE, VIEW_GRID) for k in (0, 2))
    finder, island = home.pathfinder, indoor_island(home)
    grid = np.stack(np.meshgrid(xs, [low[1]], zs), axis=-1).reshape(-1, 3)
    grid = grid[surface_distance(thing, grid) <= VIEW_DISTANCE]
    points = np.array([finder.snap_point(place, island) for place in grid], np.float64).reshape(-1, 3)
    points = points[np.hypot(*(points - grid)[:, [0, 2]].T) < 0.01]
    points = points[points[:, 1] <= high[1] + 0.5]  # not from the storey above
    radius = [finder.island_radius(point) for point in points]
    return points[np.array(radius) >= MIN_RADIUS] if len(points) else points


def category_goals(home: Home, engine: Engine, category: str) -> tuple[Goal, ...]:
    """All objects of a category that can be seen from the floor, worked out once per home."""
    key = ("goals", category)
    if key not in home.memory:
        found = ((thing, view_points(home, engine, thing)) for thing in home.objects if thing.category == category)
        home.memory[key] = tuple(_object_goal(thing, views) for thing, views in found if views)
    return home.memory[key]


def _object_goal(thing: SceneObject, views: tuple[ViewPoint, ...]) -> Goal:
    return Goal(
        position=_vector(thing.center),
        object_id=thing.semantic_id,
        object_name=thing.name,
        object_category=thing.category,
        room_id=thing.room if thing.room >= 0 else None,
        view_points=views,
    )


def _drawn_goals(home: Home, engine: Engine, rng: Rng) -> tuple[Goal, ...]:
    """The goals of one of HM3D's categories that the home has. Raises Unreachable if none can be seen."""
    present = {thing.category for thing in home.objects}
    left = [name for name in HM3D_CATEGORIES if name in present]
    while left:
        goals = category_goals(home, engine, left.pop(rng.integers(len(left))))
        if goals:
            return goals
    raise Unreachable(
        f"scene {home.scene_id!r} has no object of {list(HM3D_CATEGORIES)} that can be seen from its floor; "
        "ObjectNav and InstanceImageNav need a scene with semantic annotation."
    )


def object_episode(home: Home, engine: Engine, rng: Rng, episode_id: str, task: Task) -> Episode:
    """An ObjectNav episode of one of HM3D's six categories. Raises Unreachable if the home offers none."""
    for _ in range(MAX_DRAWS):
        goals = _drawn_goals(home, engine, rng)
        category = goals[0].object_category
        found = _start_for(home, rng, goals, ("reach", category))
        if found is None:
            continue
        source, path = found
        goal, euclidean = _goal_at(goals, path.closest_end, source)
        info = {"euclidean_distance": euclidean, "closest_goal_object_id": goal.object_id}
        return _episode(
            home, rng, episode_id, source, goals, path.geodesic_distance, info=info, object_category=category
        )
    raise Unreachable(f"scene {home.scene_id!r}: no start lies {NEAREST} to {FURTHEST} m from any goal object.")


def _start_for(home: Home, rng: Rng, goals: tuple[Goal, ...], key: Any) -> tuple[Array, Any] | None:
    if key not in home.memory:
        home.memory[key] = home.pathfinder.goal_set([view.position for goal in goals for view in goal.view_points])
    for _ in range(TRIES_PER_TARGET):
        source = _point(home, rng)
        if source is None:
            return None
        path = home.pathfinder.path(source, home.memory[key])
        if NEAREST <= path.geodesic_distance <= FURTHEST:
            return source, path
    return None


def _goal_at(goals: tuple[Goal, ...], end: int, source: Array) -> tuple[Goal, float]:
    """The object that view point number `end` of all goals belongs to, and its distance as the crow flies."""
    for goal in goals:
        if end < len(goal.view_points):
            return goal, float(np.linalg.norm(source - np.array(goal.view_points[end].position)))
        end -= len(goal.view_points)
    raise IndexError(end)


def instance_episode(home: Home, engine: Engine, rng: Rng, episode_id: str, task: Task) -> Episode:
    """An InstanceImageNav episode: one object and one picture of it. Raises Unreachable if the home offers none."""
    for _ in range(MAX_DRAWS):
        goals = _drawn_goals(home, engine, rng)
        goal = goals[rng.integers(len(goals))]
        image = _goal_picture(home, engine, rng, goal)
        found = _start_for(home, rng, (goal,), ("reach", goal.object_id)) if image is not None else None
        if image is None or found is None:
            continue
        source, path = found
        thing = next(thing for thing in home.objects if thing.semantic_id == goal.object_id)
        x, y, z = 2 * thing.half_extents
        pictured = Goal(
            **{**vars(goal), "image_goals": (image,), "object_surface_area": float(2 * (x * y + y * z + z * x))}
        )
        return _episode(
            home,
            rng,
            episode_id,
            source,
            (pictured,),
            path.geodesic_distance,
            object_category=goal.object_category,
            goal_object_id=goal.object_id,
            goal_image_id=0,
        )
    raise Unreachable(f"scene {home.scene_id!r} has no object that a goal picture could show and a start could reach.")


def _goal_picture(home: Home, engine: Engine, rng: Rng, goal: Goal) -> ImageGoal | None:
    """A camera of its own height and angle at one of the view points, looking at the object from nearby."""
    view = goal.view_points[rng.integers(len(goal.view_points))]
    eye = np.array(view.position) + np.array([0, rng.uniform(0.8, 1.5), 0])
    target = np.array(goal.position) + rng.normal(0, 0.05, 3)
    rotation = look_at(eye[None], target)
    hfov = INSTANCE_HFOVS[rng.integers(len(INSTANCE_HFOVS))]
    camera = Camera(height=64, width=64, hfov=hfov)
    image = engine.render([home], eye[None], rotation, camera, ("semantic",))["semantic"]
    coverage = float((image == goal.object_id).mean())
    if coverage < MIN_COVERAGE:
        return None
    return ImageGoal(_vector(eye), _vector(rotation), hfov, INSTANCE_SIZE, frame_coverage=coverage)


def image_goal_pose(episode: Episode, camera: Camera) -> tuple[Array, Array]:
    """Where the camera of an ImageNav goal stands (3,) and how it is turned (4,)."""
    eye = np.array(episode.goals[0].position) + np.array([0, camera.above_feet, 0])
    return eye, image_goal_rotation(episode.episode_id)


def generate_episode(home: Home, engine: Engine, rng: Rng, episode_id: str, task: Task) -> Episode:
    """A new episode of a task in a home; the generator decides everything. Raises Unreachable."""
    plain: dict[str, Callable[[Home, Rng, str, Task], Episode]] = {
        "point": point_episode,
        "image": point_episode,
        "none": free_episode,
    }
    if task.goal in plain:
        return plain[task.goal](home, rng, episode_id, task)
    make = object_episode if task.goal == "object" else instance_episode
    return make(home, engine, rng, episode_id, task)

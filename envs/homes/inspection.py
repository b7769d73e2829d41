"""Describe how a scene file is read, in words and as an image.

The image shows the scene from above (the navmesh by islands, walls cut at chest height), from the side (which way is
up), and through the task's camera at a place where an episode could start.
"""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.rotations import from_yaw, rotate
from embodia.envs.homes.engines.engine import EmbodiaEngine, Home
from embodia.envs.homes.episodes.islands import indoor_island, survey
from embodia.envs.homes.files.load import Up, upright_by
from embodia.envs.homes.navmesh.pathfinder import PathFinder
from embodia.envs.homes.picture import depth_colours
from embodia.envs.homes.tasks.navigation import TASKS, Task

Array = NDArray[Any]

PANEL = 480  # [pixel] side of a panel
MARGIN = 44  # [pixel] for axes
BAR = 26  # [pixel] of a panel's title
CHEST = 1.0  # [m] above the floor, where walls are cut
MOST_EDGES = 40_000  # triangles drawn from the side
PLAIN = 3.0  # standard deviation of an image that shows nothing
YAWS = 16  # directions tried for the camera
INSIDE, OUTSIDE, WALL = (190, 232, 190), (226, 214, 190), (40, 40, 40)
X_AXIS, Y_AXIS, Z_AXIS, EYE = (200, 40, 40), (40, 140, 40), (40, 70, 200), (200, 0, 120)


def inspect(
    path: str | Path, up: Up | None = None, island: int | None = None, task: str = "PointNav"
) -> tuple[list[str], NDArray[np.uint8]]:
    """Return lines of text and an image (H, W, 3) uint8. Raises SceneError, NavMeshError or EpisodeError."""
    settings = TASKS[task]
    engine = EmbodiaEngine(settings.navmesh, cache_size=1, navmesh_beside=False, up=up, island=island)
    home = engine.home(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the lines say it
        chosen = indoor_island(home)
    eye, yaw = _viewpoint(engine, home, settings, chosen)
    views = [_from_above(home, chosen, eye, yaw), _from_the_side(home, eye), _camera(engine, home, settings, eye, yaw)]
    engine.close()
    return _lines(Path(path), home, up, chosen), np.concatenate(views, axis=1)


def _lines(path: Path, home: Home, up: Up | None, chosen: int) -> list[str]:
    scene = home.scene
    assert scene is not None
    width, height, depth = np.ptp(scene.bounds, axis=0)
    categories = sorted({thing.category for thing in scene.objects})
    labels = f"{len(scene.objects)} labelled objects of {len(categories)} categories: {', '.join(categories[:12])}"
    return [
        f"file      {path}",
        f"frame     {upright_by(path, up)}",
        f"size      {width:.2f} m along x, {depth:.2f} m along z, {height:.2f} m high",
        f"mesh      {len(scene.faces):,} triangles, {len(scene.textures) - 1} textures",
        f"labels    {labels}" if categories else "labels    none: no semantic annotation beside it",
        f"navmesh   {home.pathfinder.num_islands} islands",
        *(f"{'* ' if each.number == chosen else '  '}        {each}" for each in survey(home)),
        "episodes  on any island" if chosen == -1 else f"episodes  on island {chosen}; --island chooses another",
    ]


def _viewpoint(engine: EmbodiaEngine, home: Home, task: Task, island: int) -> tuple[Array, float]:
    """A place on the island, and the direction in which it sees furthest."""
    rng = np.random.default_rng(0)
    places = np.array([home.pathfinder.get_random_navigable_point(rng, island) for _ in range(8)], np.float64)
    yaws = np.arange(YAWS) * 2 * np.pi / YAWS
    eyes = np.repeat(_lens(task, places), YAWS, axis=0)
    small = type(task.camera)(24, 24, 90.0)
    depth = engine.render([home] * len(eyes), eyes, from_yaw(np.tile(yaws, len(places))), small, ("depth",))["depth"]
    # What is not hit reads 0, so that a view out of the home counts as a short one.
    best = int(depth.reshape(len(eyes), -1).mean(axis=1).argmax())
    return places[best // YAWS], float(yaws[best % YAWS])


def _lens(task: Task, feet: Array) -> Array:
    return feet + np.array([0, task.camera.above_feet, 0])


def _camera(engine: EmbodiaEngine, home: Home, task: Task, place: Array, yaw: float) -> Array:
    camera = type(task.camera)(PANEL, PANEL, 90.0)
    eye = _lens(task, place)
    seen = engine.render([home], eye[None], from_yaw(yaw)[None], camera, ("rgb", "depth"))
    image, what = seen["rgb"][0], "camera"
    if image.std() < PLAIN:
        image, what = depth_colours(seen["depth"][0, ..., 0]), "depth (no texture)"
    return _titled(image, f"{what} at x {eye[0]:.1f}, y {eye[1]:.1f}, z {eye[2]:.1f} m")


class _Plan:
    """World to pixels on a panel: two axes of the world, the second downwards or (flipped) upwards."""

    def __init__(self, low: Array, high: Array, flipped: bool) -> None:
        self.scale = (PANEL - 2 * MARGIN) / max(float((high - low).max()), 1e-6)
        self.low, self.high, self.flipped = low, high, flipped
        self.corner = (PANEL - (high - low) * self.scale) / 2  # the scene stands in the middle
        self.image = np.full((PANEL, PANEL, 3), 255, np.uint8)

    def pixels(self, points: Array) -> Array:
        """(..., 2) [m] -> (..., 2) int32 (column, row)."""
        across = (np.asarray(points, np.float64) - self.low) * self.scale
        if self.flipped:
            across[..., 1] = (self.high[1] - self.low[1]) * self.scale - across[..., 1]
        return np.round(across + self.corner).astype(np.int32)

    def axes(self, names: tuple[str, str], colours: tuple[Any, Any]) -> None:
        """Arrows of one metre (or a tenth of the scene) from the corner, with names and length."""
        length = 1.0 if 1.0 * self.scale > 12 else float((self.high - self.low).max()) / 10
        corner = np.array([self.low[0], self.low[1]])
        start = self.pixels(corner)
        for axis, (name, colour) in enumerate(zip(names, colours, strict=True)):
            end = self.pixels(corner + length * np.eye(2)[axis])
            cv2.arrowedLine(self.image, _pair(start), _pair(end), colour, 2, cv2.LINE_AA, tipLength=0.3)
            place = (int(end[0]) + 4, int(end[1]) + (4 if axis == 0 else 12 * (-1 if self.flipped else 1)))
            cv2.putText(self.image, f"+{name}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
        text = f"arrows: {length:.3g} m"
        cv2.putText(self.image, text, (8, PANEL - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (90, 90, 90), 1, cv2.LINE_AA)


def _pair(point: Array) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _from_above(home: Home, chosen: int, eye: Array, yaw: float) -> Array:
    scene, finder = home.scene, home.pathfinder
    assert scene is not None
    assert isinstance(finder, PathFinder)
    low, high = scene.bounds[:, [0, 2]].astype(np.float64)
    plan, floor = _Plan(low, high, flipped=False), finder.mesh.floor
    island = np.repeat(floor.island, np.diff(floor.first_triangle))
    for mine in (False, True):
        members = (island == chosen) == mine if chosen != -1 else island >= 0
        for triangle in plan.pixels(floor.triangles[members][:, :, [0, 2]]):
            cv2.fillConvexPoly(plan.image, triangle, INSIDE if mine else OUTSIDE)
    for segment in plan.pixels(_cut(scene.triangles, float(eye[1]) + CHEST)):
        cv2.line(plan.image, _pair(segment[0]), _pair(segment[1]), WALL, 1, cv2.LINE_AA)
    ahead = rotate(from_yaw(yaw), [0.0, 0.0, -1.0])[[0, 2]]
    at = eye[[0, 2]]
    cv2.circle(plan.image, _pair(plan.pixels(at)), 5, EYE, -1, cv2.LINE_AA)
    tip = plan.pixels(at + 28 / plan.scale * ahead)
    cv2.arrowedLine(plan.image, _pair(plan.pixels(at)), _pair(tip), EYE, 2, cv2.LINE_AA, tipLength=0.35)
    plan.axes(("x", "z"), (X_AXIS, Z_AXIS))
    what = "the navmesh" if chosen == -1 else f"island {chosen}"
    return _titled(plan.image, f"from above: green {what}, dot the camera")


def _from_the_side(home: Home, eye: Array) -> Array:
    scene = home.scene
    assert scene is not None
    low, high = scene.bounds[:, [0, 1]].astype(np.float64)
    plan = _Plan(low, high, flipped=True)
    triangles = scene.triangles[:: len(scene.faces) // MOST_EDGES + 1]
    cv2.polylines(plan.image, list(plan.pixels(triangles[:, :, [0, 1]])), True, (150, 150, 150), 1, cv2.LINE_AA)
    feet = plan.pixels(eye[[0, 1]])
    head = plan.pixels(eye[[0, 1]] + [0, 1.5])
    cv2.line(plan.image, _pair(feet), _pair(head), EYE, 4, cv2.LINE_AA)
    plan.axes(("x", "y"), (X_AXIS, Y_AXIS))
    return _titled(plan.image, "from the side (along -z): bar a body of 1.5 m")


def _cut(triangles: Array, height: float) -> Array:
    """(S, 2, 2) segments (x, z) at which triangles (F, 3, 3) cross a height."""
    below = triangles[:, :, 1] <= height
    crossing = triangles[below.any(axis=1) & ~below.all(axis=1)].astype(np.float64)
    following = np.roll(crossing, -1, axis=1)
    rise = following[:, :, 1] - crossing[:, :, 1]
    crosses = (crossing[:, :, 1] <= height) != (following[:, :, 1] <= height)  # exactly two edges of each
    share = (height - crossing[:, :, 1]) / np.where(crosses, rise, 1)
    points = crossing + share[..., None] * (following - crossing)
    return points[crosses][:, [0, 2]].reshape(-1, 2, 2)


def _titled(image: Array, title: str) -> Array:
    bar = np.full((BAR, image.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, title, (8, BAR - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([bar, image])

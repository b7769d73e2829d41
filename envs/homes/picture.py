"""Draw one world: the agent's views beside the map of the explored area."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from embodia.envs.homes.engines.engine import Engine, Home
from embodia.envs.homes.episodes.dataset import Episode
from embodia.envs.homes.measures.top_down_map import MapGoal, TopDownMap
from embodia.envs.homes.observations import Poses, camera_pose
from embodia.envs.homes.tasks.navigation import CAMERA_SENSORS, Camera

Array = NDArray[Any]

WIDTH = 256  # [pixel] of each panel
BAR = 32  # [pixel] of the caption
FAR_DEPTH = 6.0  # [m], shown black

_GOLDEN = 0.618033988749895


def label_colours(labels: Array) -> Array:
    """Distinct colours (..., 3) uint8 of integer labels; 0 is dark grey."""
    hue = (labels * _GOLDEN) % 1.0
    hsv = np.stack([hue * 179, np.full_like(hue, 150), 160 + 80 * ((labels * 7) % 2)], axis=-1).astype(np.uint8)
    colours = cv2.cvtColor(hsv.reshape(1, -1, 3), cv2.COLOR_HSV2RGB).reshape(*labels.shape, 3)
    colours[labels == 0] = 40
    return colours


def depth_colours(depth: Array) -> Array:
    """z-depth [m] (H, W) -> near bright, far dark, nothing black; (H, W, 3) uint8."""
    shade = np.where(depth > 0, 1 - np.clip(depth / FAR_DEPTH, 0, 1), 0)
    return np.asarray(cv2.applyColorMap((shade * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1])


def map_goals(home: Home, episode: Episode) -> list[MapGoal]:
    """Return the goals of an episode as the map draws them."""
    boxes = {thing.semantic_id: thing.aabb for thing in home.objects}
    return [
        MapGoal(
            np.asarray(goal.position),
            np.array([view.position for view in goal.view_points]).reshape(-1, 3),
            boxes.get(goal.object_id) if goal.object_id is not None else None,
        )
        for goal in episode.goals
    ]


def picture(
    engine: Engine,
    home: Home,
    top_down: TopDownMap,
    poses: Poses,
    i: int,
    camera: Camera,
    caption: str,
    goal_view: Array | None = None,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 with even sides: RGB, depth, semantic ids (and the goal's picture) beside the map.

    The views are the agent's own, through its `camera` but for the number of pixels.
    """
    height = max(2, round(WIDTH * camera.height / camera.width))
    large = replace(camera, height=2 * height, width=2 * WIDTH)
    one = Poses(**{name: value[i : i + 1] for name, value in vars(poses).items()})
    seen = engine.render([home], *camera_pose(one, large), large, CAMERA_SENSORS)
    rgb, depth, semantic = (seen[name][0] for name in CAMERA_SENSORS)
    small = [depth_colours(depth[::2, ::2, 0]), label_colours(semantic[::2, ::2, 0])]
    if goal_view is None:
        views = np.concatenate([rgb, np.concatenate(small)], axis=1)
    else:
        first = cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA)
        goal = _fit(goal_view, height, WIDTH)
        views = np.concatenate([np.concatenate([first, small[0]], axis=1), np.concatenate([small[1], goal], axis=1)])
    drawn = _fit(_upright(top_down.draw()), len(views), len(views))
    return _titled(np.concatenate([views, drawn], axis=1), caption)


def _upright(image: Array) -> Array:
    """Turned so that the longer side stands."""
    return np.rot90(image) if image.shape[1] > image.shape[0] else image


def _fit(image: Array, height: int, width: int) -> Array:
    """Scaled into a white panel of the given size."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(int(image.shape[1] * scale), 1), max(int(image.shape[0] * scale), 1))
    scaled = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    panel = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    panel[top : top + size[1], left : left + size[0]] = scaled
    return panel


def _titled(image: Array, caption: str) -> NDArray[np.uint8]:
    bar = np.full((BAR, image.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, caption, (8, BAR - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([bar, image]).astype(np.uint8)

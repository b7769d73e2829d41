"""Walks through generated homes with labels of every frame: room, visible objects, distance, own motion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs import Split
from embodia.envs.drawing.scene import HM3D_CATEGORIES
from embodia.envs.homes.engines.engine import Home
from embodia.envs.homes.files.arrays import read_arrays
from embodia.envs.homes.vector_env import HomesVectorEnv

Array = NDArray[Any]
IN_VIEW = 0.01  # share of the picture a thing must fill to be in it
EVASION = 0.2  # rate of random actions, which makes walks less straight
FAR = 10.0  # [m] depth 1


@dataclass(frozen=True)
class Walks:
    """T frames of N walks, time first."""

    rgb: Array  # (T, N, H, W, 3) uint8
    room: Array  # (T, N) int64, index in `rooms`; -1 in a doorway
    objects: Array  # (T, N, C) bool: HM3D's goal categories in view
    depth: Array  # (T, N) float32 [m], mean over the picture
    motion: Array  # (T, N, 2) float32: metres forward and radians to the left since the frame before; 0 at first
    first: Array  # (T, N) bool
    rooms: tuple[str, ...]
    objects_named: tuple[str, ...] = tuple(HM3D_CATEGORIES)


ROOMS = ("living room", "kitchen", "bathroom", "bedroom", "corridor")
KINDS: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "rgb": (np.uint8, (3,)),
    "room": (np.int64, ()),
    "objects": (np.bool_, (len(HM3D_CATEGORIES),)),
    "depth": (np.float32, ()),
    "motion": (np.float32, (2,)),
    "first": (np.bool_, ()),
}
"""Type and last axes of each array that is kept on disk."""


class WalksError(ValueError):
    """A file of walks that cannot be used; the message names it and says what to do."""


def walks(
    split: Split,
    homes: int,
    each: int,
    steps: int,
    size: int = 64,
    kept: Path | None = None,
    at_a_time: int = 16,
    tell: Callable[[int], None] = lambda done: None,
) -> Walks:
    """`each` walks of `steps` steps in homes 0..homes-1 of a split, from one random place towards another.

    Walk i is in home i % homes. Kept on disk in the folder `kept`, and not walked twice. `tell` is called with the
    number of finished walks.
    """
    path = None if kept is None else kept / f"walks-{split}-{homes}x{each}x{steps}-{size}.npz"
    if path is not None and path.exists():
        return load_walks(path)
    parts = []
    for begin in range(0, homes * each, at_a_time):
        levels = range(begin, min(begin + at_a_time, homes * each))
        parts.append(_walk(split, levels, homes, steps, size))
        tell(levels.stop)
    joined = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".aside.npz")
        np.savez_compressed(aside, **joined)  # type: ignore[arg-type]
        aside.replace(path)
    return Walks(**joined, rooms=ROOMS)  # type: ignore[arg-type]


def load_walks(path: Path) -> Walks:
    """Walks kept on disk. Raises WalksError for a file that holds none."""
    try:
        arrays = read_arrays(path)
        frames, picture = arrays["first"].shape, arrays["rgb"].shape[2:4]
        for name, (kind, rest) in KINDS.items():
            shape = (*frames, *(picture if name == "rgb" else ()), *rest)
            if len(frames) != 2 or arrays[name].shape != shape or arrays[name].dtype != kind:
                raise ValueError(
                    f"its {name} is {arrays[name].dtype} {arrays[name].shape}, not {kind.__name__} {shape}"
                )
        return Walks(**arrays, rooms=ROOMS)  # type: ignore[arg-type]
    except Exception as error:
        raise WalksError(f"{path} holds no walks ({error}). Delete it to have them walked again.") from error


def _walk(split: Split, levels: range, homes: int, steps: int, size: int) -> dict[str, Array]:
    env = HomesVectorEnv(
        len(levels),
        "PointNav",
        split,
        sensors=("rgb", "depth", "semantic"),
        height=size,
        width=size,
        num_scenes=homes,
        detail="low",
        max_steps=steps + 1,
        render_mode=None,
    )
    rng = np.random.default_rng([levels.start, split == "test"])
    obs, _ = env.reset(seed=list(levels))
    rows: list[dict[str, Array]] = []
    before: tuple[Array, Array] | None = None
    try:
        for step in range(steps):
            seen = [_truth(home, obs, i, env.poses.position[i]) for i, home in enumerate(env.homes)]
            pose = (env.poses.position.copy(), _yaw(env.poses.rotation))
            motion = np.zeros((len(levels), 2), np.float32) if before is None else _motion(before, pose)
            before = pose
            truth = {name: np.stack([each[name] for each in seen]) for name in seen[0]}
            first = np.full(len(levels), step == 0)
            rows.append({"rgb": obs["rgb"].copy(), **truth, "motion": motion, "first": first})
            action = np.asarray(env.expert_action())
            drawn = rng.random(len(levels)) < EVASION
            action = np.where(
                drawn | (action == 0), rng.integers(1, 4, len(levels)), action
            )  # the walks never stop early
            obs = env.step(action)[0]
    finally:
        env.close()
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _truth(home: Home, obs: Mapping[str, Array], i: int, position: Array) -> dict[str, Array]:
    """Room, objects and mean depth of one frame."""
    ids, counts = np.unique(obs["semantic"][i], return_counts=True)
    seen = {int(number): count for number, count in zip(ids, counts)}
    pixels = dict.fromkeys(HM3D_CATEGORIES, 0)
    for each in home.objects:
        if each.category in pixels:
            pixels[each.category] += int(seen.get(each.semantic_id, 0))
    total = obs["semantic"][i].size
    return {
        "room": np.array(_room(home, position)),
        "objects": np.array([count >= IN_VIEW * total for count in pixels.values()]),
        "depth": np.array(FAR * obs["depth"][i].mean(), np.float32),
    }


def _room(home: Home, position: Array) -> int:
    """Index of the room's kind; -1 in none of ROOMS."""
    assert home.scene is not None
    x, z = position[0], position[2]
    for room in home.scene.rooms:
        low, high = room.polygon.min(0), room.polygon.max(0)
        if low[0] <= x <= high[0] and low[1] <= z <= high[1]:
            return ROOMS.index(room.category) if room.category in ROOMS else -1
    return -1


def _yaw(rotation: Array) -> Array:
    """(N, 4) xyzw about the vertical -> (N,) [rad]."""
    return 2 * np.arctan2(rotation[:, 1], rotation[:, 3])


def _motion(before: tuple[Array, Array], after: tuple[Array, Array]) -> Array:
    """(N, 2) metres along the former view direction, and radians turned to the left."""
    moved, yaw = after[0] - before[0], before[1]
    ahead = -np.sin(yaw) * moved[:, 0] - np.cos(yaw) * moved[:, 2]
    turned = (after[1] - yaw + np.pi) % (2 * np.pi) - np.pi
    return np.stack([ahead, turned], 1).astype(np.float32)

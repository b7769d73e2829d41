"""The interface between tasks and simulators, and our own simulator: navmesh and rasterizer.

`habitat_sim_engine` implements the same interface on habitat_sim.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.drawing.rotations import rotate
from embodia.envs.drawing.scene import Scene, SceneObject
from embodia.envs.homes.files.load import Up, load_scene
from embodia.envs.homes.generator.generate import Detail, generate_home
from embodia.envs.homes.navmesh.navigator import Navigator
from embodia.envs.homes.navmesh.navmesh import NavMeshError, NavMeshSettings, build_navmesh, cached_navmesh
from embodia.envs.homes.navmesh.pathfinder import Measure, PathFinder
from embodia.envs.homes.tasks.navigation import Camera

Array = NDArray[Any]

GENERATED = re.compile(r"home-(\d+)(?:-(low|medium|high))?(?:-([1-4]))?")
"""Scene ids of generated homes: `home-<seed>[-<detail>[-<bedrooms>]]`; everything else is a file."""

WHICH_WAY_IS_UP = (
    "Without a stage config beside it, a .glb, .gltf or .obj is read with +y up, a .ply or a scan of HM3D, MP3D or "
    "Gibson with +z up. --up y or --up z says otherwise; `embodia doctor --scene FILE` draws how a file is read."
)


def generated_scene(scene_id: str) -> Scene:
    """Return the generated home of an id."""
    named = GENERATED.fullmatch(scene_id)
    assert named is not None, scene_id
    seed, detail, bedrooms = named.groups()
    return generate_home(int(seed), cast(Detail, detail or "medium"), int(bedrooms) if bedrooms else None)


@dataclass
class Home:
    """One loaded scene: its navmesh and its objects."""

    scene_id: str
    pathfinder: Navigator
    objects: tuple[SceneObject, ...] = ()
    scene: Scene | None = None
    island: int | None = None  # on which episodes are generated; None = chosen, see `islands`
    geometry: Callable[[], Scene] | None = None  # reads the scene, for engines that keep none
    memory: dict[Any, Any] = field(default_factory=dict)  # values cached by tasks, by key


@lru_cache(maxsize=64)
def _generated(scene_id: str, settings: NavMeshSettings, geodesics: Measure) -> Home:
    """Return a generated home; all environments of this process share it."""
    scene = generated_scene(scene_id)
    mesh = build_navmesh(scene.vertices, scene.faces, settings, f"generated home {scene_id}")
    return Home(scene_id, PathFinder(mesh, geodesics), scene.objects, scene)


class Engine(Protocol):
    """Loads homes and draws cameras in them."""

    def home(self, scene_id: str) -> Home:
        """Return the home of a scene id, loaded once. Raises SceneError or NavMeshError."""

    def render(
        self, homes: Sequence[Home], positions: Array, rotations: Array, camera: Camera, sensors: Sequence[str]
    ) -> dict[str, Array]:
        """Render camera i in homes[i], at positions (N, 3) and rotations (N, 4) xyzw of the camera itself.

        rgb (N, H, W, 3) uint8, depth (N, H, W, 1) float32 [m] with 0 where nothing was hit, semantic (N, H, W, 1)
        int32. The arrays are copies.
        """

    def close(self) -> None: ...


def camera_matrices(positions: Array, rotations: Array) -> Array:
    """(N, 3), (N, 4) xyzw -> camera-to-world (N, 4, 4)."""
    matrices = np.zeros((len(positions), 4, 4))
    for axis, direction in enumerate(np.eye(3)):
        matrices[:, :3, axis] = rotate(rotations, direction)
    matrices[:, :3, 3] = positions
    matrices[:, 3, 3] = 1
    return matrices


class EmbodiaEngine:
    """This project's own simulator.

    Args:
        settings: settings of the navmesh.
        cache_size: number of homes that stay loaded.
        threads: number of cameras drawn at a time.
        navmesh_beside: keep the navmesh of a scene file beside it (`<scene>.navmesh.npz`) and use it again.
        geodesics: how tasks measure distances: with habitat-sim's own search ("detour") or as exact shortest paths
            ("exact"); see `PathFinder`.
        up: axis that points up in scene files; None follows `load_scene`.
        island: island of the navmesh on which episodes are generated; None chooses one.
    """

    def __init__(
        self,
        settings: NavMeshSettings,
        cache_size: int = 64,
        threads: int = 1,
        navmesh_beside: bool = True,
        geodesics: Measure = "detour",
        up: Up | None = None,
        island: int | None = None,
    ) -> None:
        self.settings, self.cache_size, self.threads = settings, cache_size, threads
        self.navmesh_beside, self.geodesics, self.up, self.island = navmesh_beside, geodesics, up, island
        self._homes: OrderedDict[str, Home] = OrderedDict()
        self._rasterizers: dict[tuple[Camera, tuple[str, ...]], Rasterizer] = {}

    def home(self, scene_id: str) -> Home:
        if scene_id in self._homes:
            self._homes.move_to_end(scene_id)
            return self._homes[scene_id]
        home = self._load(scene_id)
        self._homes[scene_id] = home
        while len(self._homes) > self.cache_size:
            _, old = self._homes.popitem(last=False)
            for rasterizer in self._rasterizers.values():
                assert old.scene is not None
                rasterizer.forget(old.scene)
        return home

    def _load(self, scene_id: str) -> Home:
        if GENERATED.fullmatch(scene_id):
            home = _generated(scene_id, self.settings, self.geodesics)
            return home if self.island is None else replace(home, island=self.island, memory={})
        scene = load_scene(scene_id, up=self.up)
        beside = Path(f"{scene_id}.navmesh.npz") if self.navmesh_beside else None
        try:
            mesh = cached_navmesh(scene.vertices, scene.faces, self.settings, beside, f"scene {scene_id}")
        except NavMeshError as error:
            error.add_note(WHICH_WAY_IS_UP)
            raise
        return Home(scene_id, PathFinder(mesh, self.geodesics), scene.objects, scene, self.island)

    def render(
        self, homes: Sequence[Home], positions: Array, rotations: Array, camera: Camera, sensors: Sequence[str]
    ) -> dict[str, Array]:
        key = (camera, tuple(sensors))
        if key not in self._rasterizers:
            self._rasterizers[key] = Rasterizer(
                camera.height,
                camera.width,
                camera.hfov,
                camera.near,
                camera.far,
                sensors=tuple(sensors),
                threads=self.threads,
            )
        scenes: dict[int, Scene] = {id(home): home.scene for home in homes if home.scene is not None}
        order = {key: place for place, key in enumerate(scenes)}
        index = np.array([order[id(home)] for home in homes])
        images = self._rasterizers[key].render(list(scenes.values()), index, camera_matrices(positions, rotations))
        return {name: image.copy() for name, image in images.items()}

    def close(self) -> None:
        self._homes.clear()
        self._rasterizers.clear()

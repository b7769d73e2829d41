"""The same tasks over a real habitat-sim; only the modules `habitat_sim_*` of this folder call it.

Tested against 0.3.3 and 0.3.4, whose unwritten rules are handled in these modules. Of semantic objects `aabb` always
contains the origin, so boxes are `obb`; and where an object has several parts, habitat-sim boxes the largest one only,
so generated homes use the objects that they were made of.
"""

import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.rotations import rotate
from embodia.envs.drawing.scene import Scene, SceneObject
from embodia.envs.homes.engines.engine import GENERATED, Home, generated_scene
from embodia.envs.homes.engines.habitat_sim_files import check_scene
from embodia.envs.homes.engines.habitat_sim_install import Steps, describe, import_habitat_sim, is_0_3_4
from embodia.envs.homes.engines.habitat_sim_pathfinder import HabitatPathFinder, array
from embodia.envs.homes.engines.habitat_sim_simulators import (
    HabitatSimError,
    SceneSimulator,
    Settings,
    check_process,
    owns_context,
)
from embodia.envs.homes.files.export import export_scene
from embodia.envs.homes.files.load import Up, load_scene
from embodia.envs.homes.navmesh.detour_file import read_detour
from embodia.envs.homes.navmesh.navmesh import NavMeshError
from embodia.envs.homes.navmesh.pathfinder import PathFinder
from embodia.envs.homes.tasks.navigation import Camera, Task

Array = NDArray[Any]

ATTRIBUTES = ("agent_radius", "agent_height", "agent_max_climb", "agent_max_slope", "cell_size", "cell_height")


class HabitatSimEngine:
    """habitat-sim behind the calls of `Engine`, with one simulator for each scene.

    It lives in the thread and process that made it. Several environments may share it.

    Args:
        task: the task; its body decides the navmesh.
        camera: the agent's camera.
        gpu_device_id: None is 0 where an NVIDIA device is found, else -1 (software or Mesa EGL).
        seed: seed of the simulators.
        scene_dataset: path of a `.scene_dataset_config.json`.
        up: axis that points up in scene files without a stage config.
        island: island of the navmesh on which episodes are generated; None chooses one.
        most_scenes: number of scenes with an open simulator, each of 40 to 214 MB. The least used one is closed.
        steps: rule of steps without sliding, "0.3.3" or "installed". From 0.3.4 on habitat-sim's own steps stick to
            walls; "0.3.3" keeps the older rule, which habitat-lab's numbers were measured with, on every version.

    Raises HabitatSimMissing, or HabitatSimError in a process that was forked while habitat-sim was open.
    """

    def __init__(
        self,
        task: Task,
        camera: Camera,
        gpu_device_id: int | None = None,
        seed: int = 0,
        scene_dataset: str = "default",
        up: Up | None = None,
        island: int | None = None,
        most_scenes: int = 8,
        steps: Steps = "0.3.3",
    ) -> None:
        self._habitat_sim = import_habitat_sim()
        check_process()
        self.task, self.camera, self.up, self.island = task, camera, up, island
        self.most_scenes, self.steps = most_scenes, steps
        seen = os.path.exists("/dev/nvidia0")
        device = (0 if seen else -1) if gpu_device_id is None else gpu_device_id
        self._settings = Settings(task, scene_dataset, device, seed)
        self._owner = (os.getpid(), threading.get_ident())
        self._homes: dict[str, Home] = {}
        self._files: dict[str, str] = {}
        self._simulators: OrderedDict[str, SceneSimulator] = OrderedDict()  # by file, the last used one last
        self._exports = Path(tempfile.mkdtemp(prefix="embodia-homes-"))
        # Also closes what a caller forgets to close; knows the simulators, and not the engine.
        self._closing = weakref.finalize(self, _close, self._simulators, self._exports, os.getpid())

    @property
    def version(self) -> str:
        """Name and version of habitat-sim, and whose rule steps without sliding follow if not its own."""
        return describe(self._habitat_sim, self.steps)

    def home(self, scene_id: str) -> Home:
        """The scene, its navmesh loaded from `<scene>.navmesh` if made for this body, else recomputed."""
        if scene_id not in self._homes:
            made = generated_scene(scene_id) if GENERATED.fullmatch(scene_id) else None
            file = self._files[scene_id] = scene_id if made is None else self._export(made, scene_id)
            check_scene(file, self._settings.scene_dataset, self.up)
            simulator = self._simulator(file).simulator
            finder = self._navmesh(simulator, scene_id)
            self._homes[scene_id] = Home(
                scene_id,
                HabitatPathFinder(self._habitat_sim, finder, self._walker(finder, scene_id)),
                _objects(simulator) if made is None else made.objects,
                made,
                self.island,
                geometry=partial(load_scene, scene_id, up=self.up),
            )
        return self._homes[scene_id]

    def _export(self, scene: Scene, scene_id: str) -> str:
        """Write a generated home as files that habitat-sim reads, for as long as this engine lives."""
        return str(export_scene(scene, self._exports / scene_id, scene_id))

    def _simulator(self, file: str) -> SceneSimulator:
        """The simulator of a scene file. Where there are too many, the least used one is closed."""
        self._check_owner()
        if file not in self._simulators:
            # The owner of the OpenGL context would stay open until all others are closed.
            others = [name for name, simulator in self._simulators.items() if not owns_context(simulator)]
            if len(self._simulators) >= self.most_scenes and others:
                self._simulators.pop(others[0]).close()
            self._simulators[file] = SceneSimulator(self._habitat_sim, file, self._settings)
        self._simulators.move_to_end(file)
        return self._simulators[file]

    def _check_owner(self) -> None:
        if not self._closing.alive:
            raise HabitatSimError("this habitat-sim engine is closed; make the environment again.")
        if self._owner != (os.getpid(), threading.get_ident()):
            raise HabitatSimError(
                "a habitat-sim lives in the process and thread that made it (its GL context ends the process "
                'elsewhere); make the environment inside the worker, with start method "spawn" or "forkserver".'
            )

    def _navmesh(self, simulator: Any, scene_id: str) -> Any:
        settings = self._navmesh_settings()
        finder = self._habitat_sim.PathFinder()
        beside = Path(self._files[scene_id]).with_suffix(".navmesh")
        if beside.is_file() and finder.load_nav_mesh(str(beside)) and finder.is_loaded:
            stored = getattr(finder, "nav_mesh_settings", None)
            if stored is not None and all(
                abs(getattr(stored, name) - getattr(settings, name)) < 1e-6 for name in ATTRIBUTES
            ):
                return finder
        if not _recomputed(simulator, finder, settings):
            raise NavMeshError(
                f"habitat-sim found no floor in scene {scene_id!r} that a body of radius {self.task.agent_radius} m "
                f"and height {self.task.agent_height} m can stand on."
            )
        return finder

    def _navmesh_settings(self) -> Any:
        settings = self._habitat_sim.NavMeshSettings()
        settings.set_defaults()
        for name, value in asdict(self.task.navmesh).items():
            if hasattr(settings, name):
                setattr(settings, name, value)
        return settings

    def _walker(self, finder: Any, scene_id: str) -> PathFinder | None:
        """Our own steps on habitat-sim's navmesh, where its steps follow another rule than the one asked for."""
        if self.task.sliding or self.steps == "installed" or not is_0_3_4(self._habitat_sim):
            return None
        file = self._exports / "walked.navmesh"
        finder.save_nav_mesh(str(file))
        try:
            return PathFinder(read_detour(file))
        except NavMeshError as error:
            raise NavMeshError(
                f"scene {scene_id!r}: steps without sliding cannot follow habitat-sim 0.3.3's rule on its navmesh "
                f'({error}). HabitatSimEngine(..., steps="installed") uses those of the installed version.'
            ) from error

    def render(
        self, homes: Sequence[Home], positions: Array, rotations: Array, camera: Camera, sensors: Sequence[str]
    ) -> dict[str, Array]:
        """See `Engine.render`. Cameras of one scene are drawn together, so that scenes change least."""
        names = tuple(sensors)
        images = _blank(len(homes), camera, names)
        order = sorted(range(len(homes)), key=lambda i: homes[i].scene_id)
        for i in order:
            simulator = self._simulator(self._files[homes[i].scene_id])
            for name, image in simulator.draw(camera, names, positions[i], rotations[i]).items():
                images[name][i] = image[..., :3] if name == "rgb" else image[..., None]
        return images

    def close(self) -> None:
        """Close the simulators. They stay open as long as others draw with their OpenGL context."""
        self._homes.clear()
        self._closing()


def _close(simulators: OrderedDict[str, SceneSimulator], exports: Path, process: int) -> None:
    if os.getpid() != process:  # a fork has a copy of the engine, and not its simulators and files
        return
    for simulator in reversed(simulators.values()):
        simulator.close()
    simulators.clear()
    shutil.rmtree(exports, ignore_errors=True)


def _recomputed(simulator: Any, finder: Any, settings: Any) -> bool:
    try:
        return bool(simulator.recompute_navmesh(finder, settings) and finder.is_loaded)
    except AssertionError:  # a scene without triangles
        return False


def _objects(simulator: Any) -> tuple[SceneObject, ...]:
    """The annotated objects by the ids that pixels show; entries may be None or without a category."""
    scene = simulator.semantic_scene
    things = [] if scene is None else [t for t in scene.objects if t is not None and t.category is not None]
    return tuple(_object(thing) for thing in things if int(thing.semantic_id) > 0)


def _object(thing: Any) -> SceneObject:
    box = thing.obb
    rotation = np.eye(3)
    if hasattr(box, "rotation"):  # (x, y, z, w) of the box's frame in the world
        x, y, z, w = (float(value) for value in np.asarray(box.rotation).ravel()[:4])
        if abs(np.linalg.norm([x, y, z, w]) - 1) < 1e-3:
            rotation = np.stack([rotate([x, y, z, w], axis) for axis in np.eye(3)], axis=1)
    return SceneObject(
        semantic_id=int(thing.semantic_id),
        name=str(thing.id),
        category=str(thing.category.name()),
        room=_region(thing),
        center=array(box.center).astype(np.float64),
        half_extents=array(box.half_extents).astype(np.float64),
        rotation=rotation,
    )


def _region(thing: Any) -> int:
    """`_3` -> 3; -1 where there is none."""
    region = getattr(thing, "region", None)
    number = "" if region is None else str(region.id).rpartition("_")[2]
    return int(number) if number.isdigit() else -1


def _blank(count: int, camera: Camera, names: tuple[str, ...]) -> dict[str, Array]:
    shape = (count, camera.height, camera.width)
    kinds: dict[str, tuple[int, type[np.generic]]] = {
        "rgb": (3, np.uint8),
        "depth": (1, np.float32),
        "semantic": (1, np.int32),
    }
    return {name: np.zeros((*shape, kinds[name][0]), kinds[name][1]) for name in names}

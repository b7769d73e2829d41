"""The same tasks over a real habitat-sim (0.3.3, numpy 2): every call into `habitat_sim` is in this module.

habitat_sim is imported when an engine is made. What its own documentation does not say, and what is handled here:
a query on an unloaded PathFinder ends the process, so none is made before a navmesh is there; colours come as RGBA in
a buffer of its own; `aabb` of semantic objects always contains the origin, so boxes are `obb`; a second thread, a
fork, or closing the first of two simulators ends the process, so the first two raise and the third waits; the
pathfinder draws from C's global generator, so it is seeded right before every draw; `reconfigure` with an equal
configuration does nothing and cannot add colour to a simulator made without.
"""

import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embodia.envs.drawing.scene import Scene, SceneObject
from embodia.envs.homes.engines.engine import GENERATED, Home, generated_scene
from embodia.envs.homes.engines.habitat_sim_files import check_scene
from embodia.envs.homes.files.export import export_scene
from embodia.envs.homes.files.load import Up, load_scene
from embodia.envs.homes.navmesh.navmesh import NavMeshError
from embodia.envs.homes.navmesh.pathfinder import Path as WalkedPath
from embodia.envs.homes.tasks.navigation import Camera, Task

Array = NDArray[Any]

HOW_TO_GET_IT = (
    'engine="habitat-sim" needs habitat_sim 0.3.3 or later: `conda install -c conda-forge -c aihabitat '
    'habitat-sim=0.3.3 headless`, or build it from source for this Python; engine="embodia" runs without.'
)
ATTRIBUTES = ("agent_radius", "agent_height", "agent_max_climb", "agent_max_slope", "cell_size", "cell_height")


class HabitatSimMissing(ImportError):
    """habitat_sim is not installed here; the message says how to get it."""


def import_habitat_sim() -> Any:
    """The module. Raises HabitatSimMissing."""
    os.environ.setdefault("HABITAT_SIM_LOG", "quiet")
    os.environ.setdefault("MAGNUM_LOG", "quiet")
    try:
        import habitat_sim
    except ImportError as error:
        raise HabitatSimMissing(HOW_TO_GET_IT) from error
    return habitat_sim


def _floats(point: ArrayLike) -> Array:
    """habitat_sim refuses integers; float32 arrays pass everywhere."""
    return np.asarray(point, np.float32)


def _array(vector: Any) -> Array:
    """magnum.Vector3 since 0.3.3, an array before."""
    return np.array(vector, dtype=np.float32)


@dataclass(frozen=True)
class HabitatGoals:
    """Places to go to, with habitat-sim's multi-goal query."""

    goals: Array  # (G, 3) float32 [m]
    query: Any


class HabitatPathFinder:
    """habitat_sim's PathFinder behind our verbs; made only around a loaded one."""

    def __init__(self, habitat_sim: Any, finder: Any) -> None:
        if not finder.is_loaded:
            raise NavMeshError("habitat-sim's PathFinder has no navmesh; recompute or load one before asking it.")
        self._sim, self._finder = habitat_sim, finder

    @property
    def bounds(self) -> Array:
        return np.array([_array(corner) for corner in self._finder.get_bounds()])

    @property
    def navigable_area(self) -> float:
        return float(self._finder.navigable_area)

    @property
    def num_islands(self) -> int:
        return int(self._finder.num_islands)

    def island_area(self, island: int) -> float:
        return float(self._finder.island_area(island))

    def get_island(self, point: ArrayLike) -> int:
        snapped = self.snap_point(point)
        return int(self._finder.get_island(snapped)) if np.isfinite(snapped).all() else -1

    def island_radius(self, point: ArrayLike) -> float:
        return float(self._finder.island_radius(_floats(point)))

    def snap_point(self, point: ArrayLike, island_index: int = -1) -> Array:
        return _array(self._finder.snap_point(_floats(point), island_index))

    def is_navigable(self, point: ArrayLike, max_y_delta: float = 0.5) -> bool:
        return bool(self._finder.is_navigable(_floats(point), max_y_delta))

    def get_random_navigable_point(self, rng: np.random.Generator, island_index: int = -1) -> Array:
        self._finder.seed(int(rng.integers(2**31)))
        return _array(self._finder.get_random_navigable_point(10, island_index))

    def get_random_navigable_point_near(
        self,
        rng: np.random.Generator,
        circle_center: ArrayLike,
        radius: float,
        max_tries: int = 100,
        island_index: int = -1,
    ) -> Array:
        self._finder.seed(int(rng.integers(2**31)))
        near = self._finder.get_random_navigable_point_near(_floats(circle_center), radius, max_tries, island_index)
        return _array(near)

    def goal_set(self, goals: ArrayLike) -> HabitatGoals:
        asked = np.atleast_2d(_floats(goals))
        query = self._sim.MultiGoalShortestPath()
        query.requested_ends = asked
        return HabitatGoals(asked, query)

    def distance(self, position: ArrayLike, goals: HabitatGoals) -> float:
        goals.query.requested_start = _floats(position)
        return float(goals.query.geodesic_distance) if self._finder.find_path(goals.query) else float("inf")

    def path(self, position: ArrayLike, goals: HabitatGoals) -> WalkedPath:
        distance = self.distance(position, goals)
        if not np.isfinite(distance):
            return WalkedPath(float("inf"), np.zeros((0, 3), np.float32), -1)
        points = np.array([_array(point) for point in goals.query.points]).reshape(-1, 3)
        return WalkedPath(distance, points, int(goals.query.closest_end_point_index))

    # habitat-sim has no exact search: its own stands in for it.
    shortest_distance, shortest_path = distance, path

    def find_path(self, start: ArrayLike, ends: ArrayLike) -> WalkedPath:
        return self.path(start, self.goal_set(ends))

    def geodesic_distance(self, start: ArrayLike, ends: ArrayLike) -> float:
        return self.distance(start, self.goal_set(ends))

    def try_step(self, start: ArrayLike, end: ArrayLike) -> Array:
        return _array(self._finder.try_step(_floats(start), _floats(end)))

    def try_step_no_sliding(self, start: ArrayLike, end: ArrayLike) -> Array:
        return _array(self._finder.try_step_no_sliding(_floats(start), _floats(end)))

    def probe_steps(
        self, start: ArrayLike, targets: Array, goals: HabitatGoals, sliding: bool, radius: float
    ) -> tuple[Array, Array, Array]:
        move = self.try_step if sliding else self.try_step_no_sliding
        ends = np.array([move(start, target) for target in targets], np.float64).reshape(-1, 3)
        clearance = np.array([self.distance_to_closest_obstacle(end, radius) for end in ends])
        return ends, clearance, np.array([self.distance(end, goals) for end in ends])

    def distance_to_closest_obstacle(self, point: ArrayLike, max_search_radius: float = 2.0) -> float:
        return float(self._finder.distance_to_closest_obstacle(_floats(point), max_search_radius))

    def get_topdown_view(self, meters_per_pixel: float, height: float, eps: float = 0.5) -> Array:
        return np.array(self._finder.get_topdown_view(meters_per_pixel, height, eps), bool)

    def free_cells(self, bounds: Array, shape: tuple[int, int], height: float) -> Array:
        low, high = bounds
        view = self.get_topdown_view(float((high[0] - low[0]) / shape[1]), height)
        free = np.zeros(shape, bool)
        rows, columns = min(shape[0], view.shape[0]), min(shape[1], view.shape[1])
        free[:rows, :columns] = view[:rows, :columns]
        return free


@dataclass(frozen=True)
class _View:
    """What the one simulator is set up to draw."""

    scene_file: str
    scene_dataset: str
    camera: Camera
    sensors: tuple[str, ...]


class HabitatSimEngine:
    """One habitat_sim.Simulator behind the engine's calls; scenes and cameras change by `reconfigure`.

    Lives in the thread and process that made it; several worlds may share it, and change scenes least when they share
    those too. `gpu_device_id` None = 0 where an NVIDIA device is seen, else -1 (software or Mesa EGL).
    """

    _open: list["HabitatSimEngine"] = []  # noqa: RUF012 (of the whole process, in the order of their making)

    def __init__(
        self,
        task: Task,
        camera: Camera,
        gpu_device_id: int | None = None,
        seed: int = 0,
        scene_dataset: str = "default",
        up: Up | None = None,
        island: int | None = None,
    ) -> None:
        self._habitat_sim = import_habitat_sim()
        self.task, self.camera, self.seed, self.scene_dataset = task, camera, seed, scene_dataset
        self.up, self.island = up, island
        seen = os.path.exists("/dev/nvidia0")
        self.gpu_device_id = (0 if seen else -1) if gpu_device_id is None else gpu_device_id
        self._sim: Any = None
        self._view: _View | None = None
        self._has_colour = False
        self._closed = False
        self._owner = (os.getpid(), threading.get_ident())
        self._homes: dict[str, Home] = {}
        self._files: dict[str, str] = {}
        self._exported: tempfile.TemporaryDirectory[str] | None = None

    def home(self, scene_id: str) -> Home:
        """The scene, its navmesh loaded from `<scene>.navmesh` if made for this body, else recomputed."""
        if scene_id not in self._homes:
            self._files[scene_id] = self._file_of(scene_id)
            check_scene(self._files[scene_id], self.scene_dataset, self.up)
            self._set_up(_View(self._files[scene_id], self.scene_dataset, self.camera, ("depth",)))
            finder = self._navmesh(scene_id)
            self._homes[scene_id] = Home(
                scene_id,
                HabitatPathFinder(self._habitat_sim, finder),
                self._objects(),
                island=self.island,
                geometry=partial(self._geometry, scene_id),
            )
        return self._homes[scene_id]

    def _file_of(self, scene_id: str) -> str:
        return self._export(scene_id) if GENERATED.fullmatch(scene_id) else scene_id

    def _geometry(self, scene_id: str) -> Scene:
        """The scene as our own reader sees it."""
        return generated_scene(scene_id) if GENERATED.fullmatch(scene_id) else load_scene(scene_id, up=self.up)

    def _export(self, scene_id: str) -> str:
        """A generated home as files that habitat-sim reads, for as long as this engine lives."""
        if self._exported is None:
            self._exported = tempfile.TemporaryDirectory(prefix="embodia-homes-")
        return str(export_scene(generated_scene(scene_id), Path(self._exported.name) / scene_id, scene_id))

    def _navmesh(self, scene_id: str) -> Any:
        settings = self._navmesh_settings()
        finder = self._habitat_sim.PathFinder()
        beside = Path(self._files[scene_id]).with_suffix(".navmesh")
        if beside.is_file() and finder.load_nav_mesh(str(beside)) and finder.is_loaded:
            stored = getattr(finder, "nav_mesh_settings", None)
            if stored is not None and all(
                abs(getattr(stored, name) - getattr(settings, name)) < 1e-6 for name in ATTRIBUTES
            ):
                return finder
        if not self._sim.recompute_navmesh(finder, settings) or not finder.is_loaded:
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

    def _objects(self) -> tuple[SceneObject, ...]:
        """Annotated things by the ids that pixels show; entries may be None or without a category."""
        scene = self._sim.semantic_scene
        things = [] if scene is None else [t for t in scene.objects if t is not None and t.category is not None]
        return tuple(_object(thing) for thing in things if int(thing.semantic_id) > 0)

    def _set_up(self, view: _View) -> None:
        """Make the simulator draw `view`: as it is, reconfigured, or made anew where colour has to be added."""
        self._check_owner()
        if view == self._view:
            return
        configuration = self._configuration(view)
        if self._sim is None or ("rgb" in view.sensors and not self._has_colour):
            self._remake(configuration)
            self._has_colour = "rgb" in view.sensors
        else:
            self._sim.reconfigure(configuration)
        self._view = view

    def _remake(self, configuration: Any) -> None:
        if self._sim is not None:
            if HabitatSimEngine._open[-1] is not self:
                raise RuntimeError(
                    "colour cannot be added to this habitat-sim while a later one is open in the same process; make "
                    "the environment with the rgb sensor, or in a process of its own."
                )
            self._sim.close()
        else:
            HabitatSimEngine._open.append(self)
        self._sim = self._habitat_sim.Simulator(configuration)
        self._sim.seed(self.seed)

    def _check_owner(self) -> None:
        if self._closed:
            raise RuntimeError("this habitat-sim engine is closed; make the environment again.")
        if self._owner != (os.getpid(), threading.get_ident()):
            raise RuntimeError(
                "a habitat-sim lives in the process and thread that made it (its GL context ends the process "
                'elsewhere); make the environment inside the worker, with start method "spawn" or "forkserver".'
            )

    def _configuration(self, view: _View) -> Any:
        """Always a fresh one: an equal or mutated configuration would be ignored."""
        sim = self._habitat_sim
        backend = sim.SimulatorConfiguration()
        backend.scene_id = view.scene_file
        backend.scene_dataset_config_file = view.scene_dataset
        backend.gpu_device_id = self.gpu_device_id
        backend.random_seed = self.seed
        backend.allow_sliding = self.task.sliding
        backend.enable_physics = False
        backend.load_semantic_mesh = True
        agent = sim.agent.AgentConfiguration()
        agent.height, agent.radius = self.task.agent_height, self.task.agent_radius
        agent.sensor_specifications = [self._sensor(name, view.camera) for name in view.sensors]
        return sim.Configuration(backend, [agent])

    def _sensor(self, name: str, camera: Camera) -> Any:
        """At the body's origin: the body itself is put where the lens is."""
        sim = self._habitat_sim
        kinds = {"rgb": sim.SensorType.COLOR, "depth": sim.SensorType.DEPTH, "semantic": sim.SensorType.SEMANTIC}
        spec = sim.CameraSensorSpec()
        spec.uuid, spec.sensor_type = name, kinds[name]
        spec.sensor_subtype = sim.SensorSubType.PINHOLE
        spec.resolution = [camera.height, camera.width]
        spec.position, spec.orientation = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        spec.hfov, spec.near, spec.far = camera.hfov, camera.near, camera.far
        return spec

    def render(
        self, homes: Sequence[Home], positions: Array, rotations: Array, camera: Camera, sensors: Sequence[str]
    ) -> dict[str, Array]:
        """See `Engine.render`. Cameras of one scene are drawn together, so that scenes change least."""
        names = tuple(sensors)
        images = _blank(len(homes), camera, names)
        order = sorted(range(len(homes)), key=lambda i: homes[i].scene_id)
        for i in order:
            self._set_up(_View(self._files[homes[i].scene_id], self.scene_dataset, camera, names))
            observed = self._look(positions[i], rotations[i])
            for name in names:
                picture = np.asarray(observed[name])
                images[name][i] = picture[..., :3] if name == "rgb" else picture[..., None]
        return images

    def _look(self, position: Array, rotation: Array) -> dict[str, Any]:
        state = self._habitat_sim.AgentState()
        state.position = _floats(position)
        unit = np.asarray(rotation, np.float64) / np.linalg.norm(rotation)
        state.rotation = [float(value) for value in unit]  # a list is read as x, y, z, w
        state.sensor_states = {}
        self._sim.get_agent(0).set_state(state, reset_sensors=True)
        return dict(self._sim.get_sensor_observations())

    def close(self) -> None:
        """Close now if this is the newest open simulator of the process, else when all newer ones are closed."""
        if self._closed:
            return
        self._closed = True
        self._homes.clear()
        opened = HabitatSimEngine._open
        while opened and opened[-1]._closed:
            newest = opened.pop()
            newest._sim.close()
            newest._sim = None
        if self._exported is not None:
            self._exported.cleanup()


def _object(thing: Any) -> SceneObject:
    box = thing.obb
    rotation = np.eye(3)
    if hasattr(box, "rotation"):  # (x, y, z, w) of the box's frame in the world
        x, y, z, w = (float(value) for value in np.asarray(box.rotation).ravel()[:4])
        if abs(np.linalg.norm([x, y, z, w]) - 1) < 1e-3:
            from embodia.envs.drawing.rotations import rotate

            rotation = np.stack([rotate([x, y, z, w], axis) for axis in np.eye(3)], axis=1)
    return SceneObject(
        semantic_id=int(thing.semantic_id),
        name=str(thing.id),
        category=str(thing.category.name()),
        room=_region(thing),
        center=_array(box.center).astype(np.float64),
        half_extents=_array(box.half_extents).astype(np.float64),
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

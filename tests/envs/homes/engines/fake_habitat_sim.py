"""A stand-in for `habitat_sim` 0.3.3 on our own engine, traps included, to test the adapter without the real one.

What ends the process there raises `ProcessEnds` here: a query on an unloaded PathFinder, GL from another thread or a
forked process, rendering after an older simulator was closed first. Everything else follows what was observed on a
real build: integers are refused where it refuses them, results are vectors that are not arrays, configurations are
compared before `reconfigure` acts, and colour cannot be added to a simulator made without.
"""

import copy
import threading
import types
from pathlib import Path

import numpy as np

from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.homes.files.load import load_scene
from embodia.envs.homes.navmesh.navmesh import NavMeshSettings as OurSettings
from embodia.envs.homes.navmesh.navmesh import build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder as OurFinder

__version__ = "0.3.3"
simulators = []  # open ones, oldest first


class ProcessEnds(BaseException):
    """habitat_sim would have taken the whole process with it."""


class Vector3:
    """magnum.Vector3: iterable, compares to one bool, is no array."""

    def __init__(self, values):
        self._values = tuple(float(value) for value in values)

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return 3

    def __getitem__(self, k):
        return self._values[k]

    def __eq__(self, other):
        return tuple(self) == tuple(other)


def _point(value):
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        raise TypeError("incompatible function arguments: an integer array is no Vector3")
    if isinstance(value, list) and any(isinstance(v, int) for v in value):
        raise TypeError("incompatible function arguments: an integer list is no Vector3")
    return np.asarray(value, np.float32)


class _Plain:
    """Equal if all fields are."""

    def __eq__(self, other):
        return type(self) is type(other) and repr(vars(self)) == repr(vars(other))

    def __repr__(self):
        return f"{type(self).__name__}({vars(self)!r})"


class SensorType:
    COLOR, DEPTH, SEMANTIC = "COLOR", "DEPTH", "SEMANTIC"


class SensorSubType:
    PINHOLE = "PINHOLE"


class SimulatorConfiguration(_Plain):
    def __init__(self):
        self.scene_id = ""
        self.scene_dataset_config_file = "default"
        self.random_seed = 0
        self.gpu_device_id = 0
        self.allow_sliding = True
        self.enable_physics = False
        self.load_semantic_mesh = True


class CameraSensorSpec(_Plain):
    def __init__(self):
        self.uuid, self.sensor_type, self.sensor_subtype = "", SensorType.COLOR, SensorSubType.PINHOLE
        self.resolution, self.position, self.orientation = [128, 128], [0.0, 1.5, 0.0], [0.0, 0.0, 0.0]
        self.hfov, self.near, self.far, self.channels = 90.0, 0.01, 1000.0, 4


class AgentConfiguration(_Plain):
    def __init__(self):
        self.height, self.radius, self.sensor_specifications, self.action_space = 1.5, 0.1, [CameraSensorSpec()], {}


agent = types.SimpleNamespace(AgentConfiguration=AgentConfiguration)


class Configuration(_Plain):
    def __init__(self, sim_cfg, agents, metadata_mediator=None, enable_batch_renderer=False):
        self.sim_cfg, self.agents = sim_cfg, agents


class NavMeshSettings(_Plain):
    def __init__(self):
        self.set_defaults()

    def set_defaults(self):
        for name, value in vars(OurSettings()).items():
            setattr(self, name, value)
        self.include_static_objects = False


class MultiGoalShortestPath:
    def __init__(self):
        self.requested_start, self.points, self.geodesic_distance = None, [], float("inf")
        self.closest_end_point_index = -1
        self._ends = []

    @property
    def requested_ends(self):
        return self._ends

    @requested_ends.setter
    def requested_ends(self, ends):
        self._ends, self._prepared = [_point(end) for end in ends], None


class PathFinder:
    def __init__(self):
        self._ours, self.nav_mesh_settings, self._rng = None, None, np.random.default_rng(0)

    @property
    def is_loaded(self):
        return self._ours is not None

    def __getattr__(self, name):
        if name.startswith("_") or self._ours is None:
            raise ProcessEnds(f"segmentation fault: PathFinder.{name} without a navmesh")
        return getattr(self._ours, name)

    def get_bounds(self):
        return tuple(Vector3(corner) for corner in self._loaded("get_bounds").bounds)

    def _loaded(self, name):
        if self._ours is None:
            raise ProcessEnds(f"segmentation fault: PathFinder.{name} without a navmesh")
        return self._ours

    def load_nav_mesh(self, path):
        return False

    def seed(self, seed):
        self._rng = np.random.default_rng(seed)

    def get_random_navigable_point(self, max_tries=10, island_index=-1):
        return Vector3(self._loaded("random").get_random_navigable_point(self._rng, island_index))

    def get_random_navigable_point_near(self, circle_center, radius, max_tries=100, island_index=-1):
        near = self._loaded("near").get_random_navigable_point_near
        return Vector3(near(self._rng, _point(circle_center), radius, max_tries, island_index))

    def snap_point(self, point, island_index=-1):
        return Vector3(self._loaded("snap_point").snap_point(_point(point), island_index))

    def is_navigable(self, point, max_y_delta=0.5):
        return self._loaded("is_navigable").is_navigable(_point(point), max_y_delta)

    def try_step(self, start, end):
        return Vector3(self._loaded("try_step").try_step(_point(start), _point(end)))

    def try_step_no_sliding(self, start, end):
        return Vector3(self._loaded("try_step_no_sliding").try_step_no_sliding(_point(start), _point(end)))

    def find_path(self, query):
        ours = self._loaded("find_path")
        if query._prepared is None:
            query._prepared = ours.goal_set(np.array(query.requested_ends))
        path = ours.path(_point(query.requested_start), query._prepared)
        query.geodesic_distance, query.points = path.geodesic_distance, [Vector3(point) for point in path.points]
        query.closest_end_point_index = path.closest_end
        return np.isfinite(path.geodesic_distance)

    def island_radius(self, point):
        return self._loaded("island_radius").island_radius(_point(point))

    def get_island(self, point):
        return self._loaded("get_island").get_island(_point(point))

    def distance_to_closest_obstacle(self, point, max_search_radius=2.0):
        return self._loaded("obstacle").distance_to_closest_obstacle(_point(point), max_search_radius)


class AgentState:
    def __init__(self):
        self.position, self.rotation, self.sensor_states = np.zeros(3, np.float32), [0.0, 0.0, 0.0, 1.0], {}


class _Agent:
    def __init__(self):
        self.matrix = np.eye(4)

    def set_state(self, state, reset_sensors=True, infer_sensor_states=True, is_initial=False):
        rotation = np.asarray(state.rotation, float)
        if not np.isfinite(state.position).all() or abs(np.linalg.norm(rotation) - 1) > 1e-3:
            raise ValueError("the agent's state is not finite or its rotation no unit quaternion")
        x, y, z, w = rotation
        self.matrix = np.eye(4)
        self.matrix[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        self.matrix[:3, 3] = np.asarray(state.position)


class _Semantics:
    def __init__(self, scene):
        unknown = types.SimpleNamespace(id="Unknown_0", semantic_id=0, category=None, obb=None, region=None)
        self.objects = [unknown, None, *(_semantic_object(thing) for thing in scene.objects)]


def _semantic_object(thing):
    box = types.SimpleNamespace(center=Vector3(thing.center), half_extents=Vector3(thing.half_extents))
    return types.SimpleNamespace(
        id=thing.name,
        semantic_id=thing.semantic_id,
        category=types.SimpleNamespace(name=lambda: thing.category),
        region=types.SimpleNamespace(id=f"_{thing.room}"),
        obb=box,
        aabb=None,
    )


class Simulator:
    def __init__(self, config):
        self._thread, self._doomed = threading.get_ident(), False
        self.config = None
        self._colour = any(s.sensor_type == SensorType.COLOR for s in config.agents[0].sensor_specifications)
        self.reconfigured, self._cameras = 0, {}
        self._load(config)
        simulators.append(self)

    def _load(self, config):
        path = Path(config.sim_cfg.scene_id)
        assert path.exists(), "ESP_CHECK failed: No Stage Attributes exists for requested scene"
        if path.with_name(path.stem + ".scene_instance.json").exists():
            raise ProcessEnds("Render asset template handle not found")  # the default data set holds no stage
        if self.config is None or self.config.sim_cfg.scene_id != config.sim_cfg.scene_id:
            self._scene = load_scene(path)
        self.config = copy.deepcopy(config)
        self.pathfinder = PathFinder()
        self._agent = _Agent()
        self.semantic_scene = _Semantics(self._scene) if self._scene.objects else None

    def _alive(self):
        if threading.get_ident() != self._thread:
            raise ProcessEnds("GL::Context::current(): no current context")
        if self._doomed:
            raise ProcessEnds("the simulator whose GL context this one shares was closed")
        if self.config is None:
            raise IndexError("list index out of range")

    def reconfigure(self, config):
        self._alive()
        if config == self.config:
            return
        colour = any(s.sensor_type == SensorType.COLOR for s in config.agents[0].sensor_specifications)
        if colour and not self._colour:
            raise RuntimeError("requiresTextures: colour cannot be added")
        self.reconfigured += 1
        self._load(config)

    def recompute_navmesh(self, pathfinder, settings):
        names = vars(OurSettings())
        ours = OurSettings(**{name: getattr(settings, name) for name in names})
        pathfinder._ours = OurFinder(build_navmesh(self._scene.vertices, self._scene.faces, ours))
        pathfinder.nav_mesh_settings = settings
        return True

    def seed(self, seed):
        self.pathfinder.seed(seed)

    def get_agent(self, agent_id):
        return self._agent

    def get_sensor_observations(self, agent_ids=0):
        self._alive()
        return {spec.uuid: self._draw(spec) for spec in self.config.agents[0].sensor_specifications}

    def _draw(self, spec):
        name = {"COLOR": "rgb", "DEPTH": "depth", "SEMANTIC": "semantic"}[spec.sensor_type]
        key = (*spec.resolution, spec.hfov, spec.near, spec.far, name)
        if key not in self._cameras:
            self._cameras[key] = Rasterizer(*key[:-1], sensors=(name,))
        camera = self._cameras[key]
        pose = self._agent.matrix.copy()
        pose[:3, 3] += pose[:3, :3] @ np.asarray(spec.position)
        picture = camera.render([self._scene], np.zeros(1, int), pose[None])[name][0].copy()
        if name == "rgb":
            return np.concatenate([picture, np.full((*picture.shape[:2], 1), 255, np.uint8)], axis=-1)
        return picture[..., 0].astype(np.uint32) if name == "semantic" else picture[..., 0]

    def close(self, destroy=True):
        if self in simulators:
            for younger in simulators[simulators.index(self) + 1 :]:
                younger._doomed = True
            simulators.remove(self)
        self.config = self.pathfinder = None

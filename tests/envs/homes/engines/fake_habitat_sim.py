"""A stand-in for `habitat_sim` on our own engine, traps included, to test the adapter without the real one.

It behaves as 0.3.4 did on a real build; `as_0_3_3` makes it behave as 0.3.3, for as long as a `monkeypatch` lives. What
ends the process there raises `ProcessEnds` here: a query on an unloaded PathFinder or for an island it does not have,
GL from another thread or a forked process, drawing after the owner of the GL context was closed or a sensor deleted.
Everything else follows what was observed or read in the source: integers are refused where it refuses them, results are
vectors that are not arrays, configurations are compared before `reconfigure` acts and sensors without their cameras,
replaced sensors stay in memory (`live_sensors`), colour cannot be added to a simulator made without, and an object of
several parts is boxed by its largest part.
"""

import copy
import os
import threading
import types
from pathlib import Path

import numpy as np
import trimesh

from embodia.envs.drawing.rasterizer import Rasterizer
from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.files.load import load_scene
from embodia.envs.homes.files.semantics import read_descriptor
from embodia.envs.homes.navmesh import detour_file
from embodia.envs.homes.navmesh.navmesh import NavMeshSettings as OurSettings
from embodia.envs.homes.navmesh.navmesh import build_navmesh
from embodia.envs.homes.navmesh.pathfinder import PathFinder as OurFinder

__version__ = "0.3.3"  # of 0.3.4 too
STICKS = True  # 0.3.4: steps without sliding stick to walls, floor with just the body's height above it is walkable
simulators = []  # open ones, oldest first
live_sensors = []  # sensors in memory, of all simulators


def as_0_3_3(monkeypatch):
    monkeypatch.setattr(f"{__name__}.Simulator", Simulator_0_3_3)
    monkeypatch.setattr(f"{__name__}.STICKS", False)


def forget():
    """Forget what tests left open."""
    simulators.clear()
    live_sensors.clear()


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


class CameraSensorSpec:
    """Equal if name, kind and pose are, whatever the camera."""

    def __init__(self):
        self.uuid, self.sensor_type, self.sensor_subtype = "", SensorType.COLOR, SensorSubType.PINHOLE
        self.resolution, self.position, self.orientation = [128, 128], [0.0, 1.5, 0.0], [0.0, 0.0, 0.0]
        self.hfov, self.near, self.far, self.channels = 90.0, 0.01, 1000.0, 4
        self.noise_model = "None"

    def __repr__(self):
        compared = ("uuid", "sensor_type", "sensor_subtype", "position", "orientation", "noise_model")
        return f"CameraSensorSpec({[getattr(self, name) for name in compared]})"

    def __eq__(self, other):
        return repr(self) == repr(other)


class AgentConfiguration(_Plain):
    def __init__(self):
        self.height, self.radius, self.sensor_specifications, self.action_space = 1.5, 0.1, [], {}


agent = types.SimpleNamespace(AgentConfiguration=AgentConfiguration)


class Configuration(_Plain):
    def __init__(self, sim_cfg, agents, metadata_mediator=None, enable_batch_renderer=False):
        self.sim_cfg, self.agents = sim_cfg, agents


class NavMeshSettings(_Plain):
    def __init__(self):
        self.set_defaults()

    def set_defaults(self):
        for name, value in vars(OurSettings()).items():
            if name != "filter_exact_height_spans":  # follows from the version
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

    def save_nav_mesh(self, path):
        Path(path).write_bytes(_as_detour_file(self._loaded("save_nav_mesh").mesh))
        return True

    def seed(self, seed):
        self._rng = np.random.default_rng(seed)

    def _check_island(self, island, lowest=-1):
        if not lowest <= island < self._loaded("island").num_islands:
            raise ProcessEnds(f"assertion failed: {island} not a valid index for this island system.")

    def island_area(self, island):
        self._check_island(island)
        return self._ours.island_area(island)

    def get_random_navigable_point(self, max_tries=10, island_index=-1):
        self._check_island(island_index)
        return Vector3(self._loaded("random").get_random_navigable_point(self._rng, island_index))

    def get_random_navigable_point_near(self, circle_center, radius, max_tries=100, island_index=-1):
        self._check_island(island_index)
        near = self._loaded("near").get_random_navigable_point_near
        return Vector3(near(self._rng, _point(circle_center), radius, max_tries, island_index))

    def snap_point(self, point, island_index=-1):
        self._check_island(island_index)
        return Vector3(self._loaded("snap_point").snap_point(_point(point), island_index))

    def is_navigable(self, point, max_y_delta=0.5):
        return self._loaded("is_navigable").is_navigable(_point(point), max_y_delta)

    def try_step(self, start, end):
        return Vector3(self._loaded("try_step").try_step(_point(start), _point(end)))

    def try_step_no_sliding(self, start, end):
        ours = self._loaded("try_step_no_sliding")
        step = _sticking_step if STICKS else OurFinder.try_step_no_sliding
        return Vector3(step(ours, _point(start), _point(end)))

    def get_topdown_view(self, meters_per_pixel, height, eps=0.5):
        return self._loaded("get_topdown_view").get_topdown_view(meters_per_pixel, height, eps)

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


class _Sensor:
    """A sensor in memory, with its buffer."""

    def __init__(self, simulator, spec):
        self.simulator, self.spec, self.image = simulator, copy.copy(spec), None
        live_sensors.append(self)


class SensorFactory:
    @staticmethod
    def delete_subtree_sensor(node, uuid):
        deleted = node.subtree_sensors.pop(uuid, None)
        if deleted is not None:
            live_sensors.remove(deleted)


sensor = types.SimpleNamespace(SensorFactory=SensorFactory)


class _Agent:
    def __init__(self, simulator, specs):
        self.matrix = np.eye(4)
        sensors = {spec.uuid: _Sensor(simulator, spec) for spec in specs}
        self.scene_node = types.SimpleNamespace(subtree_sensors=sensors)

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
    def __init__(self, scene, path):
        unknown = types.SimpleNamespace(id="Unknown_0", semantic_id=0, category=None, obb=None, region=None)
        boxes = _largest_parts(path)
        self.objects = [unknown, None, *(_semantic_object(each, boxes[each.semantic_id]) for each in scene.objects)]


def _semantic_object(thing, box):
    low, high = box
    return types.SimpleNamespace(
        id=thing.name,
        semantic_id=thing.semantic_id,
        category=types.SimpleNamespace(name=lambda: thing.category),
        region=types.SimpleNamespace(id=f"_{thing.room}"),
        obb=types.SimpleNamespace(center=Vector3((low + high) / 2), half_extents=Vector3((high - low) / 2)),
        aabb=None,
    )


def _largest_parts(path):
    """{id: (low, high)}: the box of each object's largest part, parts being joined by shared vertices only."""
    colours, _ = read_descriptor(path.with_name(path.stem + "_semantic.txt"))
    mesh = trimesh.load(path.with_name(path.stem + "_semantic.ply"), process=False)
    red, green, blue = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(int).T
    label = np.array([colours.get(int(key), 0) for key in red << 16 | green << 8 | blue])
    edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[label[edges[:, 0]] == label[edges[:, 1]]]
    part = trimesh.graph.connected_component_labels(edges, node_count=len(mesh.vertices))
    x, y, z = np.asarray(mesh.vertices).T
    points = np.stack([x, z, -y], axis=1)  # every .ply is read as z-up
    boxes = {}
    for number in np.unique(part):
        own = points[part == number]
        box, key = (own.min(axis=0), own.max(axis=0)), int(label[part == number][0])
        if key not in boxes or np.prod(box[1] - box[0]) > np.prod(boxes[key][1] - boxes[key][0]):
            boxes[key] = box
    return boxes


class _Wrapper:
    """habitat-sim's Python wrapper around a sensor."""

    def __init__(self, sensor):
        self._sensor = sensor

    def draw_observation(self):
        if self._sensor not in live_sensors:
            raise ProcessEnds("drawing a sensor that was deleted")
        self._sensor.image = self._sensor.simulator._draw(self._sensor.spec)

    def get_observation(self):
        return self._sensor.image


class Simulator_0_3_3:
    def __init__(self, config):
        self._thread, self._process, self._doomed = threading.get_ident(), os.getpid(), False
        if any(other._process != self._process for other in simulators):
            raise ProcessEnds("a GL context does not survive a fork")
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
            try:
                self._scene = load_scene(path)
            except SceneError as error:
                raise AssertionError("ESP_CHECK failed: loadStageInternal failed") from error
        self.config = copy.deepcopy(config)
        self.pathfinder = PathFinder()
        self._agent = _Agent(self, self.config.agents[0].sensor_specifications)
        self._sensors = {uuid: _Wrapper(each) for uuid, each in self._agent.scene_node.subtree_sensors.items()}
        self.semantic_scene = _Semantics(self._scene, path) if self._scene.objects else None

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
        named = {name: value for name, value in vars(settings).items() if name != "include_static_objects"}
        ours = OurSettings(**named, filter_exact_height_spans=not STICKS)
        pathfinder._ours = OurFinder(build_navmesh(self._scene.vertices, self._scene.faces, ours))
        pathfinder.nav_mesh_settings = settings
        return True

    def seed(self, seed):
        self.pathfinder.seed(seed)

    def get_agent(self, agent_id):
        return self._agent

    def get_sensor_observations(self, agent_ids=0):
        for each in self._sensors.values():
            each.draw_observation()
        return {uuid: each.get_observation() for uuid, each in self._sensors.items()}

    def _draw(self, spec):
        self._alive()
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
            if self is simulators[0]:  # it owns the GL context
                for younger in simulators[1:]:
                    younger._doomed = True
            simulators.remove(self)
            live_sensors[:] = [each for each in live_sensors if each.simulator is not self]
        self.config = self.pathfinder = None


class Simulator(Simulator_0_3_3):
    def create_sensor(self, spec, scene_node):
        raise NotImplementedError("only its name is asked for")

    @property
    def sensors(self):
        return self._sensors


def _sticking_step(finder, start, end):
    """0.3.4: the end of a sliding step, or the first wall on the straight line if there is one, the start's too."""
    slid, origin = finder.try_step(start, end), finder.snap_point(start)
    floor, best = finder.mesh.floor, None
    for share in np.linspace(0, 1, 9):
        p, _ = finder._project((1 - share) * origin + share * slid)
        for k in np.flatnonzero(floor.neighbours[p, : floor.sides[p]] == -1) if p != -1 else ():
            hit = _crossing(floor.rings[p, k], floor.rings[p, k + 1], origin, end)
            if hit is not None and (best is None or np.linalg.norm(end - hit) < np.linalg.norm(end - best)):
                best = hit
    return slid if best is None else np.float32([best[0], slid[1], best[2]])


def _crossing(a, b, start, end):
    wall, way = (b - a)[[0, 2]], (end - start)[[0, 2]]
    area = wall[0] * way[1] - wall[1] * way[0]
    if abs(area) < 1e-9:
        return None
    off = (a - start)[[0, 2]]
    s, t = (way[0] * off[1] - way[1] * off[0]) / area, (wall[0] * off[1] - wall[1] * off[0]) / area
    return a + s * (b - a) if -1e-6 <= s <= 1 + 1e-6 and -1e-6 <= t <= 1 + 1e-6 else None


def _as_detour_file(mesh):
    """One tile as Detour lays it out."""
    floor, count = mesh.floor, len(mesh.polygons)
    triangles = [np.arange(first, last) for first, last in zip(floor.first_triangle, floor.first_triangle[1:])]
    points, details, corners = [], [], []
    for p, own in enumerate(triangles):
        base, sides = len(points), int(floor.sides[p])
        known = [tuple(corner) for corner in mesh.vertices[mesh.polygons[p, :sides]]]
        for t in own:
            for corner in map(tuple, floor.triangles[t]):
                if corner not in known:
                    known.append(corner)
                    points.append(corner)
            flags = sum(int(floor.edges[t, k] == 0) << 2 * k for k in range(3))
            corners.append([*(known.index(tuple(corner)) for corner in floor.triangles[t]), flags])
        details.append((base, own[0], len(points) - base, len(own), 0))
    polygons = np.zeros(count, detour_file.POLYGON)
    polygons["corners"], polygons["sides"] = np.maximum(mesh.polygons, 0), floor.sides
    polygons["neighbours"] = np.where(mesh.polygons >= 0, floor.neighbours + 1, 0)
    nodes = np.zeros(2 * count, detour_file.NODE)
    nodes["low"], nodes["high"], nodes["polygon"] = floor.tree[:, :3], floor.tree[:, 3:6], floor.tree[:, 6]
    header = np.zeros(1, detour_file.TILE_HEADER)
    header["magic"], header["version"] = detour_file.TILE_MAGIC, detour_file.TILE_VERSION
    header["polygons"], header["vertices"], header["details"] = count, len(mesh.vertices), count
    header["points"], header["triangles"], header["nodes"] = len(points), len(corners), 2 * count
    header["climb"], header["cells_per_metre"] = floor.climb, floor.cells_per_metre
    header["low"], header["high"] = floor.tile
    top = np.zeros(1, detour_file.FILE_HEADER)
    top["magic"], top["version"], top["tiles"] = detour_file.FILE_MAGIC, detour_file.FILE_VERSION, 1
    parts = [header, mesh.vertices, polygons, np.array(details, detour_file.DETAIL)]
    parts += [np.array(points, np.float32), np.array(corners, np.uint8), nodes]
    body = b"".join(part.tobytes() for part in parts)
    tile = np.array([(1, len(body))], detour_file.TILE)
    return top.tobytes() + bytes(detour_file.SETTINGS_BYTES) + tile.tobytes() + body

"""The open simulators of habitat-sim: one for each scene, with its cameras, and the order in which they are closed.

The first simulator of a process owns the OpenGL context of all. Closing it before the others, using any of them from
another thread, or opening one in a process forked from one with an open simulator ends the process. So the first one
waits until the others are closed, and the rest is refused.

`reconfigure` does nothing if the new configuration is equal to the old one, and habitat-sim compares neither resolution
nor angle of view nor range of cameras: these are in the name of each sensor. `reconfigure` also keeps the sensors that
it replaces in memory, so they are deleted first. A sensor of one pixel keeps colour available, which cannot be added.
"""

import os
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodia.envs.drawing.scene import SceneError
from embodia.envs.homes.engines.habitat_sim_pathfinder import floats
from embodia.envs.homes.tasks.navigation import Camera, Task

Array = NDArray[Any]

MOST_SENSORS = 7  # that a simulator keeps: those of two cameras, and COLOUR


@dataclass(frozen=True)
class CameraSensor:
    """A sensor: what it senses, its pixels, its angle of view [deg] and its range [m]."""

    name: str
    height: int
    width: int
    hfov: float
    near: float
    far: float

    @property
    def uuid(self) -> str:
        return f"{self.name} {self.height}x{self.width} hfov {self.hfov} from {self.near} to {self.far}"


COLOUR = CameraSensor("rgb", 1, 1, 90.0, 0.01, 1000.0)


class HabitatSimError(RuntimeError):
    """habitat-sim is used where it would end the process."""


@dataclass(eq=False)
class _Open:
    """An open simulator, where it was opened, and whether it is still wanted."""

    simulator: Any
    process: int
    thread: int
    wanted: bool = True


_opened: list[_Open] = []  # of this process, the oldest first


def check_process() -> None:
    """Raise HabitatSimError in a process that was forked while a simulator was open."""
    if any(each.process != os.getpid() for each in _opened):
        raise HabitatSimError(
            "this process was forked while habitat-sim was open, and its OpenGL context does not survive that: start "
            'workers with start method "spawn" or "forkserver", or close the environment before the fork.'
        )


def owns_context(simulator: "SceneSimulator") -> bool:
    """Whether the other simulators draw with this one's OpenGL context."""
    return bool(_opened) and _opened[0] is simulator.opened


def _close_unwanted() -> None:
    here = os.getpid(), threading.get_ident()
    for each in reversed(_opened.copy()):
        last = len(_opened) == 1
        if not each.wanted and (each is not _opened[0] or last) and (each.process, each.thread) == here:
            _opened.remove(each)
            each.simulator.close()


@dataclass(frozen=True)
class Settings:
    """What all simulators of an engine have in common."""

    task: Task
    scene_dataset: str
    gpu_device_id: int
    seed: int


class SceneSimulator:
    """One habitat_sim.Simulator with one scene. Raises SceneError if habitat-sim cannot load it."""

    def __init__(self, habitat_sim: Any, scene: str, settings: Settings) -> None:
        check_process()
        _close_unwanted()
        self._habitat_sim, self._scene, self._settings = habitat_sim, scene, settings
        self._present = [COLOUR]  # the last used one last
        try:
            simulator = habitat_sim.Simulator(self._configuration())
        except (AssertionError, RuntimeError, ValueError) as error:
            raise SceneError(f"{scene}: habitat-sim cannot load this scene ({error}).") from error
        simulator.seed(settings.seed)
        self.opened = _Open(simulator, os.getpid(), threading.get_ident())
        _opened.append(self.opened)

    @property
    def simulator(self) -> Any:
        return self.opened.simulator

    def close(self) -> None:
        """Close the simulator; if others draw with its OpenGL context, as soon as those are closed."""
        self.opened.wanted = False
        _close_unwanted()

    def draw(self, camera: Camera, names: Sequence[str], position: Array, rotation: Array) -> dict[str, Array]:
        """Draw some sensors through a camera at a position (3,) with a rotation (4,) xyzw."""
        lens = camera.height, camera.width, camera.hfov, camera.near, camera.far
        wanted = [CameraSensor(name, *lens) for name in names]
        self._require(wanted)
        self._place(position, rotation)
        simulator = self.simulator
        present = simulator.sensors if hasattr(simulator, "sensors") else simulator._sensors  # up to 0.3.3
        for sensor in wanted:
            present[sensor.uuid].draw_observation()
        return {sensor.name: np.asarray(present[sensor.uuid].get_observation()) for sensor in wanted}

    def _require(self, wanted: Sequence[CameraSensor]) -> None:
        """Make sure that the simulator has these sensors. Those unused for longest make room."""
        known = set(self._present)
        others = [sensor for sensor in self._present if sensor not in wanted and sensor != COLOUR]
        self._present = [COLOUR, *others, *(sensor for sensor in wanted if sensor != COLOUR)]
        if known.issuperset(wanted):
            return
        self._delete(known)
        too_many = min(max(len(self._present) - MOST_SENSORS, 0), len(others))
        del self._present[1 : 1 + too_many]
        self.simulator.reconfigure(self._configuration())

    def _delete(self, sensors: Collection[CameraSensor]) -> None:
        node = self.simulator.get_agent(0).scene_node
        for sensor in sensors:
            self._habitat_sim.sensor.SensorFactory.delete_subtree_sensor(node, sensor.uuid)

    def _place(self, position: Array, rotation: Array) -> None:
        state = self._habitat_sim.AgentState()
        state.position = floats(position)
        unit = np.asarray(rotation, np.float64) / np.linalg.norm(rotation)
        state.rotation = [float(value) for value in unit]  # a list is read as x, y, z, w
        state.sensor_states = {}
        self.simulator.get_agent(0).set_state(state, reset_sensors=True)

    def _configuration(self) -> Any:
        """Always a new one: a changed one of the simulator's own would be ignored."""
        sim, settings = self._habitat_sim, self._settings
        backend = sim.SimulatorConfiguration()
        backend.scene_id = self._scene
        backend.scene_dataset_config_file = settings.scene_dataset
        backend.gpu_device_id = settings.gpu_device_id
        backend.random_seed = settings.seed
        backend.allow_sliding = settings.task.sliding
        backend.enable_physics = False
        backend.load_semantic_mesh = True
        agent = sim.agent.AgentConfiguration()
        agent.height, agent.radius = settings.task.agent_height, settings.task.agent_radius
        agent.sensor_specifications = [self._specification(sensor) for sensor in self._present]
        return sim.Configuration(backend, [agent])

    def _specification(self, sensor: CameraSensor) -> Any:
        """At the body's origin: the body itself is put where the lens is."""
        sim = self._habitat_sim
        kinds = {"rgb": sim.SensorType.COLOR, "depth": sim.SensorType.DEPTH, "semantic": sim.SensorType.SEMANTIC}
        spec = sim.CameraSensorSpec()
        spec.uuid, spec.sensor_type = sensor.uuid, kinds[sensor.name]
        spec.sensor_subtype = sim.SensorSubType.PINHOLE
        spec.resolution = [sensor.height, sensor.width]
        spec.position, spec.orientation = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        spec.hfov, spec.near, spec.far = sensor.hfov, sensor.near, sensor.far
        return spec

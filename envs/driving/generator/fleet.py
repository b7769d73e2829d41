"""Generated traffic: vehicle bodies, traffic demand, and all drivers as arrays."""

from dataclasses import dataclass, field

import numpy as np

from embodia.envs.driving.generator.driver import speed_envelope
from embodia.envs.driving.generator.driver_paths import PATH_LENGTH, DriverPath
from embodia.envs.driving.types import Floats, TrackedObjectType
from embodia.envs.driving.vehicle.bicycle import PACIFICA

BODIES = {  # length, width [m], share of the traffic
    "minivan": (PACIFICA.length, PACIFICA.width, 0.42),
    "car": (4.6, 1.9, 0.30),
    "suv": (4.95, 2.05, 0.16),
    "truck": (8.6, 2.45, 0.08),
    "bus": (10.6, 2.5, 0.04),
}
LONG = 8.0  # [m]
REAR_AXLE_SHARE = PACIFICA.rear_axle_to_center / PACIFICA.length  # of the length, rear axle to centre
CYCLIST = (1.8, 0.6)  # [m]


@dataclass(frozen=True)
class Demand:
    """Amount of traffic in a world."""

    gap: tuple[float, float] = (15.0, 90.0)  # [m] between drivers at the start
    inflow: float = 0.08  # drivers per second and lane at the rim
    pedestrians: float = 0.02  # per second and crossing
    cyclists: float = 0.5  # chance of one per lane with room beside it
    long_vehicles: float = 1.0  # times the usual share of trucks and buses
    haste: tuple[float, float] = (0.85, 1.0)  # desired speed over the limit
    headway: tuple[float, float] = (0.9, 1.6)  # [s]
    straight: float = 0.3  # chance that a driver prefers to go straight on at a junction
    wander: float = 0.012  # chance per thought of a lane change for its own sake


@dataclass
class Fleet:
    """Drivers as arrays; row i is always driver i, `active` says whether it is present."""

    paths: list[DriverPath] = field(default_factory=list)
    poses: Floats = field(default_factory=lambda: np.zeros((0, PATH_LENGTH, 3)))
    envelopes: Floats = field(default_factory=lambda: np.zeros((0, PATH_LENGTH)))
    values: dict[str, Floats] = field(default_factory=dict)  # (n,) or (n, 3) each
    body: list[str] = field(default_factory=list)

    def add(self, path: DriverPath, body: str, **values: float | Floats) -> None:
        grow = len(self.paths) == len(self.poses)
        if grow:
            more = max(32, len(self.poses))
            self.poses = np.concatenate([self.poses, np.zeros((more, PATH_LENGTH, 3))])
            self.envelopes = np.concatenate([self.envelopes, np.zeros((more, PATH_LENGTH))])
        self.paths.append(path)
        self.body.append(body)
        for name, value in values.items():
            row = np.asarray(value, np.float64)[None]
            self.values[name] = np.concatenate([self.values[name], row]) if name in self.values else row
        self.take(len(self.paths) - 1, path)

    def take(self, driver: int, path: DriverPath) -> None:
        """Put a driver on a path."""
        self.paths[driver] = path
        self.poses[driver] = path.poses
        limits = path.limits * self.values["haste"][driver]
        lateral, brake = self.values["lateral"][driver], self.values["brake"][driver] * 0.7
        self.envelopes[driver] = speed_envelope(limits, path.curvature, lateral, brake)


def body_type(body: str) -> TrackedObjectType:
    return TrackedObjectType.BICYCLE if body == "bicycle" else TrackedObjectType.VEHICLE

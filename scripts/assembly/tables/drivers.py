"""Driving planners: `--env.options.expert NAME`."""

from collections.abc import Callable

from embodia.planners import DrivingPlanner
from embodia.planners.driving.constant_velocity import ConstantVelocity
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.log_future import LogFuture
from embodia.planners.driving.logged_driver import LoggedDriver
from embodia.planners.driving.pdm_closed import PdmClosed

DRIVERS: dict[str, Callable[..., DrivingPlanner]] = {
    "log": LoggedDriver,
    "log-future": LogFuture,
    "constant-velocity": ConstantVelocity,
    "idm": IdmPlanner,
    "pdm-closed": PdmClosed,
}

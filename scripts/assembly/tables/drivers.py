"""Driving planners: `--env.options.expert NAME`."""

from collections.abc import Callable

from embodia.planners import DrivingPlanner
from embodia.planners.driving.constant_velocity import ConstantVelocity
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.learned.dsdnet import DSDNet
from embodia.planners.driving.learned.joint_planner import JointPlanner
from embodia.planners.driving.learned.mp3 import MP3Planner
from embodia.planners.driving.learned.neural_motion_planner import NeuralMotionPlanner
from embodia.planners.driving.learned.trajectory_regression import TrajectoryRegression
from embodia.planners.driving.log_future import LogFuture
from embodia.planners.driving.logged_driver import LoggedDriver
from embodia.planners.driving.pdm_closed import PdmClosed

DRIVERS: dict[str, Callable[..., DrivingPlanner]] = {
    "log": LoggedDriver,
    "log-future": LogFuture,
    "constant-velocity": ConstantVelocity,
    "idm": IdmPlanner,
    "pdm-closed": PdmClosed,
    "neural-motion-planner": NeuralMotionPlanner,
    "trajectory-regression": TrajectoryRegression,
    "sadat": JointPlanner,
    "dsdnet": DSDNet,
    "mp3": MP3Planner,
}

"""Who may be the expert on roads: a planner made for a scenario and handed to the environment; None is the log."""

from collections.abc import Callable
from typing import Any

from embodia.planners.driving.constant_velocity import ConstantVelocity
from embodia.planners.driving.idm import IdmPlanner
from embodia.planners.driving.pdm_closed import PdmClosed


def constant_velocity(scenario: Any) -> ConstantVelocity:
    return ConstantVelocity()


def idm(scenario: Any) -> IdmPlanner:
    return IdmPlanner()


def pdm_closed(scenario: Any) -> PdmClosed:
    return PdmClosed()


DRIVERS: dict[str, Callable[[Any], Any] | None] = {
    "log": None,
    "constant-velocity": constant_velocity,
    "idm": idm,
    "pdm-closed": pdm_closed,
}
"""By the name that `RoadOptions.expert` takes."""

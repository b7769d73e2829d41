"""Planners in a world model: `--agent.planner NAME`."""

from collections.abc import Callable

from embodia.planners import Planner
from embodia.planners.control.ilqr import ILQR
from embodia.planners.search.cem import CEM
from embodia.planners.search.gradient import GradientPlanner
from embodia.planners.search.icem import ICEM
from embodia.planners.search.mcts import MCTS
from embodia.planners.search.mppi import MPPI

PLANNERS: dict[str, Callable[..., Planner]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "gradient": GradientPlanner,
    "ilqr": ILQR,
    "mcts": MCTS,
}

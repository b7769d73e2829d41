"""Planning objectives: `--agent.objective NAME`."""

from collections.abc import Callable
from functools import partial

from embodia.planners import Objective
from embodia.planners.search.objective import ObservedGoal, Return, diagonal

OBJECTIVES: dict[str, Callable[..., Objective | ObservedGoal]] = {
    "return": partial(Return, discount=0.99),
    "goal": ObservedGoal,
    "quadratic": diagonal,
}

"""A planner that tries some plans and takes the best."""

import torch

from embodia.planners.models.imagination import imagine_plan
from embodia.planners.models.state import repeat


class Shooting:
    """Random shooting among discrete actions.

    Args:
        actions: how many there are.
        horizon: steps of a plan.
        samples: plans that are tried.
    """

    def __init__(self, actions, horizon: int = 3, samples: int = 32):
        self.actions, self.horizon, self.samples = actions, horizon, samples

    def plan(self, model, state, objective, carry):
        worlds = len(state["x"])
        plans = torch.randint(self.actions, (worlds * self.samples, self.horizon))
        score = objective(imagine_plan(model, repeat(state, self.samples), plans), plans)
        best = score.view(worlds, self.samples).argmax(1)
        return plans.view(worlds, self.samples, self.horizon)[torch.arange(worlds), best], {"calls": best}


class Aimless:
    """Plans nothing."""

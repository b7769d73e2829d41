"""Joint behaviour and trajectory planning with one interpretable cost.

Sadat, Ren, Pokrovsky, Lin, Yumer, Urtasun 2019, "Jointly learnable behavior and trajectory planning for self-driving
vehicles" (IROS). One weighted sum of terms scores behaviours (keep, change left, change right), each through its
cheapest sampled trajectory, and the trajectory itself, which gradient descent on the same cost then refines.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.judged import Judged
from embodia.planners.driving.learned.linear_cost import LinearCostPlanner
from embodia.planners.driving.learned.plan_features import FEATURES, features, ground
from embodia.planners.driving.learned.refinement import refined
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import SamplerConfig, Samples, sample

GRADIENT_ONLY = SamplerConfig(offsets=(0.0,), accelerations=(0.0,), short_accelerations=(), curvatures=())


@dataclass(frozen=True)
class JointPlannerConfig:
    """Search and learning."""

    search: Literal["both", "samples", "gradient"] = "both"
    """samples: the cheapest sample; gradient: descent from driving on at constant speed; both: descent from the
    cheapest sample."""
    iterations: int = 5
    """Iterations of gradient descent."""
    collision: float = 30.0
    """What a collision adds to the margin, in metres."""
    imitation: float = 1.0
    """Weight of the imitation loss beside the max-margin loss."""


class JointPlanner(LinearCostPlanner):
    """The joint planner.

    Args:
        config: hyperparameters.
    """

    def __init__(self, config: JointPlannerConfig | None = None):
        self.config = config or JointPlannerConfig()
        super().__init__(FEATURES, self.config.collision, self.config.imitation)

    def candidates(self, view: RoadView, line: Centreline) -> Samples:
        return sample(view, line, GRADIENT_ONLY if self.config.search == "gradient" else self.sampler)

    def terms(self, view: RoadView, line: Centreline, samples: Samples) -> Tensor:
        return features(view, ground(view, line), samples)

    def chosen(self, view: RoadView, line: Centreline, judged: Judged) -> Samples:
        start = super().chosen(view, line, judged)
        if self.config.search == "samples":
            return start
        around = ground(view, line)
        weights = self.weights.detach()
        return refined(view, line, start, lambda tried: features(view, around, tried) @ weights, self.config.iterations)

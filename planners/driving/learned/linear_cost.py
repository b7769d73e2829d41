"""A cost that is a weighted sum of interpretable terms, with positive weights learned from drives."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.judged import Judged
from embodia.planners.driving.learned.learned_planner import Demonstration, LearnedPlanner, agreement, mean_over
from embodia.planners.driving.learned.max_margin import margin_over_time, max_margin
from embodia.planners.driving.learned.plan_features import hits
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.trajectory_sampler import LANE_WIDTH, SamplerConfig, Samples

FIRST_WEIGHT = 10.0
PRIOR = 1.0  # of the Gaussian prior on the weights' logarithms, around that of the first weight


class LinearCostPlanner(LearnedPlanner):
    """A planner whose cost is a weighted sum of terms; subclasses define `terms`.

    Args:
        names: names of the F terms.
        collision: what a collision adds to the margin [m].
        imitation: weight of the expected distance from the recorded driver beside the max-margin loss.
        first_weights: weights before learning, around which they have a Gaussian prior; by default all 10.
        sampler: which trajectories are sampled.
    """

    def __init__(
        self,
        names: Sequence[str],
        collision: float,
        imitation: float,
        first_weights: Sequence[float] | None = None,
        sampler: SamplerConfig | None = None,
    ):
        super().__init__(sampler)
        self.names, self.collision, self.imitation = tuple(names), collision, imitation
        first = torch.full((len(self.names),), FIRST_WEIGHT) if first_weights is None else torch.tensor(first_weights)
        self.first_weights: Tensor
        self.register_buffer("first_weights", first, persistent=False)
        self.log_weights = nn.Parameter(first.log())

    @property
    def weights(self) -> Tensor:
        """(F,) positive."""
        return self.log_weights.exp()

    def terms(self, view: RoadView, line: Centreline, samples: Samples) -> Tensor:
        """Terms (N, S, F) of trajectories, at least 0."""
        raise NotImplementedError

    def judge(self, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        weighted = self.terms(view, line, samples) * self.weights
        return Judged(samples, weighted.sum(-1), dict(zip(self.names, weighted.unbind(-1))))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Max-margin over the samples, plus the expected distance from the driver if samples are drawn by their cost.

        The driver's trajectory is the sample nearest to it: as drivable as the others.
        """
        shown = self.demonstration(batch)
        cost = self.judge(shown.view, shown.line, shown.samples).cost
        return self.margin_loss(shown, cost)

    def margin_loss(self, shown: Demonstration, cost: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of costs (N, S)."""
        rows = torch.arange(len(cost), device=cost.device)
        hit = hits(shown.view, shown.samples.poses)
        wrong = margin_over_time(shown.distance, hit, self.collision).mean(-1) + shown.aside.clamp_max(LANE_WIDTH)
        wrong = wrong - wrong[rows, shown.nearest][:, None]
        margin = mean_over(max_margin(cost[rows, shown.nearest], cost, wrong), shown.on_line)
        expected = mean_over((torch.softmax(-cost, -1) * wrong).sum(-1), shown.on_line)
        numbers = {"margin": margin.detach(), "expected_distance": expected.detach()}
        prior = PRIOR * (self.log_weights - self.first_weights.log()).square().mean()
        return margin + self.imitation * expected + prior, {**numbers, **agreement(shown, cost.argmin(-1))}

"""DSDNet: a deep structured energy over the other vehicles' futures, and a planner that reads its marginals.

Zeng, Wang, Liao, Chen, Yang, Urtasun 2020, "DSDNet: Deep structured self-driving network" (ECCV). Every actor has K
sampled futures. A network gives each an energy, and two futures that collide cost more (equation 3). Sum-product gives
marginals (section 3.2); the ego's cost adds the probability of a collision under them (section 3.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from embodia.planners.driving.learned.actors import Actors, actors_of, collide, labels, reached
from embodia.planners.driving.learned.centreline import Centreline
from embodia.planners.driving.learned.judged import Judged
from embodia.planners.driving.learned.linear_cost import LinearCostPlanner
from embodia.planners.driving.learned.object_costs import Objects
from embodia.planners.driving.learned.plan_features import (
    FADING,
    FEATURES,
    JUDGED,
    LANE_BEHIND,
    LANE_GRID_STEP,
    Ground,
    features,
    ground,
    read,
)
from embodia.planners.driving.learned.road_view import RoadView
from embodia.planners.driving.learned.sum_product import sum_product
from embodia.planners.driving.learned.trajectory_sampler import Samples

TRAITS = 11  # numbers that describe a future
SEEN_AT = (1, 4, 9)  # indices of the times at which the lanes are read


@dataclass(frozen=True)
class DSDNetConfig:
    """Energies and learning."""

    hidden: int = 32
    """Width of the network of a future's energy."""
    joint: bool = True
    """Whether futures that collide cost more; otherwise every actor is forecast on its own."""
    rounds: int = 5
    """Rounds of sum-product."""
    damping: float = 0.5
    """Weight of the old messages in the new ones."""
    collision: float = 30.0
    """What a collision adds to the margin, in metres."""
    imitation: float = 1.0
    """Weight of the imitation loss beside the max-margin loss."""
    forecast: float = 1.0
    """Weight of the forecasts' cross-entropy."""


class DSDNet(LinearCostPlanner):
    """The planner.

    Args:
        config: hyperparameters.
    """

    def __init__(self, config: DSDNetConfig | None = None):
        self.config = config or DSDNetConfig()
        super().__init__((*FEATURES, "expected collision"), self.config.collision, self.config.imitation)
        width = self.config.hidden
        self.energy = nn.Sequential(
            nn.Linear(TRAITS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        self.log_collision = nn.Parameter(torch.zeros(()))

    def energies(self, around: Ground, actors: Actors) -> tuple[Tensor, Tensor]:
        """Energies (N, M, K) of the actors' futures, and (N, M, M, K, K) of their pairs."""
        unary = self.energy(traits(around, actors))[..., 0]
        return unary, collide(actors) * self.log_collision.exp()

    def log_marginals(self, around: Ground, actors: Actors) -> Tensor:
        """(N, M, K)"""
        unary, pairwise = self.energies(around, actors)
        if not self.config.joint:
            return torch.log_softmax(-unary, -1)
        return sum_product(unary, pairwise, self.config.rounds, self.config.damping)

    def terms_among(
        self, view: RoadView, around: Ground, samples: Samples, actors: Actors, marginals: Tensor
    ) -> Tensor:
        """Terms (N, S, 16). Collisions with actors count by the marginals, all else at constant velocity."""
        here = torch.arange(len(view), device=actors.rows.device)[:, None]
        alone = view.there.clone()
        alone[here, actors.rows] &= ~actors.there
        objects = Objects(around.objects.boxes, alone, around.objects.behind)
        plain = features(view, around, samples)
        apart = features(view, Ground(around.line, objects, around.lane_distance), samples)[..., :2]  # collisions
        weights = FADING ** torch.arange(JUDGED, device=plain.device)
        touched = reached(actors, samples.poses[:, :, 1 : JUDGED + 1], weights)  # (N, S, M, K)
        front = ~around.objects.behind[here, actors.rows] & actors.there  # who is behind keeps its distance
        expected = torch.einsum("nsmk,nmk->ns", touched, marginals * front[..., None])
        return torch.cat([apart, plain[..., 2:], expected[..., None]], -1)

    def judge(self, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        around, actors = ground(view, line), actors_of(view)
        marginals = self.log_marginals(around, actors).exp()
        weighted = self.terms_among(view, around, samples, actors, marginals) * self.weights
        terms = dict(zip(self.names, weighted.unbind(-1)))
        return Judged(samples, weighted.sum(-1), terms, futures=(actors.boxes, marginals * actors.there[..., None]))

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The planner's loss, with the marginals as they are, plus the cross-entropy of the recorded futures."""
        shown = self.demonstration(batch)
        around, actors = ground(shown.view, shown.line), actors_of(shown.view)
        marginals = self.log_marginals(around, actors)
        label, known = labels(shown.view, actors)
        crossed = -marginals.gather(-1, label[..., None])[..., 0]
        forecast = (crossed * known).sum() / known.sum().clamp_min(1)
        terms = self.terms_among(shown.view, around, shown.samples, actors, marginals.detach().exp())
        planned, numbers = self.margin_loss(shown, (terms * self.weights).sum(-1))
        return planned + self.config.forecast * forecast, {**numbers, "forecast": forecast.detach()}


def traits(around: Ground, actors: Actors) -> Tensor:
    """What a future's energy is a function of: (N, M, K, 11), numbers near 1."""
    n, m, k = actors.boxes.shape[:3]
    places = actors.boxes[..., SEEN_AT, :2].reshape(n, -1, 2)
    lanes = read(around.lane_distance, places, LANE_GRID_STEP, LANE_BEHIND)[:, 0].view(n, m, k, len(SEEN_AT))
    speed = actors.speed[..., None].expand(n, m, k)
    rate, bend = actors.rate.expand(n, m, k), actors.curvature.expand(n, m, k)
    stands = (speed < 0.3).float()
    columns = [
        rate / 2,
        rate.abs() / 2,
        bend.abs() * 10,
        (speed.square() * bend).abs() / 4,
        speed / 10,
        stands,
        stands * (rate > 0),
        (speed + 5 * rate).clamp(0, 30) / 10,
        *(lanes.clamp_max(6) / 2).unbind(-1),
    ]
    return torch.stack(columns, -1)

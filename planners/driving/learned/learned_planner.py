"""What all learned-cost planners share: see the road, sample trajectories, score them, drive the cheapest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from embodia.envs.driving.map.road_map import Map
from embodia.envs.driving.types import Insight, Scene, Trajectory, TrajectorySampling
from embodia.planners import Carry
from embodia.planners.driving.learned.centreline import Centreline, centreline
from embodia.planners.driving.learned.insight import insight_of
from embodia.planners.driving.learned.judged import Judged, in_map
from embodia.planners.driving.learned.plan_features import JUDGED
from embodia.planners.driving.learned.road_view import (
    Road,
    RoadView,
    from_pose,
    seen_from,
    view_of_rows,
    view_of_scenes,
)
from embodia.planners.driving.learned.trajectory_sampler import (
    INTERVAL,
    LANE_WIDTH,
    STEPS,
    SamplerConfig,
    Samples,
    behaviour_of,
    recorded,
    sample,
)


@dataclass(frozen=True)
class Demonstration:
    """Recorded drives of N egos, ready to learn from."""

    view: RoadView
    line: Centreline
    samples: Samples  # S trajectories of each ego
    expert: Samples  # one for each ego: the recorded driver's
    nearest: Tensor  # (N,) index of the sample nearest to it, over 5 s and in where it ends beside the line
    distance: Tensor  # (N, S, 10) [m] from the recorded driver every 0.5 s
    aside: Tensor  # (N, S) [m] between the offsets from the line after 8 s
    on_line: Tensor  # (N,) 1 where the recorded driver stays within half a lane of the route's line, else 0


class LearnedPlanner(nn.Module):
    """A driving planner that scores sampled trajectories with a learned cost.

    Subclasses define `judge(view, line, samples)` and `loss(batch)`, and may refine the cheapest trajectory.
    """

    def __init__(self, sampler: SamplerConfig | None = None):
        super().__init__()
        self.sampler, self.shake = sampler or SamplerConfig(), Shake()
        self.sampling = TrajectorySampling(STEPS, INTERVAL)

    # The contract of driving planners -----------------------------------------------------------------------------

    def initial(self, route_roadblock_ids: list[str], goal: Any, map_api: Map) -> Carry:
        """Raises ValueError for a route without a roadblock of the map."""
        if all(map_api.block(name) is None for name in route_roadblock_ids):
            raise ValueError(f"none of the route's roadblocks is on map {map_api.name}: {route_roadblock_ids}")
        return {"map": map_api, "route": tuple(route_roadblock_ids)}

    def plan(self, scene: Scene, carry: Carry) -> tuple[Trajectory, Carry]:
        """Return 16 poses every 0.5 s: the cheapest sample, refined if the planner does that."""
        return self.plans([scene], [carry])[0]

    @torch.no_grad()
    def plans(self, scenes: Sequence[Scene], carries: Sequence[Carry]) -> list[tuple[Trajectory, Carry]]:
        """Plan in many scenes at once; each gets what `plan` gives it alone, up to rounding."""
        begun = [carry if "road" in carry else begin(scene, carry) for scene, carry in zip(scenes, carries)]
        view = view_of_scenes(scenes, [carry["road"] for carry in begun])
        line = centreline(view)
        judged = self.judge(view, line, self.candidates(view, line))
        poses = self.chosen(view, line, judged).poses[:, 0].double().numpy()
        found = []
        for row, (scene, carry) in enumerate(zip(scenes, begun)):
            times = self.sampling.times_us(scene.time_us)
            plan = Trajectory.from_poses(times, in_map(poses[row], scene))
            found.append((plan, carry | {"judged": judged, "row": row, "scene": scene}))
        return found

    def insight(self, carry: Carry) -> Insight | None:
        """What the planner saw in its last plan."""
        return insight_of(carry["judged"], carry["row"], carry["scene"]) if "judged" in carry else None

    # What subclasses define ---------------------------------------------------------------------------------------

    def candidates(self, view: RoadView, line: Centreline) -> Samples:
        """The trajectories (N, S) among which a plan is chosen."""
        return sample(view, line, self.sampler)

    def judge(self, view: RoadView, line: Centreline, samples: Samples) -> Judged:
        """Score trajectories (N, S)."""
        raise NotImplementedError

    def chosen(self, view: RoadView, line: Centreline, judged: Judged) -> Samples:
        """The trajectory (N, 1) to drive."""
        return judged.samples.choose(judged.best()[:, None])

    # Learning -----------------------------------------------------------------------------------------------------

    def demonstration(self, batch: Mapping[str, Any]) -> Demonstration:
        """Rows (B, ...) of recorded drives with `extras["expert_action"]` (B, 51), shaken while it trains."""
        view = view_of_rows(batch["obs"])
        poses = torch.as_tensor(batch["extras"]["expert_action"]).float().view(-1, STEPS + 1, 3)
        if self.training:
            view, poses = shaken(view, poses, self.shake)
        line = centreline(view)
        expert = recorded(view, line, poses)
        samples = sample(view, line, self.sampler)
        apart = samples.poses[:, :, 1 : JUDGED + 1, :2] - expert.poses[:, :, 1 : JUDGED + 1, :2]
        distance = apart.norm(dim=-1)
        # a driver who changes lanes elsewhere than the route's line does shows nothing about that line
        on_line = (expert.d[:, 0, : JUDGED + 1].abs().amax(-1) < LANE_WIDTH / 2).float()
        aside = (samples.d[..., -1] - expert.d[..., -1]).abs()
        nearest = (distance.mean(-1) + aside).argmin(-1)
        return Demonstration(view, line, samples, expert, nearest, distance, aside, on_line)

    def loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the training loss on rows (B, ...) of recorded drives."""
        raise NotImplementedError


def begin(scene: Scene, carry: Carry) -> Carry:
    return {**carry, "road": Road.of(carry["map"], carry["route"], scene.ego)}


@dataclass(frozen=True)
class Shake:
    """How far training data are moved from where the recorded driver was, half the width of uniform distributions.

    The driver never strays, so its data alone do not show how to come back (Bansal et al. 2019, "ChauffeurNet"). Nor do
    they tell the cause of an acceleration from the acceleration itself, so the ego's own is replaced at random.
    """

    aside: float = 0.8  # [m]
    turned: float = 0.08  # [rad]
    speed: float = 1.5  # [m/s]
    acceleration: float = 1.0  # [m/s^2]
    back: float = 3.0  # [s] until the driver is on its own way again


def shaken(view: RoadView, poses: Tensor, most: Shake) -> tuple[RoadView, Tensor]:
    """The views and recorded poses (N, 17, 3) as seen from egos that are elsewhere and move otherwise."""
    n, device = len(poses), poses.device

    def uniform(width: float) -> Tensor:
        return width * (2 * torch.rand(n, device=device) - 1)

    aside, turned = uniform(most.aside), uniform(most.turned)
    poses = torch.cat([seen_from(poses[..., :2], aside, turned), poses[..., 2:] - turned[:, None, None]], -1)
    # the driver comes back from the ego's pose smoothly
    share = (1 - torch.arange(STEPS + 1, device=device) * INTERVAL / most.back).clamp_min(0)
    poses = poses - (share.square() * (3 - 2 * share))[:, None] * poses[:, :1]
    speed = (view.ego[:, 0] + uniform(most.speed)).clamp_min(0)
    ego = torch.stack([speed, uniform(most.acceleration), view.ego[:, 2], view.ego[:, 3]], -1)
    moved = replace(from_pose(view, aside, turned), ego=ego)
    return moved, poses


def mean_over(values: Tensor, weights: Tensor) -> Tensor:
    """The mean of values (N,) with weights (N,), some of which may be 0."""
    return (values * weights).sum() / weights.sum().clamp_min(1)


def agreement(demonstration: Demonstration, best: Tensor) -> dict[str, Tensor]:
    """How close the chosen samples (N,) are to the recorded driver: distance [m] over 3 s, and the same behaviour."""
    rows = torch.arange(len(best), device=best.device)
    apart = demonstration.distance[rows, best, 5]
    same = behaviour_of(demonstration.samples.d)[rows, best] == demonstration.expert.behaviour[:, 0]
    return {"distance_3s": apart.mean().detach(), "same_behaviour": same.float().mean().detach()}

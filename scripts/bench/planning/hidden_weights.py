"""Recovery of hidden cost weights from an expert's choices on lane-change scenes, by the joint planner's learning."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.random_batches import RandomBatches
from embodia.planners.driving.learned.centreline import centreline
from embodia.planners.driving.learned.max_margin import margin_over_time, max_margin
from embodia.planners.driving.learned.plan_features import FEATURES, JUDGED, features, ground
from embodia.planners.driving.learned.road_view import AGENTS, CENTRE, LANES, ROUTE, ROUTE_STEP, RoadView
from embodia.planners.driving.learned.trajectory_sampler import (
    LANE_WIDTH,
    SamplerConfig,
    Samples,
    behaviour_of,
    sample,
)
from embodia.scripts.bench.harness.once import Line, minutes
from embodia.scripts.bench.harness.results import Row, row

TERMS = ("collision", "headway", "progress", "lane at the end", "braking", "lateral acceleration")
INDEX = [FEATURES.index(name) for name in TERMS]
DEMONSTRATIONS, HELD_OUT = 200, 400
BASE = (1.0, 1.0, 1.0, 0.15, 0.4, 0.15)  # hidden weights, before they vary: half of the scenes change lanes
STEPS, SPREAD = 600, 0.4  # updates; spread of the hidden weights' logarithms
LIMIT = 12.0  # [m/s]
LANES_SAMPLED = SamplerConfig(offsets=(0.0, LANE_WIDTH, -LANE_WIDTH), curvatures=())
Part = tuple[Tensor, Samples]


def job(seed: int, tiny: bool) -> Callable[[], Line]:
    return lambda: recover(seed, 20 if tiny else STEPS)


def recover(seed: int, steps: int = STEPS) -> Line:
    """Cosine of hidden and learned weights, and the share of held-out scenes with the expert's behaviour.

    The control learns the weights of the behaviour level and of the trajectory level on their own.
    """
    generator = torch.Generator().manual_seed(seed)
    shown, held = (lane_change_scenes(count, generator) for count in (DEMONSTRATIONS, HELD_OUT))
    scale = shown[0].std((0, 1)).clamp_min(1e-6)
    hidden = torch.tensor(BASE) * (SPREAD * torch.randn(len(TERMS), generator=generator)).exp()
    shown, held = ((values / scale, samples) for values, samples in (shown, held))
    learned = learn(shown, hidden, seed, steps)
    level = [learn(two_stage(shown, hidden, stage), hidden, seed, steps) for stage in (0, 1)]
    return {
        "cosine": float(nn.functional.cosine_similarity(hidden, learned, dim=0)),
        "behaviour": same_behaviour(held, hidden, learned),
        "distance": mean_distance(held, hidden, learned),
        "equal": same_behaviour(held, hidden, torch.ones_like(hidden)),
        "two stages": two_stage_behaviour(held, hidden, *level),
    }


def lane_change_scenes(count: int, generator: torch.Generator) -> Part:
    """Terms (N, S, 6) of trajectories in three lanes with a slow leader and other cars at random, and the samples."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    cars = 5
    lane = torch.randint(-1, 2, (count, cars), generator=generator).float()
    lane[:, 0] = 0
    x = uniform(-20, 60, cars)
    x[:, 0] = uniform(12, 40)
    speed = uniform(2, 11, cars)
    boxes, velocities = torch.zeros(count, AGENTS, 5), torch.zeros(count, AGENTS, 2)
    boxes[:, :cars, 0], boxes[:, :cars, 1] = x, LANE_WIDTH * lane
    boxes[:, :cars, 3:], velocities[:, :cars, 0] = torch.tensor([4.5, 2.0]), speed
    s = CENTRE + ROUTE_STEP * torch.arange(ROUTE + 1)
    route = torch.stack([s, 0 * s, 0 * s], -1).expand(count, -1, -1)
    own = uniform(6, 12)
    view = RoadView(
        ego=torch.stack([own, 0 * own, 0 * own, 0 * own], -1),
        boxes=boxes,
        velocities=velocities,
        kinds=torch.zeros(count, AGENTS, dtype=torch.int64),
        there=(torch.arange(AGENTS) < cars).expand(count, -1),
        route=route,
        limits=torch.full((count, ROUTE + 1), LIMIT),
        on_route=torch.ones(count, ROUTE + 1, dtype=torch.bool),
        red=torch.full((count,), torch.inf),
        lanes=torch.zeros(count, LANES, 10, 2),
        lane_there=torch.zeros(count, LANES, dtype=torch.bool),
    )
    line = centreline(view)
    samples = sample(view, line, LANES_SAMPLED)
    return features(view, ground(view, line), samples)[..., INDEX], samples


class Weights(nn.Module):
    """The learner: positive weights whose cheapest trajectory is the expert's, by max-margin and imitation."""

    def __init__(self) -> None:
        super().__init__()
        self.log_weights = nn.Parameter(torch.zeros(len(TERMS)))

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        cost = batch["terms"] @ self.log_weights.exp()  # (N, S)
        chosen = cost.gather(1, batch["chosen"][:, None])[:, 0]
        margin = max_margin(chosen, cost, batch["margin"]).mean()
        imitation = nn.functional.cross_entropy(-cost, batch["chosen"])
        return margin + imitation, {"margin": margin.detach(), "imitation": imitation.detach()}


def learn(part: Part, hidden: Tensor, seed: int, steps: int) -> Tensor:
    """Weights learned from the choices of an expert with hidden weights."""
    terms, samples = part
    chosen = (terms @ hidden).argmin(-1)
    places = samples.poses[:, :, 1 : JUDGED + 1, :2]
    apart = (places - places[torch.arange(len(places)), chosen][:, None]).norm(dim=-1)
    margin = margin_over_time(apart, torch.zeros_like(apart), 0.0).mean(-1)
    rows = {"terms": terms, "chosen": chosen, "margin": 0.1 * margin}
    data = RandomBatches(lambda generator, n: at(rows, generator.integers(len(terms), size=n)), seed)
    learner = Weights()
    fit(learner, data, FitConfig(steps=steps, batch_size=100, learning_rate=0.05, warmup=10, log_every=steps))
    return learner.log_weights.detach().exp()


def at(rows: Mapping[str, Tensor], index: Any) -> dict[str, Tensor]:
    return {name: value[torch.as_tensor(index)] for name, value in rows.items()}


def same_behaviour(part: Part, hidden: Tensor, learned: Tensor) -> float:
    """Share of scenes in which both weights choose the same behaviour."""
    terms, samples = part
    behaviour, rows = behaviour_of(samples.d), torch.arange(len(terms))
    a, b = ((terms @ weights).argmin(-1) for weights in (hidden, learned))
    return float((behaviour[rows, a] == behaviour[rows, b]).float().mean())


def mean_distance(part: Part, hidden: Tensor, learned: Tensor) -> float:
    """Mean distance [m] after 3 s between the trajectories that both weights choose."""
    terms, samples = part
    rows = torch.arange(len(terms))
    a, b = (samples.poses[rows, (terms @ weights).argmin(-1), 6, :2] for weights in (hidden, learned))
    return float((a - b).norm(dim=-1).mean())


def two_stage(part: Part, hidden: Tensor, stage: int) -> Part:
    """What one of two planners that are tuned on their own sees.

    The first decides the behaviour with every behaviour's trajectory at constant speed; the second decides the speed
    in the behaviour that the expert chose.
    """
    terms, samples = part
    profiles = terms.shape[1] // 3
    if stage == 0:
        index = (torch.arange(3) * profiles + profiles // 3).expand(len(terms), -1)
    else:
        chosen = (terms @ hidden).argmin(-1) // profiles
        index = chosen[:, None] * profiles + torch.arange(profiles)
    return terms.gather(1, index[..., None].expand(-1, -1, terms.shape[-1])), samples.choose(index)


def two_stage_behaviour(part: Part, hidden: Tensor, first: Tensor, second: Tensor) -> float:
    """Share of scenes in which the first stage decides as the expert does."""
    terms, _ = part
    profiles = terms.shape[1] // 3
    coarse = two_stage(part, hidden, 0)[0]
    return float(((coarse @ first).argmin(-1) == (terms @ hidden).argmin(-1) // profiles).float().mean())


def rows(found: Mapping[str, Sequence[Line]]) -> list[Row]:
    lines = found["hidden weights"]
    spent = minutes(lines)

    def one(name: str, key: str, unit: str) -> Row:
        return row(name, [[line[key]] for line in lines], unit, cpu_minutes=spent)

    accuracy = one("sadat hidden weights: behaviour", "behaviour", "share of scenes with the expert's behaviour")
    beside = (one("two stages", "two stages", accuracy.unit), one("equal weights", "equal", accuracy.unit))
    return [
        one("sadat hidden weights", "cosine", "cosine of hidden and learned weights"),
        Row(**{**vars(accuracy), "controls": beside}),
        one("sadat hidden weights: distance", "distance", "m after 3 s"),
    ]

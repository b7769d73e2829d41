"""Maximum margin planning on terrain: two styles of demonstration, two cost maps, two paths on an unseen map.

Set-up: 20 x 20 cells of road, grass, rock or water; the features are the four terrains and four blurred copies of each;
the expert takes the cheapest path under a hidden cost. 50 maps to learn from, 50 unseen ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from embodia.agents.imitation.inverse.cost_loop import CostLoop, MapPlanner, overlap
from embodia.agents.imitation.inverse.cost_map import CostMap
from embodia.agents.imitation.inverse.dynamics import cells
from embodia.agents.imitation.inverse.max_margin_planning import MaxMarginPlanning, path_distance
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.random_batches import RandomBatches
from embodia.scripts.bench.generative.training import Budget, Numbers

SIDE, TERRAINS, BLURS, MAPS, FARTHEST = 20, 4, (0.7, 1.0, 1.5, 2.5), 50, 15
STYLES = {"road": (1.0, 3.0, 9.0, 15.0), "hidden": (15.0, 4.0, 1.0, 9.0)}
"""Hidden costs of road, grass, rock and water: a driver that follows roads, and a scout that stays off them."""
NEARBY = 0.5
"""Weight of the terrain around a cell in its hidden log cost."""
PLANNER = MapPlanner(cells(SIDE, SIDE), lengths=torch.tensor([1.0] * 4 + [2**0.5] * 4))


@dataclass(frozen=True)
class Maps:
    """Maps with their tasks."""

    features: Tensor
    """(N, TERRAINS (1 + len(BLURS)), SIDE, SIDE)."""
    start: Tensor
    """Cells (N,)."""
    goal: Tensor
    """Cells (N,)."""

    def tasks(self) -> dict[str, Tensor]:
        return {"features": self.features, "start": self.start, "goal": self.goal}


def draw_maps(rng: np.random.Generator, n: int) -> Maps:
    """Sample maps, each with a start and a goal at least `FARTHEST` cells apart."""
    found, starts, goals = [], [], []
    for _ in range(n):
        smooth = gaussian_filter(rng.normal(size=(TERRAINS, SIDE, SIDE)), (0, 1.5, 1.5))
        terrain = np.eye(TERRAINS)[smooth.argmax(0)].transpose(2, 0, 1)
        blurred = [gaussian_filter(terrain, (0, width, width)) for width in BLURS]
        found.append(np.concatenate([terrain, *blurred]))
        while True:
            ends = rng.integers(0, SIDE, (2, 2))
            if np.linalg.norm(ends[0] - ends[1]) >= FARTHEST:
                break
        start, goal = ends @ [SIDE, 1]
        starts.append(start)
        goals.append(goal)
    return Maps(torch.from_numpy(np.array(found)).float(), torch.tensor(np.array(starts)), torch.tensor(goals))


def hidden_cost(maps: Maps, style: str) -> Tensor:
    """Return the expert's costs of the cells, (N, SIDE^2)."""
    log = torch.log(torch.tensor(STYLES[style]))
    here, around = maps.features[:, :TERRAINS], maps.features[:, 3 * TERRAINS : 4 * TERRAINS]
    return torch.einsum("ncij,c->nij", here + NEARBY * around, log).exp().flatten(1)


def demonstrated(maps: Maps, style: str) -> dict[str, Tensor]:
    visits = PLANNER(hidden_cost(maps, style), maps.tasks())
    distance = torch.stack([path_distance(each, (SIDE, SIDE)) for each in visits])
    return {**maps.tasks(), "visits": visits, "distance": distance}


def learned(shown: dict[str, Tensor], method: Callable[[nn.Module], CostLoop], seed: int, budget: Budget) -> nn.Module:
    """Learn costs by a method from demonstrations, in batches of ten maps."""
    torch.manual_seed(seed)
    learner = method(CostMap(TERRAINS * (1 + len(BLURS))))

    def batch(rng: np.random.Generator, n: int) -> dict[str, Tensor]:
        chosen = torch.from_numpy(rng.choice(len(shown["start"]), n, replace=False))
        return {name: each[chosen] for name, each in shown.items()}

    config = FitConfig(
        steps=budget.steps(100), batch_size=10, learning_rate=0.1, warmup=5, weight_decay=1e-3, device="cpu"
    )
    fit(learner, RandomBatches(batch, seed), config, logger=Logger(console=False))
    return learner.cost


def judged(cost: Tensor, maps: Maps, style: str) -> tuple[list[float], list[float]]:
    """Return, for each map, the true cost of the path under `cost` over that of the expert's, and their overlap."""
    truth, tasks = hidden_cost(maps, style), maps.tasks()
    expert, planned = PLANNER(truth, tasks), PLANNER(cost, tasks)
    ratio = (truth * planned).sum(-1) / (truth * expert).sum(-1)
    return ratio.tolist(), overlap(planned, expert).tolist()


METHODS: dict[str, Callable[[nn.Module], CostLoop]] = {
    "max-margin": lambda cost: MaxMarginPlanning(cost, PLANNER),
    "without a margin": lambda cost: MaxMarginPlanning(cost, PLANNER, margin=0.0),
    "cost loop": lambda cost: CostLoop(cost, PLANNER),
}


@torch.no_grad()
def costs(network: nn.Module, maps: Maps) -> Tensor:
    found: Tensor = network(maps.features)
    return found


def max_margin(seed: int, budget: Budget) -> Numbers:
    """True cost ratio and overlap on unseen maps, for three rules and uniform costs; then the two styles."""
    rng = np.random.default_rng(seed)
    number = 6 if budget.smoke else MAPS
    train, test = draw_maps(rng, max(10, number)), draw_maps(rng, number)
    numbers: Numbers = {}
    shown = {style: demonstrated(train, style) for style in STYLES}
    found = {}
    for name, method in METHODS.items():
        found[name] = costs(learned(shown["road"], method, seed, budget), test)
        numbers[name], numbers[f"overlap, {name}"] = judged(found[name], test, "road")
    found["hidden"] = costs(learned(shown["hidden"], METHODS["max-margin"], seed, budget), test)
    numbers["max-margin, other style"], numbers["overlap, other style"] = judged(found["hidden"], test, "hidden")
    numbers["costs of the other style"], _ = judged(found["hidden"], test, "road")
    uniform = torch.ones_like(found["hidden"])
    numbers["uniform costs"], numbers["overlap, uniform costs"] = judged(uniform, test, "road")
    keep_styles(seed, budget, test, {"road": found["max-margin"], "hidden": found["hidden"]})
    return numbers


def keep_styles(seed: int, budget: Budget, test: Maps, found: dict[str, Tensor], count: int = 3) -> None:
    """Keep terrain, costs and paths of the first unseen maps, for the picture."""
    terrain = test.features[:count, :TERRAINS].argmax(1)
    arrays = {"terrain": terrain, "start": test.start[:count], "goal": test.goal[:count]}
    for style, cost in found.items():
        truth = hidden_cost(test, style)
        arrays[f"truth_{style}"] = truth[:count].view(count, SIDE, SIDE)
        arrays[f"cost_{style}"] = cost[:count].view(count, SIDE, SIDE)
        arrays[f"path_{style}"] = (PLANNER(cost, test.tasks())[:count] > 0).view(count, SIDE, SIDE)
        arrays[f"expert_{style}"] = (PLANNER(truth, test.tasks())[:count] > 0).view(count, SIDE, SIDE)
    budget.keep(f"styles-{seed}", **arrays)

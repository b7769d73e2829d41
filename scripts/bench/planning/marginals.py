"""DSDNet's marginals beside exact ones by enumeration, on test scenes with three actors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from embodia.envs.driving.learning.pool import scenario_pool
from embodia.envs.driving.simulation.closed_loop import Simulation
from embodia.planners.driving.learned.actors import actors_of
from embodia.planners.driving.learned.centreline import centreline
from embodia.planners.driving.learned.plan_features import ground
from embodia.planners.driving.learned.road_view import Road, view_of_scenes
from embodia.planners.driving.learned.sum_product import enumerated, sum_product
from embodia.scripts.bench.harness.once import Line, minutes
from embodia.scripts.bench.harness.results import Row, row

SCENES, ACTORS = 100, 3
SEARCHED = 200  # test scenarios among which scenes with three actors are looked for


def job(seed: int, planner: Callable[[], Any], tiny: bool) -> Callable[[], Line]:
    return lambda: compare(planner(), 4 if tiny else SEARCHED)


@torch.no_grad()
def compare(planner: Any, searched: int) -> Line:
    """Total variation from the exact marginals, and how often the most probable futures collide; each by scene."""
    pool = scenario_pool("test", searched)
    scenes = [(Simulation(pool[i]).scene(), pool[i]) for i in range(searched)]
    view = view_of_scenes([s for s, _ in scenes], [Road.of(each.map, each.route, s.ego) for s, each in scenes])
    view = view[actors_of(view).there[:, :ACTORS].all(-1)][:SCENES]
    around, actors = ground(view, centreline(view)), actors_of(view)
    unary, pairwise = (each[:, :ACTORS] for each in planner.energies(around, actors))
    pairwise = pairwise[:, :, :ACTORS]
    exact = torch.cat([enumerated(unary[i : i + 10], pairwise[i : i + 10]) for i in range(0, len(unary), 10)])
    joint, alone = sum_product(unary, pairwise).exp(), torch.softmax(-unary, -1)
    return {
        "joint": distances(joint, exact),
        "alone": distances(alone, exact),
        "joint collisions": clashes(joint, pairwise),
        "alone collisions": clashes(alone, pairwise),
    }


def distances(found: torch.Tensor, exact: torch.Tensor) -> list[float]:
    """Total variation (N,) between marginals (N, M, K), the mean over actors."""
    values: list[float] = ((found - exact).abs().sum(-1) / 2).mean(-1).tolist()
    return values


def clashes(marginals: torch.Tensor, pairwise: torch.Tensor) -> list[float]:
    """(N,) probability that some two actors collide if each draws its future from its marginal, pairs added up."""
    upper = torch.ones(ACTORS, ACTORS).triu(1)
    both = torch.einsum("nia,nijab,njb->nij", marginals, (pairwise > 0).float(), marginals)
    values: list[float] = (both * upper).sum((1, 2)).tolist()
    return values


def rows(found: Mapping[str, Sequence[Line]]) -> list[Row]:
    lines = found["marginals"]

    def one(name: str, key: str, unit: str, controls: Sequence[Row] = ()) -> Row:
        return row(name, [line[key] for line in lines], unit, cpu_minutes=minutes(lines), controls=controls)

    unit, hit = "total variation from enumeration", "expected collisions between three actors"
    return [
        one("dsdnet marginals", "joint", unit, [one("independent", "alone", unit)]),
        one("dsdnet joint collisions", "joint collisions", hit, [one("independent", "alone collisions", hit)]),
    ]

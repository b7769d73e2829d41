"""Value iteration networks on the top-down maps of homes: learned from the expert's walks, followed in unseen homes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from embodia.agents import Agent, Array
from embodia.agents.imitation.inverse.map_agent import CostLoopAgent
from embodia.agents.imitation.map_imitation import MapImitation
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import train
from embodia.agents.training.rng import seed_all
from embodia.scripts.assembly import build
from embodia.scripts.bench.generative.training import Budget, Numbers
from embodia.scripts.presets.table import preset

EPISODES = 48


class CheapestPath(CostLoopAgent):
    """Follows the shortest path over cells with floor, by Dijkstra's algorithm: a control that does not learn."""

    def costs(self, obs: Mapping[str, Array]) -> Array:
        return np.where(self.body.open(self.body.features(obs)), 1.0, 1000.0)


def homes(seed: int, budget: Budget) -> Numbers:
    """Success and SPL in unseen homes of the preset's network, and of agents beside it."""
    config = preset("vin-pointnav")
    env = build.worlds(config.env, "train")
    test = build.worlds(config.env, "test", 8, evaluation=True)
    spaces: tuple[Any, Any] = env.single_observation_space, env.single_action_space
    seed_all(seed)
    agents: dict[str, Agent] = {"vin": MapImitation(*spaces, replace(config.agent, seed=seed))}
    steps = 200 if budget.smoke else config.schedule.steps
    train(agents["vin"], env, replace(config.schedule, steps=steps, seed=1000 * seed), logger=Logger(console=False))
    agents["cheapest path on the map"] = CheapestPath(*spaces)
    agents |= {name: build.reference(name, env) for name in ("expert", "random")}
    numbers: Numbers = {}
    for name, agent in agents.items():
        episodes = evaluate(agent, test, range(2 if budget.smoke else EPISODES))
        for score in ("success", "spl"):
            numbers[f"{name}, {score}"] = [each.metrics[score] for each in episodes]
    env.close()
    test.close()
    return numbers

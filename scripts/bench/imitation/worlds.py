"""Costs learned from experts' walks in MiniGrid and in homes, and the plans that follow them on unseen levels."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from embodia.agents import Agent
from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.imitation.inverse.map_agent import (
    CostLoopAgent,
    MapConfig,
    MaxEntAgent,
    MaxEntConfig,
    MaxMarginAgent,
    MaxMarginConfig,
)
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.rng import seed_all
from embodia.scripts.assembly import build
from embodia.scripts.assembly.config import Config, EncoderConfig
from embodia.scripts.bench.generative.training import Budget, Numbers
from embodia.scripts.presets.inverse import AT_HOME
from embodia.scripts.presets.table import preset

DEMONSTRATIONS = 64
LEVELS = 32
NETWORK = EncoderConfig(keys=("symbolic", "carrying"), channels=16, depth=4)
CLONE = BCConfig(device="cpu", train_freq=64, gradient_steps=100)
BEST = {"success": "success", "path ratio": "path_efficiency"}


def lava(seed: int, budget: Budget) -> Numbers:
    """Crossings of lava: all rules, and behaviour cloning."""
    rules = {
        "max-margin": MaxMarginConfig(seed, DEMONSTRATIONS),
        "MaxEnt": MaxEntConfig(seed, DEMONSTRATIONS, horizon=60),
        "cost loop": MapConfig(seed, DEMONSTRATIONS),
        "BC": replace(CLONE, seed=seed),
    }
    return compared("lava", preset("max-ent-lava"), rules, seed, budget, budget.steps(2000))


def rooms(seed: int, budget: Budget) -> Numbers:
    """Four rooms."""
    rules = {
        "max-margin": MaxMarginConfig(seed, DEMONSTRATIONS),
        "MaxEnt": MaxEntConfig(seed, DEMONSTRATIONS, horizon=80, gradient_steps=1),
    }
    return compared("rooms", preset("max-margin-fourrooms"), rules, seed, budget, budget.steps(2500))


def homes(seed: int, budget: Budget) -> Numbers:
    """PointNav on the top-down map."""
    rules = {"max-margin": replace(AT_HOME, seed=seed)}
    return compared("homes", preset("max-margin-pointnav"), rules, seed, budget, budget.steps(6000))


AGENTS: dict[type, type] = {MaxMarginConfig: MaxMarginAgent, MaxEntConfig: MaxEntAgent, MapConfig: CostLoopAgent}


def compared(name: str, config: Config, rules: dict[str, Any], seed: int, budget: Budget, steps: int) -> Numbers:
    """Scores on unseen levels of each rule, of the cheapest path under uniform costs, and of the expert."""
    env = build.worlds(config.env, "train")
    test = build.worlds(config.env, "test", 8, evaluation=True)
    observed, actions = env.single_observation_space, env.single_action_space
    found: dict[str, Agent] = {}
    for rule, each in rules.items():
        seed_all(seed)
        if isinstance(each, BCConfig):
            found[rule] = BC(build.encoder(NETWORK, observed), actions, each)
        else:
            found[rule] = AGENTS[type(each)](observed, actions, each)
        train(found[rule], env, Schedule(steps=steps, seed=1000 * seed), logger=Logger(console=False))
    found |= {"uniform costs": CostLoopAgent(observed, actions), "expert": build.reference("expert", env)}
    numbers: Numbers = {}
    levels = range(seed * 1000, seed * 1000 + (4 if budget.smoke else LEVELS))
    for rule, agent in found.items():
        episodes = evaluate(agent, test, levels)
        for score, metric in BEST.items():
            metric = "spl" if metric not in episodes[0].metrics else metric
            numbers[f"{rule}, {score}"] = [each.metrics[metric] for each in episodes]
    obs, _ = test.reset(seed=list(range(8)))
    keep_maps(f"{name}-{seed}", budget, found, obs)
    env.close()
    test.close()
    return numbers


def keep_maps(name: str, budget: Budget, found: dict[str, Agent], obs: dict[str, Any], count: int = 3) -> None:
    """Keep learned costs and paths on unseen maps, for the picture."""
    arrays: dict[str, Any] = {}
    shown = {key: value[:count] for key, value in obs.items()}
    for rule, agent in found.items():
        if not isinstance(agent, CostLoopAgent):
            continue
        body, first = agent.body, np.ones(count, bool)
        carry = agent.planned(shown, agent.initial(count), first)
        arrays["features"] = body.features(shown)
        label = rule.replace(" ", "_")
        arrays[f"cost_{label}"] = carry["cost"].reshape(count, *body.shape)
        paths = np.zeros((count, body.shape[0] * body.shape[1]), bool)
        for i, state in enumerate(body.state(shown)):
            states, _ = agent.path(carry, i, int(state), 10_000)
            paths[i, body.planner.cell_of[states]] = True
        arrays[f"path_{label}"] = paths.reshape(count, *body.shape)
        arrays["goal"] = body.goal(shown)
        arrays["start"] = body.planner.cell_of[body.state(shown)]
    budget.keep(name, **{key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()})

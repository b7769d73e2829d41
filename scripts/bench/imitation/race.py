"""Adversarial imitation beside behaviour cloning and DAgger, from 1, 5 and 20 drives on a race track."""

from dataclasses import replace
from typing import Any

import numpy as np

from embodia.agents import Agent
from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.imitation.dagger import DAgger, DAggerConfig
from embodia.agents.imitation.inverse.adversarial import Adversarial
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.envs.vector import make
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.planners.trees import index
from embodia.scripts.assembly import build
from embodia.scripts.bench.generative.training import Budget, Numbers
from embodia.scripts.presets.inverse import DRIVER

DRIVES = (1, 5, 20)
STEPS, LEVELS, EPISODE = 24_000, 20, 150
HIDDEN = (64,)


def race(seed: int, budget: Budget) -> Numbers:
    """Progress on unseen tracks, as a share of the expert's, by number of demonstrations."""
    test = make("embodia/RaceTrack-v0", LEVELS // 2, "sync", split="test")
    best = score(build.reference("expert", test), test)
    numbers: Numbers = {}
    for drives in DRIVES[:1] if budget.smoke else DRIVES:
        agent, pairs = adversarial(seed, drives, budget)
        found = {"adversarial": agent, "BC": cloned(seed, pairs, budget), "DAgger": labelled(seed, drives, budget)}
        for name, each in found.items():
            numbers[f"{name}, {drives}"] = (score(each, test) / best).tolist()
    return numbers


def score(agent: Agent, test: Any) -> np.ndarray:
    """Return the progress on each test level."""
    return np.array([each.metrics["progress"] for each in evaluate(agent, test, range(LEVELS))])


def track(n: int) -> Any:
    return make("embodia/RaceTrack-v0", n, "sync", split="train")


def encoder(env: Any) -> MLPEncoder:
    return MLPEncoder(env.single_observation_space, dim=64, hidden=HIDDEN)


def adversarial(seed: int, drives: int, budget: Budget) -> tuple[Agent, dict[str, Any]]:
    """Train on the track with the preset's settings; return the agent and its demonstrations."""
    seed_all(seed)
    env = track(8)
    agent = Adversarial(
        encoder(env), env.single_action_space, replace(DRIVER, demonstrations=drives, seed=seed, device="cpu")
    )
    steps = EPISODE * (8 + drives) if budget.smoke else STEPS
    train(agent, env, Schedule(steps=steps, seed=1000 * seed), logger=Logger(console=False))
    return agent, agent.demonstrations.pairs


def cloned(seed: int, pairs: dict[str, Any], budget: Budget) -> Agent:
    """Clone the same demonstrations."""
    seed_all(seed)
    env = track(1)
    agent = BC(encoder(env), env.single_action_space, BCConfig(seed, "cpu", HIDDEN, components=1))

    def batch(rng: np.random.Generator, n: int) -> dict[str, Any]:
        chosen = rng.integers(0, len(pairs["action"]), n)
        return {**index(pairs, chosen), "extras": {}, "first": np.zeros(n, bool)}

    config = FitConfig(steps=budget.steps(1000), batch_size=64, device="cpu")
    fit(agent, RandomBatches(batch, seed), config, logger=Logger(console=False))
    return agent


def labelled(seed: int, drives: int, budget: Budget) -> Agent:
    """Train DAgger on as many drives: the expert's first one, then its own with the expert's labels."""
    seed_all(seed)
    env = track(1)
    config = DAggerConfig(
        seed,
        "cpu",
        HIDDEN,
        components=1,
        batch_size=64,
        learning_starts=1,
        train_freq=EPISODE + 1,
        gradient_steps=budget.steps(1000) if drives == 1 else budget.steps(200),
        explore=False,
    )
    agent = DAgger(encoder(env), env.single_action_space, config)
    # One step into the next drive: a drive joins the set, and is learned from, with its last row.
    schedule = Schedule(steps=EPISODE * drives + 1, seed=1000 * seed)
    train(agent, env, schedule, logger=Logger(console=False))
    return agent

"""Implementation of `embodia.evaluate` and `embodia.record`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from embodia.agents import Agent
from embodia.agents.training.evaluate import Episode, evaluate
from embodia.envs import Split
from embodia.envs.vector import SyncVector
from embodia.scripts.assembly import build
from embodia.scripts.assembly.config import Config
from embodia.scripts.mistake import Mistake
from embodia.scripts.report.evaluation import draws, film, play, scores
from embodia.scripts.report.statistics import Interval, by_level, interval


@dataclass(frozen=True)
class Evaluation:
    """Result of `embodia.evaluate`: scores with confidence intervals, and the episodes."""

    scores: dict[str, Interval]
    """Mean of each score and of the return, with its 95 % confidence interval (`value`, `low`, `high`) over distinct
    levels: repeats of a level count once."""
    episodes: list[Episode]
    """The episodes, in the order of the seeds."""

    def __str__(self) -> str:
        lines = [f"{name} {each.value:.3g} [{each.low:.3g}, {each.high:.3g}]" for name, each in self.scores.items()]
        distinct = len({episode.level or episode.seed for episode in self.episodes})
        return f"{len(self.episodes)} episodes, {distinct} distinct levels\n" + "\n".join(lines)


def evaluated(agent: Agent, env: Any, seeds: Sequence[int], split: Split) -> Evaluation:
    """Evaluate on one episode per seed in `env`, or in the agent's training environment.

    Raises:
        Mistake: if `env` is None and the agent was not loaded from a run.
    """
    if env is None:
        episodes = play(agent, trained_in(agent, "give evaluate an env").env, seeds, split)
    else:
        vector = SyncVector([lambda: env]) if isinstance(env, gym.Env) else env
        episodes = evaluate(agent, vector, seeds)
    names = [episode.level or f"seed {episode.seed}" for episode in episodes]
    found = {name: interval(by_level(names, values)[0]) for name, values in scores(episodes).items()}
    return Evaluation(found, episodes)


def filmed(agent: Agent, seeds: Sequence[int], split: Split, out: Path) -> list[Path]:
    """Record one video per seed. Raises Mistake if the environment is unknown or cannot be rendered."""
    env = trained_in(agent, "load it with embodia.load to record it").env
    if not draws(env, split):
        raise Mistake(f"{env.id} cannot be rendered; it needs the render mode rgb_array and a render()")
    out.mkdir(parents=True, exist_ok=True)
    paths, _ = film(agent, env, seeds, split, out, split)
    return paths


def trained_in(agent: Agent, remedy: str) -> Config:
    """Return the configuration of the run that the agent was loaded from. Raises Mistake if there is none."""
    config = build.LOADED.get(agent)
    if config is None:
        raise Mistake(f"this {type(agent).__name__} was not loaded from a run, so its environment is unknown; {remedy}")
    return config

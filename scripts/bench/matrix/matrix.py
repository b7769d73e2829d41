"""Encoder x model x planner x agent in the three worlds: chosen combinations, each trained and judged by one procedure.

A row is a `Config` like any other: a world, how pictures are read, and an agent's configuration (whose `model` and
`planner` are its own choice). The score that heads its world's reports judges it. Encoders that are pretrained learn
from episodes recorded in the same world. Every row is a line of `matrix.jsonl` as soon as it is done, and is not run
twice; what was interrupted is resumed.
"""

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from embodia.agents import Agent
from embodia.agents.imitation.bc import BCConfig
from embodia.agents.imitation.dagger import DAggerConfig
from embodia.agents.references.constant import Constant
from embodia.agents.reinforcement.dreamer import DreamerConfig
from embodia.agents.reinforcement.mpc import MPCConfig
from embodia.agents.reinforcement.sb3.ppo import PPOConfig
from embodia.agents.training.checkpoint import list_steps
from embodia.agents.training.evaluate import evaluate
from embodia.agents.training.fit import FitConfig
from embodia.agents.training.loop import Schedule
from embodia.agents.training.rows import EpisodeWriter, episode_files
from embodia.agents.training.scores import SIGN, declared_scores
from embodia.envs.driving.options import RoadOptions
from embodia.envs.grid.options import GridOptions
from embodia.envs.homes.options import HomesOptions
from embodia.planners.models.rssm import RSSMConfig
from embodia.scripts.assembly import build, runs
from embodia.scripts.assembly.config import Config, EncoderConfig, EvaluationConfig, check
from embodia.scripts.assembly.environments import EnvConfig
from embodia.scripts.assembly.kinds import IMAGE_ENCODER, LEARNER, PLANNER
from embodia.scripts.assembly.parts import configured
from embodia.scripts.assembly.provenance import config_hash, hardware
from embodia.scripts.assembly.self_supervision import PositivesConfig
from embodia.scripts.assembly.stored import write
from embodia.scripts.bench.harness.once import once
from embodia.scripts.bench.matrix import matrix_plot
from embodia.scripts.commands import pretrain, train
from embodia.scripts.commands.collect import Keep
from embodia.scripts.report.evaluation import Ticker, declared, play, scores
from embodia.scripts.report.statistics import interval

OUT = Path("runs/bench-matrix")
Line = dict[str, Any]

# Small pictures: a world model reads and paints each of them several times.
WORLDS = {
    "grid": EnvConfig("embodia/MiniGrid-Empty-5x5-v0", GridOptions("rgb", tile_size=4), 8),
    "homes": EnvConfig(
        "embodia/Exploration-v0", HomesOptions(("rgb",), 32, 32, num_scenes=16, detail="low", max_steps=100), 8
    ),
    "roads": EnvConfig(
        "embodia/Driving-v0", RoadOptions(("ego", "route", "bev"), rules="learning", num_scenarios=32), 8
    ),
}
REFERENCES = ("random", "constant", "expert")
"""Floors and bar: chance, the best action that never changes, the expert."""
PICTURE = configured(IMAGE_ENCODER, "conv", dim=64, width=16)
ENCODERS: dict[str, tuple[EncoderConfig, PositivesConfig | None]] = {
    "end to end": (EncoderConfig(dim=64, image=PICTURE), None),
    "random, frozen": (EncoderConfig(dim=64, image=PICTURE, frozen=True), None),
    "by augmentation, frozen": (EncoderConfig(dim=64, frozen=True), PositivesConfig()),
    "by time, frozen": (EncoderConfig(dim=64, frozen=True), PositivesConfig("temporal", 3)),
    "by time, fine-tuned": (EncoderConfig(dim=64), PositivesConfig("temporal", 3)),
}
"""How pictures are read, and what a pretrained one takes for the same picture."""
METHOD = configured(LEARNER, "vicreg")

CLONE = BCConfig(learning_starts=500, train_freq=64, gradient_steps=32, batch_size=64)
ADVISED = DAggerConfig(**vars(CLONE))
REWARDED = PPOConfig(n_steps=64, batch_size=128)
SMALL = RSSMConfig(deter=128, stoch=8, classes=8, units=96, depth=8)
FEW: Any = {"learning_starts": 500, "train_ratio": 24.0, "batch_size": 8, "sequence_length": 16}
"""Small batches: at 3,000 steps they allow 470 updates, each for a quarter of the usual price."""
DREAMING = DreamerConfig(model=SMALL, learning_rate=1e-3, warmup=20, imagination_last=8, **FEW)
SEARCH: Any = {"horizon": 8, "samples": 48, "iterations": 3}
PLANNING = MPCConfig(model=SMALL, n_action_steps=4, planner=configured(PLANNER, "cem", elites=8, **SEARCH), **FEW)
WEIGHING = replace(PLANNING, planner=configured(PLANNER, "mppi", elites=16, **SEARCH))
"""MPPI averages continuous actions, which roads alone have."""


@dataclass(frozen=True)
class Row:
    """One combination."""

    world: str
    encoder: str
    agent: Any

    @property
    def name(self) -> str:
        return f"{self.world}, {self.encoder}, {'-'.join(self.columns().values())}"

    def columns(self) -> dict[str, str]:
        """Model, planner and agent in words."""
        parts = {part: said(getattr(self.agent, part, None)) for part in ("model", "planner")}
        return {**parts, "agent": said(self.agent)}


def said(part: Any) -> str:
    """A choice by its name; a configuration by its kind."""
    if is_dataclass(part):
        return type(part).__name__.removesuffix("Config").removesuffix("Settings").lower()
    return "none" if part is None else str(part)


ROWS = (
    *(Row(world, encoder, ADVISED) for world in WORLDS for encoder in ENCODERS),
    *(Row(world, "end to end", agent) for world in WORLDS for agent in (CLONE, REWARDED)),
    *(Row(world, "by time, frozen", agent) for world in WORLDS for agent in (CLONE, REWARDED)),
    *(
        Row(world, encoder, agent)
        for world in WORLDS
        for encoder in ("end to end", "random, frozen", "by time, frozen")
        for agent in (DREAMING, PLANNING)
    ),
    Row("roads", "by time, frozen", WEIGHING),
)


@dataclass(frozen=True)
class Budget:
    """What each row may use; the same for all of a world."""

    steps: int = 3_000
    """Of training."""
    recorded: int = 16
    """Episodes to pretrain on."""
    updates: int = 300
    """Of pretraining."""
    batch: int = 128
    """Clips per update of pretraining."""
    episodes: int = 50
    """Of the judgement, on test levels."""


SMOKE = Budget(steps=48, recorded=2, updates=2, batch=8, episodes=2)


def measure(smoke: bool = False, out: Path = OUT) -> Line:
    """The table; with `smoke` every row in a few steps."""
    out, budget = (out / "smoke", SMOKE) if smoke else (out, Budget())
    out.mkdir(parents=True, exist_ok=True)

    def job(row: Row) -> Callable[[], Line]:
        return lambda: judged(row, budget, out)

    worlds = dict.fromkeys(row.world for row in ROWS)
    bars = ((f"{world}, {who}", partial(reference, world, who, budget)) for world in worlds for who in REFERENCES)
    rows = once(out / "matrix.jsonl", [*bars, *((row.name, job(row)) for row in ROWS)])
    print(
        f"{budget.steps:,} steps of training each, {budget.episodes} test levels; encoders pretrained for "
        f"{budget.updates:,} updates on {2 * budget.recorded} episodes of the expert and of random"
    )
    show(rows)
    picture = out / "matrix.png"
    matrix_plot.write(picture, rows)
    print(f"picture: {picture}")
    return {"rows": rows, "picture": str(picture), "budget": vars(budget), "hardware": hardware()}


def judged(row: Row, budget: Budget, out: Path) -> Line:
    """Train one combination, and judge it on test levels."""
    config = configuration(row, budget, out)
    run = out / "runs" / row.name.replace(", ", "-").replace(" ", "-")
    again = bool(list_steps(run / "checkpoints"))
    if not again:
        check(config, learns=True)
        run.mkdir(parents=True, exist_ok=True)
        write(config, run / runs.CONFIG, config_hash=config_hash(config))
    if train.carry_out(config, run, row.name, wanted=False, again=again):
        raise KeyboardInterrupt
    env = build.worlds(config.env, "test", 1, evaluation=True)
    agent = build.trained(config, runs.weights(run, "last"), env)
    env.close()
    found = scored(agent, row.world, budget)
    return {"world": row.world, "encoder": row.encoder, **row.columns(), **found, "config_hash": config_hash(config)}


def scored(agent: Agent, world: str, budget: Budget) -> Line:
    """An agent's score on test levels: the one that heads the world's reports."""
    name, better = next(iter(declared(WORLDS[world], "test").items()))
    value = interval(scores(play(agent, WORLDS[world], range(budget.episodes), "test"))[name])
    found = {"metric": name, "better": better, "score": value.value, "interval": [value.low, value.high]}
    return {**found, "episodes": budget.episodes}


def reference(world: str, who: str, budget: Budget) -> Line:
    """A floor or the bar of a world: they learn nothing."""
    env = build.worlds(WORLDS[world], "test", 1, evaluation=True)
    agent = best_constant(world, env) if who == "constant" else build.reference(who, env)
    env.close()
    parts = dict.fromkeys(("encoder", "model", "planner"), "none")
    return {"world": world, **parts, "agent": who, **scored(agent, world, budget)}


def best_constant(world: str, env: Any, episodes: int = 10) -> Constant:
    """The class that scores best on training levels; of continuous actions the middle of their range."""
    space = env.single_action_space
    if isinstance(space, spaces.Box):
        return Constant(env.single_observation_space, space, (space.low + space.high) / 2)
    tried = [Constant(env.single_observation_space, space, space.start + k) for k in range(space.n)]
    name, better = next(iter(declared_scores(env).items()))
    found = [scores(play(agent, WORLDS[world], range(episodes), "train"))[name] for agent in tried]
    return tried[int(np.argmax([SIGN[better] * np.mean(each) for each in found]))]


def configuration(row: Row, budget: Budget, out: Path) -> Config:
    """The run's configuration; its encoder pretrained in the same world where it asks for that."""
    encoder, positives = ENCODERS[row.encoder]
    if positives is not None:
        encoder = replace(encoder, pretrained=str(pretrained(row.world, positives, budget, out)))
    schedule = Schedule(steps=budget.steps, log_every=max(8, budget.steps // 20))
    judge = EvaluationConfig(episodes=budget.episodes, during=1, films=0)  # the last weights are judged, below
    return Config(WORLDS[row.world], row.agent, encoder, schedule, judge)


def pretrained(world: str, positives: PositivesConfig, budget: Budget, out: Path) -> Path:
    """A pretraining run on the world's recorded episodes, made once."""
    run = out / "encoders" / f"{world}-{positives.by}"
    again = (run / runs.CONFIG).exists()
    if again and list_steps(run / "checkpoints")[-1:] == [run / "checkpoints" / f"{budget.updates:09d}"]:
        return run
    training = FitConfig(steps=budget.updates, batch_size=budget.batch, precision="bfloat16", device="cpu")
    data = pretrain.DataConfig(str(recorded(world, budget.recorded, out)))
    config = pretrain.PretrainConfig(METHOD, data, PICTURE, positives, training)
    if not again:
        run.mkdir(parents=True, exist_ok=True)
        write(config, run / runs.CONFIG, config_hash=config_hash(config))
    if pretrain.carry_out(config, *pretrain.build(config), run, again=again):
        raise KeyboardInterrupt
    return run


def recorded(world: str, episodes: int, out: Path) -> Path:
    """Episodes of the expert and of random on training levels, recorded once."""
    folder = out / "episodes" / world
    if len(episode_files(folder)) >= 2 * episodes:
        return folder
    env = build.worlds(WORLDS[world], "train", min(8, episodes), evaluation=True)
    try:
        for number, who in enumerate(("expert", "random")):
            seeds = range(number * episodes, (number + 1) * episodes)
            spaces = (env.single_observation_space, env.single_action_space)
            writer = EpisodeWriter(folder, WORLDS[world].id, *spaces, agent=who)
            evaluate(build.reference(who, env), env, seeds, Keep(writer, Ticker(who, episodes)))
    finally:
        env.close()
    return folder


def show(rows: list[Line]) -> None:
    """One table."""
    heads = ("world", "encoder", "model", "planner", "agent")
    widths = {head: max(len(head), *(len(row[head]) for row in rows)) + 2 for head in heads}
    print("".join(f"{head:<{widths[head]}}" for head in heads) + f"{'score':>8}  95 % interval     CPU min")
    for row in rows:
        low, high = row["interval"]
        cells = "".join(f"{row[head]:<{widths[head]}}" for head in heads)
        print(f"{cells}{row['score']:>8.3f}  [{low:.3f}, {high:.3f}]  {row['cpu_minutes']:>8.1f}  {row['metric']}")

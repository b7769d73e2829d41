"""Combinations of encoder, world model, planner and agent on grids, in homes and on roads.

A combination is a `Config`: an environment, an encoder, and an agent's configuration with its own `model` and
`planner`. It is evaluated by the score that heads its environment's reports. Pretrained encoders learn from episodes
recorded in the same environment. Every combination is a line of `matrix.jsonl` as soon as it is done, and does not run
twice; an interrupted one is resumed.
"""

import sys
from collections.abc import Sequence
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
from embodia.agents.reinforcement.sb3.ppo import SB3PPOConfig
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
from embodia.scripts.assembly.provenance import config_hash
from embodia.scripts.assembly.self_supervision import PositivesConfig
from embodia.scripts.assembly.stored import write
from embodia.scripts.bench.harness.once import Line, minutes, once
from embodia.scripts.bench.harness.options import Matrix
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.matrix import matrix_plot
from embodia.scripts.commands import pretrain, train
from embodia.scripts.commands.collect import Keep
from embodia.scripts.commands.models.pretrain_config import DataConfig, PretrainConfig
from embodia.scripts.report.evaluation import Ticker, declared, play, scores

# Small images: a world model encodes and decodes each of them several times.
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
"""Non-learning baselines: a random agent, the best constant action, the expert."""
PICTURE = configured(IMAGE_ENCODER, "conv", dim=64, width=16)
ENCODERS: dict[str, tuple[EncoderConfig, PositivesConfig | None]] = {
    "end to end": (EncoderConfig(dim=64, image=PICTURE), None),
    "random, frozen": (EncoderConfig(dim=64, image=PICTURE, frozen=True), None),
    "by augmentation, frozen": (EncoderConfig(dim=64, frozen=True), PositivesConfig()),
    "by time, frozen": (EncoderConfig(dim=64, frozen=True), PositivesConfig("temporal", 3)),
    "by time, fine-tuned": (EncoderConfig(dim=64), PositivesConfig("temporal", 3)),
}
"""Encoders by name, with the positive pairs of those that are pretrained."""
METHOD = configured(LEARNER, "vicreg")

CLONE = BCConfig(learning_starts=500, train_freq=64, gradient_steps=32, batch_size=64)
ADVISED = DAggerConfig(**vars(CLONE))
REWARDED = SB3PPOConfig(n_steps=64, batch_size=128)
SMALL = RSSMConfig(deter=128, stoch=8, classes=8, units=96, depth=8)
FEW: Any = {"learning_starts": 500, "train_ratio": 24.0, "batch_size": 8, "sequence_length": 16}
"""Small batches: 470 updates in 3,000 steps, each at a quarter of the usual cost."""
DREAMING = DreamerConfig(model=SMALL, learning_rate=1e-3, warmup=20, imagination_last=8, **FEW)
SEARCH: Any = {"horizon": 8, "samples": 48, "iterations": 3}
PLANNING = MPCConfig(model=SMALL, n_action_steps=4, planner=configured(PLANNER, "cem", elites=8, **SEARCH), **FEW)
WEIGHING = replace(PLANNING, planner=configured(PLANNER, "mppi", elites=16, **SEARCH))
"""MPPI averages continuous actions, which only roads have."""


@dataclass(frozen=True)
class Combination:
    """One combination."""

    world: str
    encoder: str
    agent: Any

    @property
    def name(self) -> str:
        return f"{self.world}, {self.encoder}, {'-'.join(self.columns().values())}"

    @property
    def says(self) -> str:
        model, planner, agent = self.columns().values()
        return ", ".join([agent, self.encoder, *(part for part in (model, planner) if part != "none")])

    def columns(self) -> dict[str, str]:
        """Names of model, planner and agent."""
        parts = {part: said(getattr(self.agent, part, None)) for part in ("model", "planner")}
        return {**parts, "agent": said(self.agent)}


def said(part: Any) -> str:
    """Name of a choice, or of a configuration's class."""
    if is_dataclass(part):
        return type(part).__name__.removesuffix("Config").removesuffix("Settings").lower()
    return "none" if part is None else str(part)


COMBINATIONS = (
    *(Combination(world, encoder, ADVISED) for world in WORLDS for encoder in ENCODERS),
    *(Combination(world, "end to end", agent) for world in WORLDS for agent in (CLONE, REWARDED)),
    *(Combination(world, "by time, frozen", agent) for world in WORLDS for agent in (CLONE, REWARDED)),
    *(
        Combination(world, encoder, agent)
        for world in WORLDS
        for encoder in ("end to end", "random, frozen", "by time, frozen")
        for agent in (DREAMING, PLANNING)
    ),
    Combination("roads", "by time, frozen", WEIGHING),
)


@dataclass(frozen=True)
class Budget:
    """Budget of each combination, the same for all in an environment."""

    steps: int = 3_000
    """Training steps."""
    recorded: int = 16
    """Episodes to pretrain on, of the expert and of random each."""
    updates: int = 300
    """Updates of pretraining."""
    batch: int = 128
    """Clips per update of pretraining."""
    episodes: int = 50
    """Test levels of the evaluation."""


SMOKE = Budget(steps=48, recorded=2, updates=2, batch=8, episodes=2)


def measure(options: Matrix) -> list[Row]:
    """Train and evaluate every combination on every seed, and plot them."""
    out, budget = options.folder(), SMOKE if options.smoke else Budget()
    worlds = dict.fromkeys(each.world for each in COMBINATIONS)
    bars = [(f"{world}, {who}", partial(reference, world, who, budget)) for world in worlds for who in REFERENCES]
    baselines = once(out / "baselines.jsonl", bars)
    runs = []
    for seed in range(options.seeds):
        folder = out / f"seed{seed}"
        folder.mkdir(exist_ok=True)
        jobs = [(each.name, partial(judged, each, budget, folder, seed)) for each in COMBINATIONS]
        runs.append(once(folder / "matrix.jsonl", jobs))
    controls = [seeds_row([line], line["agent"]) for line in baselines]
    rows = [seeds_row(lines, f"{each.world}: {each.says}") for each, lines in zip(COMBINATIONS, zip(*runs))]
    figure = out / "matrix.png"
    matrix_plot.write(figure, [*baselines, *runs[0]], [*controls, *rows])
    print(f"figure: {figure}", file=sys.stderr)
    beside = {world: tuple(bar for bar, line in zip(controls, baselines) if line["world"] == world) for world in worlds}
    placed = [(each.world, replace(found, controls=beside[each.world])) for found, each in zip(rows, COMBINATIONS)]
    return [found for world in worlds for where, found in placed if where == world]


def seeds_row(lines: Sequence[Line], name: str) -> Row:
    """The score of one combination or baseline over all seeds."""
    return row(name, [line["values"] for line in lines], lines[0]["metric"], cpu_minutes=minutes(lines))


def judged(one: Combination, budget: Budget, out: Path, seed: int) -> Line:
    """Train one combination, and evaluate it on test levels."""
    config = configuration(one, budget, out, seed)
    run = out / "runs" / one.name.replace(", ", "-").replace(" ", "-")
    again = bool(list_steps(run / "checkpoints"))
    if not again:
        check(config, learns=True)
        run.mkdir(parents=True, exist_ok=True)
        write(config, run / runs.CONFIG, config_hash=config_hash(config))
    if train.carry_out(config, run, one.name, wanted=False, again=again):
        raise KeyboardInterrupt
    env = build.worlds(config.env, "test", 1, evaluation=True)
    agent = build.trained(config, runs.weights(run, "last"), env)
    env.close()
    found = scored(agent, one.world, budget)
    return {"world": one.world, "encoder": one.encoder, **one.columns(), **found, "config_hash": config_hash(config)}


def scored(agent: Agent, world: str, budget: Budget) -> Line:
    """The score that heads the environment's reports, of each test level."""
    name, better = next(iter(declared(WORLDS[world], "test")[0].items()))
    values = scores(play(agent, WORLDS[world], range(budget.episodes), "test"))[name]
    return {"metric": name, "better": better, "values": [float(value) for value in values]}


def reference(world: str, who: str, budget: Budget) -> Line:
    """The score of a non-learning baseline."""
    env = build.worlds(WORLDS[world], "test", 1, evaluation=True)
    agent = best_constant(world, env) if who == "constant" else build.reference(who, env)
    env.close()
    parts = dict.fromkeys(("encoder", "model", "planner"), "none")
    return {"world": world, **parts, "agent": who, **scored(agent, world, budget)}


def best_constant(world: str, env: Any, episodes: int = 10) -> Constant:
    """The discrete action that scores best on training levels, or the middle of the range of continuous actions."""
    space = env.single_action_space
    if isinstance(space, spaces.Box):
        return Constant(env.single_observation_space, space, (space.low + space.high) / 2)
    tried = [Constant(env.single_observation_space, space, space.start + k) for k in range(space.n)]
    name, better = next(iter(declared_scores(env).items()))
    found = [scores(play(agent, WORLDS[world], range(episodes), "train"))[name] for agent in tried]
    return tried[int(np.argmax([SIGN[better] * np.mean(each) for each in found]))]


def configuration(one: Combination, budget: Budget, out: Path, seed: int) -> Config:
    """The run's configuration. Its encoder is pretrained first, if it asks for that."""
    encoder, positives = ENCODERS[one.encoder]
    if positives is not None:
        encoder = replace(encoder, pretrained=str(pretrained(one.world, positives, budget, out)))
    schedule = Schedule(steps=budget.steps, seed=seed, log_every=max(8, budget.steps // 20))
    judge = EvaluationConfig(episodes=budget.episodes, during=1, films=0)  # `judged` evaluates the last weights
    return Config(WORLDS[one.world], one.agent, encoder, schedule, judge)


def pretrained(world: str, positives: PositivesConfig, budget: Budget, out: Path) -> Path:
    """The run folder of an encoder pretrained on recorded episodes; it is trained once."""
    run = out / "encoders" / f"{world}-{positives.by}"
    again = (run / runs.CONFIG).exists()
    if again and list_steps(run / "checkpoints")[-1:] == [run / "checkpoints" / f"{budget.updates:09d}"]:
        return run
    training = FitConfig(steps=budget.updates, batch_size=budget.batch, precision="bfloat16", device="cpu")
    data = DataConfig(str(recorded(world, budget.recorded, out)))
    config = PretrainConfig(METHOD, data, PICTURE, positives, training)
    if not again:
        run.mkdir(parents=True, exist_ok=True)
        write(config, run / runs.CONFIG, config_hash=config_hash(config))
    if pretrain.carry_out(config, *pretrain.build(config), run, again=again):
        raise KeyboardInterrupt
    return run


def recorded(world: str, episodes: int, out: Path) -> Path:
    """Record episodes of the expert and of random on training levels, once."""
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

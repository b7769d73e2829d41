"""Our PPO beside Stable-Baselines3's: steps per second, and what reward alone teaches in minutes."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from embodia.agents.reinforcement.ppo import PPO
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import advance, begin
from embodia.agents.training.rng import seed_all
from embodia.agents.training.scores import EpisodeScores
from embodia.scripts.assembly import build
from embodia.scripts.bench.harness.options import Ppo
from embodia.scripts.bench.harness.results import Row, row
from embodia.scripts.bench.harness.stopwatch import timing, timings
from embodia.scripts.bench.learning.presets import TINY, judged
from embodia.scripts.bench.speed.train import ENV, Side, in_turn, their_side
from embodia.scripts.presets.table import preset

EMPTY, DOORKEY = "fast-ppo-empty", "fast-ppo-doorkey"
ROLLOUTS = 6
TURNS = 3


def measure(options: Ppo) -> list[Row]:
    """Speed in turns with SB3's PPO on the same task, and trainings on several seeds."""
    out, flags = options.folder(), TINY if options.smoke else ()
    rows = speed(1 if options.smoke else ROLLOUTS)
    for name, label in ((EMPTY, "empty"), (DOORKEY, "doorkey reward only")):
        rows.append(learned(label, [judged(name, seed, out, flags) for seed in range(options.seeds)]))
    return rows


def speed(rollouts: int) -> list[Row]:
    """Training steps per second of both, learning included, one thread each, and the ratio of each pair."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours, theirs = our_side(), their_side()
        for side in (ours, theirs):
            side(1)  # not counted: kernels are loaded, caches fill
        print(f"PPO on {ENV.id}, in turns", file=sys.stderr)
        pairs = [in_turn(ours, theirs, rollouts, first=turn % 2) for turn in range(TURNS)]
    finally:
        torch.set_num_threads(threads)
    mine, plain = (timings(name, each, "steps") for name, each in zip(("speed", "Stable-Baselines3"), zip(*pairs)))
    ratio = timing("speed", [a.cpu / b.cpu for a, b in pairs], "times Stable-Baselines3's steps per CPU second")
    return [ratio, *(replace(own, controls=(control,)) for own, control in zip(mine, plain))]


def our_side() -> Side:
    """Return a function that runs a number of rollouts of the preset and returns the number of steps."""
    config = preset(EMPTY)
    seed_all(0)
    env = build.worlds(config.env, "train")
    agent: Any = build.agent(config, env)
    assert isinstance(agent, PPO)
    buffer, logger, now = agent.buffer(), Logger(console=False), begin(agent, env, 0)
    scores = EpisodeScores(env)

    def side(rollouts: int) -> int:
        before = now.step
        for _ in range(rollouts * agent.config.n_steps):
            advance(agent, env, buffer, logger, now, scores)
        return now.step - before

    return side


def learned(label: str, reports: Sequence[dict[str, Any]]) -> Row:
    """Success of the trained agents on test levels, beside random and the expert, with the CPU minutes of training."""
    minutes = [report["cpu_minutes"] for report in reports]
    others = [name for name, scores in reports[0]["scores"].items() if name != "agent" and "success" in scores]
    controls = [row(name, [[each[f"{name} success"] for each in reports[0]["episodes"]]], "success") for name in others]
    controls.append(row("CPU minutes a seed", [[each] for each in minutes], "CPU minutes a seed"))
    values = [[episode["success"] for episode in report["episodes"]] for report in reports]
    return row(label, values, "success", controls=controls, cpu_minutes=round(sum(minutes), 2))

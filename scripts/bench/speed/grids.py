"""Grids: steps per second of 1,024 worlds with random actions, beside minigrid in the same process."""

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from embodia.envs.vector import make
from embodia.scripts.bench.harness.options import Grids
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import Rate, rate, timing, timings

TASKS = {"empty": "MiniGrid-Empty-8x8-v0", "doorkey": "MiniGrid-DoorKey-8x8-v0"}
XLAND_TASKS = {"empty": "MiniGrid-Empty-8x8", "doorkey": "MiniGrid-DoorKey-8x8"}
PUBLISHED = {"empty": 235_000.0, "doorkey": 145_000.0}
"""Steps per CPU second of XLand-MiniGrid with 1,024 environments, measured earlier on two cores of 2.5 GHz."""
WORLDS, ALONE = 1024, 4_000
TIMES = "times minigrid's steps per CPU second"


def measure(options: Grids) -> list[Row]:
    """Levels of a pool, then a new level in every episode; native and official engine in turns."""
    rows: list[Row] = []
    for name, task in TASKS.items():
        worlds, episodes, alone = (16, 0, 50) if options.smoke else (WORLDS, 4, ALONE)
        levels = 50 if options.smoke else options.levels
        xland = peer(name, options) if options.xland and not options.smoke else None
        print(f"{name}, {levels:,} levels", file=sys.stderr)
        pooled = make(f"embodia:embodia/{task}", worlds, levels=levels, level_workers=options.workers)
        rows += compare(f"{name} {WORLDS}", pooled, task, episodes, alone, options.seeds, xland or [published(name)])
        print(f"{name}, new levels", file=sys.stderr)
        new = make(f"embodia:embodia/{task}", worlds)
        share = Share(new)
        rows += compare(f"{name} {WORLDS}, new levels", new, task, min(episodes, 1), alone, options.seeds, [])
        rows.append(timing(f"{name} {WORLDS}, new levels", [share.spent()], "share of time in minigrid's generator"))
    return rows


def compare(
    name: str, envs: Any, task: str, episodes: int, alone: int, repetitions: int, others: Sequence[Row]
) -> list[Row]:
    """The ratio of each pair of measurements, and the steps per second of both sides."""
    official = gym.make(task).unwrapped
    batch(envs, 0)  # not counted: kernels compile
    pairs = [(rate(lambda: batch(envs, episodes)), rate(lambda: single(official, alone))) for _ in range(repetitions)]
    ours, theirs = zip(*pairs)
    plain = spelled("minigrid", theirs)
    ratio = timing(name, [a.cpu / b.cpu for a, b in pairs], TIMES)
    rows = [ratio, *spelled(name, ours)]
    controls = [*plain, *others]
    return [replace(row, controls=tuple(each for each in controls if each.unit == row.unit)) for row in rows]


def spelled(name: str, rates: Sequence[Rate]) -> list[Row]:
    wall, cpu = timings(name, rates, "steps")
    return [replace(wall, unit="steps_per_s"), cpu]


def batch(envs: Any, episodes: int) -> int:
    """Random play over so many whole time limits, with the resets that follow; a few steps for none. Returns steps."""
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    count = episodes * (int(envs.worlds.max_steps.max()) + 1) or 5
    actions = rng.integers(envs.single_action_space.n, size=(count, envs.num_envs))
    for each in actions:
        envs.step(each)
    return int(actions.size)


def single(env: Any, count: int) -> int:
    """Random play of minigrid's own environment, with its resets. Returns steps."""
    env.reset(seed=0)
    for action in np.random.default_rng(0).integers(env.action_space.n, size=count).tolist():
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return count


class Share:
    """Measures how much of a batch's CPU time minigrid's generator takes."""

    def __init__(self, envs: Any):
        self.inside, self.began = 0.0, time.process_time()
        envs.source.get = self.timed(envs.source.get)

    def timed(self, get: Callable[..., Any]) -> Callable[..., Any]:
        def counted(seeds: Sequence[int]) -> Any:
            start = time.process_time()
            try:
                return get(seeds)
            finally:
                self.inside += time.process_time() - start

        return counted

    def spent(self) -> float:
        return self.inside / (time.process_time() - self.began)


def published(name: str) -> Row:
    """XLand-MiniGrid's earlier figure, where it is not measured."""
    value = PUBLISHED[name]
    return Row("xland (earlier figure)", value, value, value, 1, None, None, (), "steps per CPU second")


def peer(name: str, options: Grids) -> list[Row]:
    """Measure XLand-MiniGrid in an environment of its own; its earlier figure if that cannot be made."""
    try:
        python = installed(options.folder() / "xland")
        script = Path(__file__).with_name("xland.py")
        asked = [str(python), str(script), XLAND_TASKS[name], str(WORLDS), str(options.seeds)]
        answer = subprocess.run(asked, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        print(f"XLand-MiniGrid cannot be measured ({said.strip().splitlines()[-1]})", file=sys.stderr)
        return [published(name)]
    return spelled("xland", [Rate(*each) for each in json.loads(answer.stdout.splitlines()[-1])])


def installed(folder: Path) -> Path:
    """Return the interpreter of an environment with XLand-MiniGrid and jax, which is made if it does not exist."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "xminigrid", "jax"], capture_output=True, text=True, check=True
        )
        ready.touch()
    return python

"""Our loop against Stable-Baselines3's own `learn`, the same PPO in the same worlds with the same network."""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import gymnasium as gym
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3 import PPO as PlainPPO
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from embodia.agents.reinforcement.sb3.ppo import PPO, PPOConfig
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Progress, advance, begin
from embodia.agents.training.rng import seed_all
from embodia.agents.training.scores import EpisodeScores
from embodia.perception import Encoder, Obs
from embodia.scripts.assembly import build
from embodia.scripts.assembly.environments import EnvConfig, known_id
from embodia.scripts.assembly.provenance import hardware
from embodia.scripts.bench.harness.stopwatch import Rate, middle, rate, remark

ENV = EnvConfig("embodia/MiniGrid-Empty-8x8-v0", num_envs=8)
SETTINGS = PPOConfig(device="cpu")
ROLLOUTS = 4
"""Per measurement."""


Side = Callable[[int], int]


class Flat(Encoder):
    """What SB3's MultiInputPolicy reads: every key flat, classes one-hot; so the two networks are equal."""

    def __init__(self, space: spaces.Dict):
        super().__init__(space)
        self.keys, self.num_tokens = tuple(space.spaces), 1
        self.dim = spaces.flatdim(space)

    def forward(self, obs: Obs) -> Tensor:
        parts = [self.part(key, obs[key]) for key in self.keys]
        return torch.cat(parts, -1)[..., None, :]

    def part(self, key: str, value: Tensor) -> Tensor:
        space = self.space[key]
        if isinstance(space, spaces.Discrete):
            return F.one_hot(value.long(), int(space.n)).float()
        return value.flatten(-len(space.shape or ())).float()


def measure(repeats: int) -> dict[str, Any]:
    """Steps per second of both sides, in turns; the ratio of each pair, and their median."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours, theirs = our_side(), their_side()
        steps = ROLLOUTS * SETTINGS.n_steps * ENV.num_envs
        for side in (ours, theirs):
            side(1)  # warm
        pairs = [in_turn(ours, theirs, first=i % 2) for i in range(repeats)]
    finally:
        torch.set_num_threads(threads)
    mine, plain = middle([a for a, _ in pairs]), middle([b for _, b in pairs])
    wall, cpu = ([a[clock] / b[clock] for a, b in pairs] for clock in (0, 1))
    print(f"PPO on {ENV.id}, {ENV.num_envs} worlds, one thread, {repeats} x {steps:,} steps of each, in turns")
    print(f"  {'':11} {'steps/s':>9} {'per CPU second':>16}")
    print(f"  {'embodia':11} {mine.wall:9,.0f} {mine.cpu:16,.0f}")
    print(f"  {'plain SB3':11} {plain.wall:9,.0f} {plain.cpu:16,.0f}")
    print(f"  {'ratio':11} {median(wall):9.3f} {median(cpu):16.3f}   (pairs from {min(cpu):.3f} to {max(cpu):.3f})")
    return {
        "ratio_to_sb3": median(wall),
        "ratio_to_sb3_cpu": median(cpu),
        "ratios": wall,
        "ratios_cpu": cpu,
        "steps_per_second": mine.wall,
        "sb3_steps_per_second": plain.wall,
        "bar": 0.95,
        **remark(mine),
        "hardware": hardware(),
    }


def in_turn(ours: Side, theirs: Side, first: int) -> tuple[Rate, Rate]:
    """Both sides one after the other; `first` says which begins."""
    measured = {i: rate(partial((ours, theirs)[i], ROLLOUTS)) for i in (first, 1 - first)}
    return measured[0], measured[1]


def our_side() -> Side:
    """Carries out so many rollouts; gives the steps."""
    seed_all(0)
    env = build.worlds(ENV, "train")
    agent = PPO(Flat(env.single_observation_space), env.single_action_space, SETTINGS)
    buffer, logger = agent.buffer(), Logger(console=False)
    now: Progress = begin(agent, env, 0)
    scores = EpisodeScores(env)

    def side(rollouts: int) -> int:
        before = now.step
        for _ in range(rollouts * SETTINGS.n_steps):
            advance(agent, env, buffer, logger, now, scores)
        return now.step - before

    return side


def their_side() -> Side:
    """The same by `stable_baselines3.PPO.learn`."""
    c = SETTINGS
    makers: list[Callable[[], gym.Env]] = [partial(gym.make, known_id(ENV.id), disable_env_checker=True)] * ENV.num_envs
    model = PlainPPO(
        "MultiInputPolicy",
        DummyVecEnv(makers),
        c.learning_rate,
        c.n_steps,
        c.batch_size,
        c.n_epochs,
        c.gamma,
        c.gae_lambda,
        c.clip_range,
        ent_coef=c.ent_coef,
        vf_coef=c.vf_coef,
        max_grad_norm=c.max_grad_norm,
        policy_kwargs={"net_arch": list(c.hidden)},
        device="cpu",
        seed=0,
    )

    def side(rollouts: int) -> int:
        steps = rollouts * c.n_steps * ENV.num_envs
        model.learn(steps, reset_num_timesteps=False)
        return steps

    return side

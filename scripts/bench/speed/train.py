"""embodia's training loop against Stable-Baselines3's `learn`: same PPO, same environments, same network."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import gymnasium as gym
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3 import PPO as PlainPPO
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from embodia.agents.reinforcement.sb3.ppo import SB3PPO, SB3PPOConfig
from embodia.agents.training.logger import Logger
from embodia.agents.training.loop import Progress, advance, begin
from embodia.agents.training.rng import seed_all
from embodia.agents.training.scores import EpisodeScores
from embodia.perception import Encoder, Obs
from embodia.scripts.assembly import build
from embodia.scripts.assembly.environments import EnvConfig, known_id
from embodia.scripts.bench.harness.options import Train
from embodia.scripts.bench.harness.results import Row
from embodia.scripts.bench.harness.stopwatch import Rate, rate, timing, timings

ENV = EnvConfig("embodia/MiniGrid-Empty-8x8-v0", num_envs=8)
SETTINGS = SB3PPOConfig(device="cpu")
ROLLOUTS = 4
"""Number of rollouts per measurement."""
Side = Callable[[int], int]


class Flat(Encoder):
    """The features of SB3's MultiInputPolicy (every key flat, classes one-hot), so that both networks are equal."""

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


def measure(options: Train) -> list[Row]:
    """Time both sides in turns: the ratio of each pair, and steps per second of each side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sides = our_side(), their_side()
        for side in sides:
            side(1)  # not counted: caches fill
        rollouts = 1 if options.smoke else ROLLOUTS
        pairs = [in_turn(*sides, rollouts, first=i % 2) for i in range(options.seeds)]
    finally:
        torch.set_num_threads(threads)
    ours, theirs = zip(*pairs)
    mine, plain = timings("embodia", ours, "steps"), timings("Stable-Baselines3", theirs, "steps")
    return [
        timing("embodia", [a.wall / b.wall for a, b in pairs], "times Stable-Baselines3's steps/s"),
        timing("embodia", [a.cpu / b.cpu for a, b in pairs], "by CPU time"),
        *(replace(row, controls=(control,)) for row, control in zip(mine, plain)),
    ]


def in_turn(ours: Side, theirs: Side, rollouts: int, first: int) -> tuple[Rate, Rate]:
    """Time both sides one after the other; side `first` begins."""
    measured = {i: rate(partial((ours, theirs)[i], rollouts)) for i in (first, 1 - first)}
    return measured[0], measured[1]


def our_side() -> Side:
    """Return a function that runs a number of rollouts and returns the number of steps."""
    seed_all(0)
    env = build.worlds(ENV, "train")
    agent = SB3PPO(Flat(env.single_observation_space), env.single_action_space, SETTINGS)
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
    """Return the same function for `stable_baselines3.PPO.learn`."""
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

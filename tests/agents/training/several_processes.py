"""Small trainings, the same in one process and in several.

torchrun --nproc-per-node 2 -m embodia.tests.agents.training.several_processes FOLDER FOLDER-OF-ONE-PROCESS
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from embodia.agents.imitation.bc import BC, BCConfig
from embodia.agents.imitation.dagger import DAgger, DAggerConfig
from embodia.agents.reinforcement.dreamer import Dreamer, DreamerConfig
from embodia.agents.reinforcement.ppo import PPO, PPOConfig
from embodia.agents.training import distributed
from embodia.agents.training.fit import FitConfig, fit
from embodia.agents.training.loop import Schedule, train
from embodia.agents.training.random_batches import RandomBatches
from embodia.agents.training.rng import seed_all
from embodia.envs.vector import SyncVector
from embodia.perception.encoders.conv_net import ConvNet
from embodia.perception.encoders.mlp import MLPEncoder
from embodia.perception.pictures.shapes10 import SPACE, shapes10
from embodia.perception.self_supervision.barlow_twins import BarlowTwins
from embodia.perception.self_supervision.byol import BYOL
from embodia.perception.self_supervision.dino import DINO, DINOConfig
from embodia.perception.self_supervision.simclr import SimCLR
from embodia.perception.self_supervision.vicreg import VICReg
from embodia.planners.models.rssm import RSSMConfig
from embodia.tests.fakes import IdentityEnv

WORLDS = 4
CPU = {"device": "cpu"}
SMALL = RSSMConfig(deter=16, stoch=4, classes=4, units=16, blocks=4, free_nats=0.1)


class Task(IdentityEnv):
    """Episodes of different lengths, with an expert and snapshots."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.length = int(self.np_random.integers(3, 9))
        return obs, info

    def expert_action(self):
        return self.target

    def get_state(self):
        return {"rng": self.np_random.bit_generator.state, "now": (self.target, self.steps, self.length)}

    def set_state(self, state):
        self.np_random.bit_generator.state = state["rng"]
        self.target, self.steps, self.length = state["now"]
        return (
            {"shown": np.eye(self.n, dtype=np.float32)[self.target]} if not self.continuous else {"shown": self.target}
        )


def worlds(**kwargs):
    return SyncVector([lambda: Task(**kwargs)] * distributed.share("worlds", WORLDS))


def encoder_of(env):
    return MLPEncoder(env.single_observation_space, hidden=(), dim=8)


def ppo(env, **kwargs):
    config = PPOConfig(n_steps=16, batch_size=24, n_epochs=2, hidden=(16,), learning_rate=3e-3, **kwargs, **CPU)
    return PPO(encoder_of(env), env.single_action_space, config)


def clone(env, kind, config, **kwargs):
    settings = {"hidden": (16,), "batch_size": 16, "learning_starts": 40, "train_freq": 8, "gradient_steps": 6}
    return kind(encoder_of(env), env.single_action_space, config(**settings, **kwargs, **CPU))


def dreamer(env):
    config = DreamerConfig(model=SMALL, batch_size=4, sequence_length=8, learning_starts=40, train_ratio=8,
                           imagination_horizon=4, warmup=2, **CPU)  # fmt: skip
    return Dreamer(env.single_observation_space, env.single_action_space, encoder_of(env), config)


AGENTS = {
    "ppo": (ppo, {}),
    "ppo memory": (lambda env: ppo(env, memory=8), {}),
    "ppo continuous": (lambda env: ppo(env, target_kl=0.02), {"continuous": True}),
    "bc": (lambda env: clone(env, BC, BCConfig), {"continuous": True}),
    "dagger": (lambda env: clone(env, DAgger, DAggerConfig, memory=8, sequence_length=4, beta=0.5), {}),
    "dreamer": (dreamer, {}),
    "dreamer continuous": (dreamer, {"continuous": True}),
}


class Line(nn.Module):
    """Fits a plane with noise, dropout and batch norm, so that the result depends on the whole batch."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16, bias=False), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 1))

    def loss(self, batch):
        loss = F.mse_loss(self.net(batch["x"] + 0.01 * torch.randn_like(batch["x"])), batch["y"])
        return loss, {"twice": 2 * loss}


def pairs(generator, n):
    x = generator.normal(size=(n, 3)).astype(np.float32)
    return {"x": x, "y": x.sum(1, keepdims=True)}


def pictures(generator, n):
    return {"obs": {"image": shapes10(n, int(generator.integers(2**31)))[0]}}


def net():
    return ConvNet(SPACE, (8, 16), (2, 2))


def dino():
    return DINO(net(), config=DINOConfig(prototypes=32, hidden=16, bottleneck=8, centring="sinkhorn"))


LEARNERS = {
    "line": (Line, pairs),
    "vicreg": (lambda: VICReg(net(), widths=(16, 16)), pictures),
    "barlow twins": (lambda: BarlowTwins(net(), widths=(16, 16)), pictures),
    "simclr": (lambda: SimCLR(net(), widths=(16, 16)), pictures),
    "byol": (lambda: BYOL(net(), widths=(16, 16), hidden=16), pictures),
    "dino": (dino, pictures),
}


def learn(name, folder, steps=None, resume=False):
    """Train one of AGENTS or LEARNERS into `folder / name`."""
    if name in AGENTS:
        make, options = AGENTS[name]
        env = worlds(**options)
        seed_all(0)
        schedule = Schedule(steps or 160, log_every=4 if "dreamer" in name else 40, eval_every=100)
        return train(make(env), env, schedule, folder / name, evaluate=lambda: {"success": 0.5}, resume=resume)
    make, draw = LEARNERS[name]
    seed_all(0)
    config = FitConfig(steps=steps or 4, batch_size=12, schedule="constant", warmup=2, log_every=1, keep=9, **CPU)
    return fit(make(), RandomBatches(draw, 0), config, folder / name, evaluate=lambda: {"score": 0.5}, resume=resume)


HALF = {"ppo": 80, "dagger": 80, "dreamer": 80, "line": 2, "byol": 2}


def main(folder, of_one):
    """Train everything; stop some half-way and resume them; resume what one process has stopped half-way."""
    distributed.start()
    for name in (*AGENTS, *LEARNERS):
        learn(name, folder / "whole")
    for name, steps in HALF.items():
        learn(name, folder / "half", steps)
    distributed.by_leader(lambda: shutil.copytree(folder / "half", folder / "handed over"))
    for name in HALF:
        learn(name, folder / "half", resume=True)
        if name in LEARNERS:
            learn(name, of_one / "half", resume=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

"""Deep Q-learning (Mnih et al. 2015), with double Q-learning (van Hasselt et al. 2016)."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Agent, Array, Batch, Carry, Mode, Numbers, Pieces
from embodia.agents.policy import PolicyModule
from embodia.agents.training.buffers.replay import ReplayBuffer
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import to_torch
from embodia.agents.training.weights import load_weights, save_weights
from embodia.perception import Encoder, Obs
from embodia.planners.trees import index


@dataclass(frozen=True)
class DQNConfig:
    """Deep Q-learning (Mnih et al. 2015) with double Q-learning (van Hasselt et al. 2016)."""

    seed: int = 0
    """Random seed of replay and exploration; the weights depend on the run's seed."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers between encoder and Q-values."""
    double: bool = True
    """Let the online network choose the next action and the target network value it."""
    learning_rate: float = 5e-4
    """Adam's learning rate."""
    buffer_size: int = 100_000
    """Replay capacity in rows, over all environments."""
    learning_starts: int = 1_000
    """Transitions collected before the first update."""
    batch_size: int = 256
    """Transitions per update."""
    train_freq: int = 4
    """Steps of every environment between two rounds of updates."""
    gradient_steps: int = 1
    """Updates per round."""
    gamma: float = 0.99
    """Discount factor."""
    tau: float = 0.005
    """Soft-update coefficient of the target network, after every update."""
    exploration_rows: int = 10_000
    """Rows (over all environments) over which epsilon falls from 1 to `exploration_final_eps`."""
    exploration_final_eps: float = 0.05
    """Final epsilon: the probability of a random action."""
    max_grad_norm: float = 10.0
    """Maximum gradient norm (gradients are clipped to it)."""


class QNetwork(nn.Module):
    """Encoder and hidden layers: observations (*B, ...) -> Q-values (*B, actions)."""

    def __init__(self, encoder: Encoder, actions: int, hidden: tuple[int, ...]):
        super().__init__()
        self.encoder = encoder
        widths = [encoder.num_tokens * encoder.dim, *hidden]
        layers = [each for a, b in pairwise(widths) for each in (nn.Linear(a, b), nn.ReLU())]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], actions))

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return self.net(self.encoder(obs).flatten(-2))


class HighestValue(PolicyModule):
    """The policy in evaluation, for export: the action with the highest Q-value."""

    def __init__(self, online: nn.Module, keys: Sequence[str], start: int):
        super().__init__(keys)
        self.online, self.start = online, start

    def forward(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Carry]:
        return self.online(obs).argmax(-1) + self.start, carry


class DQN(Agent):
    """Deep Q-learning with a replay buffer, a slowly moving target network and epsilon-greedy exploration.

    Args:
        encoder: reads the observations; its `space` is the agent's observation space. The target network has a copy.
        action_space: Discrete.
        config: hyperparameters.

    Raises:
        ValueError: if the action space is not Discrete.
    """

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: DQNConfig | None = None):
        if not isinstance(action_space, spaces.Discrete):
            raise ValueError(f"DQN supports Discrete action spaces, not {action_space}")
        self.config = c = config or DQNConfig()
        self.observation_space, self.action_space = encoder.space, action_space
        self.start = int(action_space.start)
        self.device = choose_device(c.device)
        online = QNetwork(encoder, int(action_space.n), c.hidden)
        target = copy.deepcopy(online).requires_grad_(False)
        self.nets = nn.ModuleDict({"online": online, "target": target}).to(self.device)
        self.online, self.target = online, target
        self.optimizer = torch.optim.Adam(online.parameters(), c.learning_rate, fused=True)
        self.rng = np.random.default_rng(c.seed)
        self.rows = 0  # acted on in training, over all environments

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The action with the highest Q-value; in training, epsilon-greedy for each environment."""
        q = self.online(to_torch({key: obs[key] for key in self.keys}, self.device)).cpu().numpy()
        action = q.argmax(1)
        if mode == "train":
            explores = self.rng.random(len(first)) < self.exploration()
            action = np.where(explores, self.rng.integers(q.shape[1], size=len(first)), action)
            self.rows += len(first)
        return (action + self.start).astype(self.action_space.dtype), carry, {}

    def policy_module(self) -> PolicyModule:
        return HighestValue(self.online, self.keys, self.start)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.online.encoder.keys)

    def exploration(self) -> float:
        """The current epsilon: the probability of a random action."""
        final = self.config.exploration_final_eps
        return max(final, 1 - (1 - final) * self.rows / max(self.config.exploration_rows, 1))

    def buffer(self) -> ReplayBuffer:
        c = self.config
        return ReplayBuffer(
            c.buffer_size,
            c.batch_size,
            keys=self.keys,
            learning_starts=c.learning_starts,
            every=c.train_freq,
            updates=c.gradient_steps,
            seed=c.seed,
        )

    def offline(self) -> Pieces:
        """Pairs of rows. There is no correction for the values of actions that were not recorded."""
        return Pieces(self.config.batch_size, 2, crossing=True, keys=self.keys)

    def update(self, batch: Batch) -> Numbers:
        """One step on a batch of transitions, or of recorded pairs of rows (2, B, ...)."""
        if "next_obs" not in batch:
            batch = transitions(batch)
        rows = to_torch({key: batch[key] for key in ("obs", "next_obs", "action", "reward", "terminal")}, self.device)
        online, target = self.online, self.target
        q = online(rows["obs"]).gather(1, rows["action"].long()[:, None] - self.start)[:, 0]
        with torch.no_grad():
            following = target(rows["next_obs"])
            choice = (online(rows["next_obs"]) if self.config.double else following).argmax(1, keepdim=True)
            promised = following.gather(1, choice)[:, 0]
            wanted = rows["reward"] + self.config.gamma * torch.where(rows["terminal"].bool(), 0.0, promised)
        loss = F.smooth_l1_loss(q, wanted)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(online.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.move_target()
        return {"loss": loss.detach(), "q": q.detach().mean(), "exploration": self.exploration()}

    @torch.no_grad()
    def move_target(self) -> None:
        for slow, fast in zip(self.target.parameters(), self.online.parameters()):
            slow.lerp_(fast, self.config.tau)
        for running, newest in zip(self.target.buffers(), self.online.buffers()):
            running.copy_(newest)

    def save(self, folder: Path) -> None:
        save_weights(self.nets, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.nets, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "rows": self.rows,
            "rng": self.rng.bit_generator.state,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.rows, self.rng.bit_generator.state = state["rows"], state["rng"]


def transitions(rows: Batch) -> Batch:
    """Pairs of rows (2, B, ...) as transitions, without pairs that span two episodes."""
    now, then = (index(rows, (t, ~rows["last"][0])) for t in (0, 1))
    return {**now, "reward": then["reward"], "terminal": then["terminal"], "next_obs": then["obs"]}

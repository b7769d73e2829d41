"""Deep Q-learning (Mnih et al. 2015) by Stable-Baselines3."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer as SB3ReplayBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork

from embodia.agents import Array, Batch, Carry, Mode, Numbers, Pieces
from embodia.agents.policy import PolicyModule
from embodia.agents.reinforcement.dqn import HighestValue
from embodia.agents.reinforcement.sb3.agent import SB3Agent
from embodia.agents.reinforcement.sb3.networks import RawObservations
from embodia.agents.training.buffers.replay import ReplayBuffer
from embodia.agents.training.rows import to_torch
from embodia.perception import Encoder
from embodia.planners.trees import index


@dataclass(frozen=True)
class SB3DQNConfig:
    """Deep Q-learning (Mnih et al. 2015) by Stable-Baselines3."""

    seed: int = 0
    """Random seed of replay and exploration; the weights depend on the run's seed (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers between encoder and Q-values."""
    learning_rate: float = 1e-4
    """Adam's learning rate."""
    anneal_rows: int = 0
    """Rows (over all environments) over which the learning rate falls to 0; 0 keeps it constant."""
    buffer_size: int = 100_000
    """Replay capacity in rows, over all environments."""
    learning_starts: int = 1_000
    """Transitions collected before the first update."""
    batch_size: int = 64
    """Transitions per update."""
    train_freq: int = 4
    """Steps of every environment between two rounds of updates."""
    gradient_steps: int = 1
    """Updates per round."""
    gamma: float = 0.99
    """Discount factor."""
    tau: float = 1.0
    """Soft-update coefficient of the target network; 1 copies the weights."""
    target_update_interval: int = 1_000
    """Rows (over all environments) between two updates of the target network."""
    exploration_rows: int = 10_000
    """Rows (over all environments) over which epsilon falls from 1 to `exploration_final_eps`."""
    exploration_final_eps: float = 0.05
    """Final epsilon: the probability of a random action."""
    max_grad_norm: float = 10.0
    """Maximum gradient norm (gradients are clipped to it)."""


class RawQNetwork(QNetwork, RawObservations):
    """Q-network on an encoder's features."""


class Policy(DQNPolicy):
    """Online and target Q-networks."""

    def make_q_net(self) -> QNetwork:
        return RawQNetwork(**self._update_features_extractor(self.net_args)).to(self.device)

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """A separate encoder for each of the two networks, with equal weights."""
        return copy.deepcopy(super().make_features_extractor())


class NoReplay(SB3ReplayBuffer):
    """An empty replay buffer: SB3 allocates one on construction; `update` replaces it by `Transitions`."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass


class SB3DQN(SB3Agent):
    """Deep Q-learning by Stable-Baselines3.

    Args:
        encoder: reads the observations; its `space` is the agent's observation space. The target network has a copy.
        action_space: Discrete.
        config: hyperparameters.
    """

    supported = (spaces.Discrete,)
    action_space: spaces.Discrete
    former_names = ("DQN",)

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: SB3DQNConfig | None = None):
        super().__init__(encoder, action_space, config or SB3DQNConfig())

    def _algorithm(self, **shared: Any) -> stable_baselines3.DQN:
        c = self.config
        return stable_baselines3.DQN(
            Policy,
            tau=c.tau,
            gamma=c.gamma,
            max_grad_norm=c.max_grad_norm,
            replay_buffer_class=NoReplay,
            **shared,
        )

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The action with the highest Q-value; in training, epsilon-greedy for each environment."""
        greedy = self.policy._predict(self._see(obs), deterministic=True).cpu().numpy()
        action = (greedy + self.action_space.start).astype(self.action_space.dtype)
        if mode == "eval":
            return action, carry, {}
        n = len(first)
        explores = self.rng.random(n) < self.exploration()
        drawn = self.action_space.start + self.rng.integers(self.action_space.n, size=n)
        self._count(n)
        return np.where(explores, drawn, action).astype(self.action_space.dtype), carry, {}

    def policy_module(self) -> PolicyModule:
        return HighestValue(self.model.q_net, self.encoder_keys, int(self.action_space.start))

    def exploration(self) -> float:
        """The current epsilon: the probability of a random action."""
        final = self.config.exploration_final_eps
        return max(final, 1 - (1 - final) * self.rows / max(self.config.exploration_rows, 1))

    @torch.no_grad()
    def _count(self, rows: int) -> None:
        """Count rows acted on (or learned from, offline) and update the target network when it is due."""
        before, self.rows = self.rows, self.rows + rows
        if self.rows // self.config.target_update_interval > before // self.config.target_update_interval:
            self._move_target()

    def _move_target(self) -> None:
        online, target = self.model.q_net, self.model.q_net_target
        for ours, theirs in zip(online.parameters(), target.parameters()):
            theirs.lerp_(ours, self.config.tau)
        for ours, theirs in zip(online.buffers(), target.buffers()):  # running statistics are copied
            theirs.copy_(ours)

    def buffer(self) -> ReplayBuffer:
        c = self.config
        return ReplayBuffer(
            c.buffer_size,
            c.batch_size,
            keys=self.encoder_keys,
            learning_starts=c.learning_starts,
            every=c.train_freq,
            updates=c.gradient_steps,
            seed=c.seed,
        )

    def offline(self) -> Pieces:
        """Pairs of rows. There is no correction for the values of actions that were not recorded."""
        return Pieces(self.config.batch_size, 2, crossing=True, keys=self.encoder_keys)

    def update(self, batch: Batch) -> Numbers:
        """One gradient step of SB3's `train()` on a batch of transitions, or of recorded pairs of rows (2, B, ...)."""
        if "next_obs" not in batch:
            batch = self._transitions(batch)
        self.model.replay_buffer = Transitions(batch, self.device, self.action_space.start)
        return {**self._learn(1, len(batch["reward"])), "train/exploration": self.exploration()}

    def _transitions(self, rows: Batch) -> Batch:
        """Pairs of rows as transitions, without pairs that span two episodes."""
        now, then = (index(rows, (t, ~rows["last"][0])) for t in (0, 1))
        self._count(len(now["reward"]))
        return {**now, "reward": then["reward"], "terminal": then["terminal"], "next_obs": then["obs"]}


class Transitions:
    """A batch with the interface that SB3's `train()` expects of a replay buffer."""

    def __init__(self, batch: Batch, device: torch.device, start: Any):
        action = np.asarray(batch["action"] - start)[:, None]
        self.samples = DictReplayBufferSamples(
            observations=to_torch(batch["obs"], device),
            actions=to_torch(action, device),
            next_observations=to_torch(batch["next_obs"], device),
            dones=to_torch(batch["terminal"][:, None].astype(np.float32), device),
            rewards=to_torch(batch["reward"][:, None], device),
        )

    def sample(self, batch_size: int, env: Any = None) -> DictReplayBufferSamples:
        return self.samples

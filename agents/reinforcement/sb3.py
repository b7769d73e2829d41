"""Stable-Baselines3's PPO, A2C and DQN as agents like any other: our loop steps the worlds, SB3's `train()` learns.

What SB3 sees differs from its own loop in three points. Observations are read by an `Encoder`. A row that is last
opens no transition, so it is never in a minibatch, and a truncated episode is bootstrapped from its own last
observation (SB3 gets there with an extra forward pass). The row on which an update falls was acted by the policy
before it; the stored log-probability is that policy's, as PPO's ratio needs it.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, DictRolloutBufferSamples
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from embodia.agents import Agent, Array, Batch, Carry, Mode
from embodia.agents.training.buffers import ReplayBuffer, RolloutBuffer
from embodia.agents.training.checkpoint import load_weights, save_weights
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import index, to_torch, tree_map
from embodia.perception import Encoder


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimization (Schulman et al. 2017) by Stable-Baselines3."""

    seed: int = 0
    """Of the minibatches' shuffling; weights and actions follow the global generators (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the layers between encoder and policy, and between encoder and value."""
    learning_rate: float = 3e-4
    """Of Adam."""
    anneal_rows: int = 0
    """Rows (over all worlds) in which the learning rate falls to 0; 0 keeps it."""
    n_steps: int = 128
    """Rows of each world per rollout."""
    batch_size: int = 256
    """Transitions per minibatch."""
    n_epochs: int = 4
    """Passes over a rollout."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 0.95
    """Decay of generalized advantage estimation."""
    clip_range: float = 0.2
    """Of the probability ratio."""
    ent_coef: float = 0.01
    """Weight of the entropy."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Greatest norm of the gradient."""
    target_kl: float | None = None
    """Ends the passes over a rollout early above 1.5 times this divergence; None never does."""

    def problems(self, num_envs: int) -> Iterator[str]:
        """What cannot work with so many worlds side by side."""
        rows = self.n_steps * num_envs
        if self.batch_size > rows:
            yield f"agent.batch_size is {self.batch_size}, but a rollout is agent.n_steps x env.num_envs = {rows} rows"


@dataclass(frozen=True)
class A2CConfig:
    """Advantage actor-critic (Mnih et al. 2016, synchronous) by Stable-Baselines3."""

    seed: int = 0
    """Unused by A2C itself, which shuffles nothing; weights and actions follow the global generators (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the layers between encoder and policy, and between encoder and value."""
    learning_rate: float = 7e-4
    """Of RMSprop."""
    anneal_rows: int = 0
    """Rows (over all worlds) in which the learning rate falls to 0; 0 keeps it."""
    n_steps: int = 5
    """Rows of each world per rollout."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 1.0
    """Decay of generalized advantage estimation."""
    ent_coef: float = 0.01
    """Weight of the entropy."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    max_grad_norm: float = 0.5
    """Greatest norm of the gradient."""


@dataclass(frozen=True)
class DQNConfig:
    """Deep Q-learning (Mnih et al. 2015) by Stable-Baselines3."""

    seed: int = 0
    """Of replay and exploration; weights follow the global generators (`seed_all`)."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the layers between encoder and Q-values."""
    learning_rate: float = 1e-4
    """Of Adam."""
    anneal_rows: int = 0
    """Rows (over all worlds) in which the learning rate falls to 0; 0 keeps it."""
    capacity: int = 100_000
    """Rows kept, over all worlds."""
    learning_starts: int = 1_000
    """Transitions before the first update."""
    batch_size: int = 64
    """Transitions per update."""
    every: int = 4
    """Rows (of all worlds side by side) between two rounds of learning."""
    updates: int = 1
    """Updates in a round."""
    gamma: float = 0.99
    """Discount."""
    tau: float = 1.0
    """How far the target network moves at once; 1 copies."""
    target_every: int = 1_000
    """Rows (over all worlds) between two moves of the target network."""
    exploration_rows: int = 10_000
    """Rows (over all worlds) in which the rate of random actions falls from 1 to `exploration_final`."""
    exploration_final: float = 0.05
    """Rate of random actions thereafter."""
    max_grad_norm: float = 10.0
    """Greatest norm of the gradient."""


class _Features(BaseFeaturesExtractor):
    """An encoder's tokens laid side by side: what SB3's networks read."""

    def __init__(self, observation_space: spaces.Dict, encoder: Encoder):
        super().__init__(observation_space, encoder.num_tokens * encoder.dim)
        self.encoder = encoder

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return self.encoder(obs).flatten(-2)  # (B, num_tokens * dim)


class _Raw(BasePolicy):
    """Raw observations for SB3's networks, behind them in the order of resolution: scaling and one-hot codes are the
    encoder's business."""

    def extract_features(self, obs: Any, features_extractor: Any) -> Tensor:
        return features_extractor(obs)

    @staticmethod
    def init_weights(module: nn.Module, gain: float = 1) -> None:
        """SB3's, but for kernels that lie channels last, which its `orthogonal_` cannot write; an encoder keeps its
        own weights anyhow."""
        if not isinstance(module, nn.Conv2d) or module.weight.is_contiguous():
            BasePolicy.init_weights(module, gain)


class _ActorCritic(ActorCriticPolicy, _Raw):  # type: ignore[misc]
    pass


class _QNetwork(QNetwork, _Raw):
    pass


class _DQNPolicy(DQNPolicy):
    def make_q_net(self) -> QNetwork:
        return _QNetwork(**self._update_features_extractor(self.net_args)).to(self.device)

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        """Each of the two networks its own encoder, of equal weights."""
        return copy.deepcopy(super().make_features_extractor())


class _Nowhere:
    """SB3 allocates its buffer on construction; ours stands in its place later."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass


class _SB3(Agent):
    """What the three have in common. `encoder.space` is the observation space."""

    model: Any
    supported: tuple[type, ...] = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: Any):
        if not isinstance(action_space, self.supported):
            names = ", ".join(kind.__name__ for kind in self.supported)
            raise ValueError(f"{type(self).__name__} acts in {names}; this action space is {action_space}")
        self.config, self.encoder_keys = config, encoder.keys
        self.observation_space, self.action_space = encoder.space, action_space
        self.device = choose_device(config.device)
        self.rng = np.random.default_rng(config.seed)
        self.rows = 0  # acted on in training, over all worlds
        check_encoder(encoder)
        policy = {
            "net_arch": list(config.hidden),
            "features_extractor_class": _Features,
            "features_extractor_kwargs": {"encoder": encoder},
        }
        weights = copy.deepcopy(encoder.state_dict())
        self.model = self._algorithm(policy)
        self.model.observation_space, self.model.action_space = encoder.space, action_space
        self.model.n_envs = 1
        self.model._setup_model()
        encoder.load_state_dict(weights)  # SB3 draws all layers anew; an encoder may come with what it has learned
        self.model.set_logger(Logger(None, []))
        self.policy.set_training_mode(False)

    def _algorithm(self, policy: dict[str, Any]) -> BaseAlgorithm:
        raise NotImplementedError

    @property
    def policy(self) -> BasePolicy:
        return self.model.policy

    def _see(self, obs: Mapping[str, Array]) -> dict[str, Tensor]:
        return {key: to_torch(obs[key], self.device) for key in self.encoder_keys}

    def _rate(self) -> Any:
        """SB3's schedule of the learning rate, over what remains of `anneal_rows`."""
        rate = self.config.learning_rate
        return (lambda remaining: rate * remaining) if self.config.anneal_rows else rate

    def _learn(self, *args: Any) -> dict[str, float]:
        """SB3's own learning step; what it would have logged."""
        if self.config.anneal_rows:
            self.model._current_progress_remaining = max(0.0, 1 - self.rows / self.config.anneal_rows)
        self.model.train(*args)
        self.policy.set_training_mode(False)
        logged = self.model.logger.name_to_value
        numbers = {name: float(value) for name, value in logged.items()}
        logged.clear()
        return numbers

    def save(self, folder: Path) -> None:
        save_weights(self.policy, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.policy, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.policy.optimizer.state_dict(),
            "updates": self.model._n_updates,
            "rows": self.rows,
            "rng": self.rng.bit_generator.state,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.policy.optimizer.load_state_dict(state["optimizer"])
        self.model._n_updates, self.rows = state["updates"], state["rows"]
        self.rng.bit_generator.state = state["rng"]


class _OnPolicy(_SB3):
    """PPO and A2C: a rollout, then SB3's `train()` on it."""

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """In training sampled, with value and log-probability in extras; else the likeliest action."""
        if mode == "eval":
            action = self.policy._predict(self._see(obs), deterministic=True)  # type: ignore[arg-type]
            return self._inside(action.cpu().numpy()), carry, {}
        self.rows += len(first)
        action, value, log_prob = self.policy(self._see(obs))
        sampled = action.cpu().numpy()
        extras = {"value": value.cpu().numpy()[:, 0], "log_prob": log_prob.cpu().numpy(), "sampled": sampled}
        return self._inside(sampled), carry, extras

    def _inside(self, action: Array) -> Array:
        """A Gaussian's sample may lie outside the bounds; what is carried out does not."""
        space = self.action_space
        if isinstance(space, spaces.Box):
            action = np.clip(action, space.low, space.high)
        return action.reshape(-1, *(space.shape or ())).astype(space.dtype)

    def buffer(self) -> RolloutBuffer:
        return RolloutBuffer(self.config.n_steps, self.config.gamma, self.config.gae_lambda, keys=self.encoder_keys)

    def update(self, batch: Batch) -> dict[str, float]:
        """One call of SB3's `train()` on a rollout."""
        self.model.rollout_buffer = _Rollout(batch, self.device, self.rng)
        return self._learn()


class _Rollout:
    """A rollout as SB3's `train()` asks for it: shuffled minibatches of its transitions, last rows left out."""

    def __init__(self, batch: Batch, device: torch.device, rng: np.random.Generator):
        valid, extras = batch["valid"], batch["extras"]
        keep = index({"obs": batch["obs"], "sampled": extras["sampled"]}, valid)
        rest = {"value": extras["value"], "log_prob": extras["log_prob"]}
        rest |= {"advantage": batch["advantage"], "return": batch["return"]}
        self.table = to_torch({**keep, **index(rest, valid)}, device)
        self.values, self.returns = extras["value"][valid], batch["return"][valid]
        self.rng = rng

    def get(self, batch_size: int | None = None) -> Iterator[DictRolloutBufferSamples]:
        size = len(self.values)
        order = torch.from_numpy(self.rng.permutation(size)) if batch_size else torch.arange(size)
        order = order.to(self.table["value"].device)
        for chosen in order.split(batch_size or size):
            part = tree_map(lambda leaf, chosen=chosen: leaf[chosen], self.table)
            yield DictRolloutBufferSamples(
                observations=part["obs"],
                actions=part["sampled"],
                old_values=part["value"],
                old_log_prob=part["log_prob"],
                advantages=part["advantage"],
                returns=part["return"],
            )


class PPO(_OnPolicy):
    """Proximal policy optimization by Stable-Baselines3.

    Args:
        encoder: reads the observations; its `space` is the agent's.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        config: the settings.
    """

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: PPOConfig | None = None):
        config = config or PPOConfig()
        if config.batch_size < 2:
            raise ValueError("batch_size 1 leaves nothing to normalize advantages over; give at least 2")
        super().__init__(encoder, action_space, config)

    def _algorithm(self, policy: dict[str, Any]) -> BaseAlgorithm:
        c = self.config
        return stable_baselines3.PPO(
            _ActorCritic,
            None,  # type: ignore[arg-type]
            self._rate(),
            c.n_steps,
            c.batch_size,
            c.n_epochs,
            c.gamma,
            c.gae_lambda,
            c.clip_range,
            ent_coef=c.ent_coef,
            vf_coef=c.vf_coef,
            max_grad_norm=c.max_grad_norm,
            target_kl=c.target_kl,
            rollout_buffer_class=_Nowhere,  # type: ignore[arg-type]
            policy_kwargs=policy,
            device=self.device,
            _init_setup_model=False,
        )


class A2C(_OnPolicy):
    """Synchronous advantage actor-critic by Stable-Baselines3. Arguments as `PPO`."""

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: A2CConfig | None = None):
        super().__init__(encoder, action_space, config or A2CConfig())

    def _algorithm(self, policy: dict[str, Any]) -> BaseAlgorithm:
        c = self.config
        return stable_baselines3.A2C(
            _ActorCritic,
            None,  # type: ignore[arg-type]
            self._rate(),
            c.n_steps,
            c.gamma,
            c.gae_lambda,
            c.ent_coef,
            c.vf_coef,
            c.max_grad_norm,
            rollout_buffer_class=_Nowhere,  # type: ignore[arg-type]
            policy_kwargs=policy,
            device=self.device,
            _init_setup_model=False,
        )


class DQN(_SB3):
    """Deep Q-learning by Stable-Baselines3.

    Args:
        encoder: reads the observations; its `space` is the agent's. The target network gets a copy.
        action_space: Discrete.
        config: the settings.
    """

    supported = (spaces.Discrete,)
    action_space: spaces.Discrete

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: DQNConfig | None = None):
        super().__init__(encoder, action_space, config or DQNConfig())

    def _algorithm(self, policy: dict[str, Any]) -> BaseAlgorithm:
        c = self.config
        return stable_baselines3.DQN(
            _DQNPolicy,
            None,  # type: ignore[arg-type]
            self._rate(),
            tau=c.tau,
            gamma=c.gamma,
            max_grad_norm=c.max_grad_norm,
            replay_buffer_class=_Nowhere,  # type: ignore[arg-type]
            policy_kwargs=policy,
            device=self.device,
            _init_setup_model=False,
        )

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The action of the highest Q-value; in training, each world explores at the present rate."""
        greedy = self.policy._predict(self._see(obs), deterministic=True).cpu().numpy()  # type: ignore[arg-type]
        action = (greedy + self.action_space.start).astype(self.action_space.dtype)
        if mode == "eval":
            return action, carry, {}
        n = len(first)
        explores = self.rng.random(n) < self.exploration()
        drawn = self.action_space.start + self.rng.integers(self.action_space.n, size=n)
        before, self.rows = self.rows, self.rows + n
        if self.rows // self.config.target_every > before // self.config.target_every:
            self._move_target()
        return np.where(explores, drawn, action).astype(self.action_space.dtype), carry, {}

    def exploration(self) -> float:
        """The present rate of random actions."""
        final = self.config.exploration_final
        return max(final, 1 - (1 - final) * self.rows / max(self.config.exploration_rows, 1))

    def _move_target(self) -> None:
        online, target = self.model.q_net, self.model.q_net_target
        for ours, theirs in zip(online.parameters(), target.parameters()):
            theirs.lerp_(ours, self.config.tau)
        for ours, theirs in zip(online.buffers(), target.buffers()):  # running statistics are copied
            theirs.copy_(ours)

    def buffer(self) -> ReplayBuffer:
        c = self.config
        return ReplayBuffer(
            c.capacity,
            c.batch_size,
            keys=self.encoder_keys,
            learning_starts=c.learning_starts,
            every=c.every,
            updates=c.updates,
            seed=c.seed,
        )

    def update(self, batch: Batch) -> dict[str, float]:
        """One gradient step of SB3's `train()` on a batch of transitions."""
        self.model.replay_buffer = _Transitions(batch, self.device, self.action_space.start)
        return {**self._learn(1, len(batch["reward"])), "train/exploration": self.exploration()}


class _Transitions:
    """A batch as SB3's `train()` asks for it."""

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


def check_encoder(encoder: nn.Module) -> None:
    """Whether an encoder gives what it says, tried on two observations of zeros.

    Raises:
        ValueError: naming encoder, shape given and shape promised.
    """
    assert isinstance(encoder, Encoder)
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    zeros = {
        key: torch.as_tensor(np.zeros((2, *(encoder.space[key].shape or ())), encoder.space[key].dtype), device=device)
        for key in encoder.keys
    }
    training = encoder.training
    with torch.no_grad():
        tokens = encoder.eval()(zeros)  # zeros must not move running statistics
    encoder.train(training)
    promised = (2, encoder.num_tokens, encoder.dim)
    if tuple(tokens.shape) != promised:
        raise ValueError(
            f"{type(encoder).__name__} gives {tuple(tokens.shape)} for two observations and promises {promised} "
            "(batch, num_tokens, dim); mend its forward or its num_tokens and dim"
        )

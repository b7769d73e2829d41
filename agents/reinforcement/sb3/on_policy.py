"""The base class of PPO and A2C: collect a rollout, then call SB3's `train()` on it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer as SB3RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples
from torch import Tensor

from embodia.agents import Array, Batch, Carry, Mode, Numbers
from embodia.agents.policy import PolicyModule
from embodia.agents.reinforcement.action_distributions import action_distribution
from embodia.agents.reinforcement.sb3.agent import SB3Agent
from embodia.agents.reinforcement.sb3.networks import RawObservations
from embodia.agents.training.buffers.rollout import RolloutBuffer
from embodia.agents.training.rows import to_torch
from embodia.perception import Obs
from embodia.planners.trees import index, tree_map


class ActorCritic(ActorCriticPolicy, RawObservations):
    """Policy and value network on one encoder's features."""


class NoRollout(SB3RolloutBuffer):
    """An empty rollout buffer: SB3 allocates one on construction; `update` replaces it by `Rollout`."""

    def __init__(self, *args: Any, **kwargs: Any):
        pass


class OnPolicy(SB3Agent):
    """Stores value and log-probability with each action, and learns from each rollout once."""

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """In training a sampled action, with value and log-probability in extras; in evaluation the most likely one."""
        if mode == "eval":
            action = self.policy._predict(self._see(obs), deterministic=True)
            return self._inside(action.cpu().numpy()), carry, {}
        self.rows += len(first)
        action, value, log_prob = self.policy(self._see(obs))
        sampled = action.cpu().numpy()
        extras = {"value": value.cpu().numpy()[:, 0], "log_prob": log_prob.cpu().numpy(), "sampled": sampled}
        return self._inside(sampled), carry, extras

    def _inside(self, action: Array) -> Array:
        """Clip a Gaussian's sample to the bounds of the action space."""
        space = self.action_space
        if isinstance(space, spaces.Box):
            action = np.clip(action, space.low, space.high)
        return action.reshape(-1, *(space.shape or ())).astype(space.dtype)

    def policy_module(self) -> PolicyModule | None:
        if isinstance(self.action_space, spaces.MultiBinary):  # SB3's Bernoulli has one logit for each value
            return None
        return MostLikely(self.policy, self.encoder_keys)

    def buffer(self) -> RolloutBuffer:
        return RolloutBuffer(self.config.n_steps, self.config.gamma, self.config.gae_lambda, keys=self.encoder_keys)

    def update(self, batch: Batch) -> Numbers:
        """One call of SB3's `train()` on a rollout."""
        self.model.rollout_buffer = Rollout(batch, self.device, self.rng)
        return self._learn()


class MostLikely(PolicyModule):
    """The policy in evaluation, for export: the most likely action."""

    def __init__(self, policy: Any, keys: Sequence[str]):
        super().__init__(keys)
        self.policy = policy
        self.distribution = action_distribution(policy.action_space)

    def forward(self, obs: Obs, carry: Carry, first: Tensor) -> tuple[Tensor, Carry]:
        latent = self.policy.mlp_extractor.forward_actor(self.policy.extract_features(obs))
        action = self.distribution.mode(self.policy.action_net(latent))
        return self.distribution.executed(action), carry


class Rollout:
    """A rollout with the interface that SB3's `train()` expects: shuffled minibatches of transitions, no last rows."""

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

"""Adversarial imitation: PPO on the reward of a discriminator between the expert and the learner.

Ho & Ermon 2016 (GAIL). By default the reward is the discriminator's logit, log D - log(1 - D) (AIRL: Fu, Luo & Levine
2018). Unlike GAIL's -log(1 - D), which is positive, it does not reward a learner for merely staying in the episode.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor

from embodia.agents import Array, Batch, Carry, Mode, Numbers, Row
from embodia.agents.imitation.inverse.demonstrations import DemonstrationError
from embodia.agents.imitation.inverse.discriminator import Discriminator
from embodia.agents.reinforcement.sb3.ppo import SB3PPO, SB3PPOConfig
from embodia.agents.training.buffers.rollout import RolloutBuffer, advantages
from embodia.agents.training.optimization import Optimization, OptimizationConfig
from embodia.agents.training.rows import copy, stack, to_torch
from embodia.perception import Encoder
from embodia.planners.trees import index


@dataclass(frozen=True)
class AdversarialConfig(SB3PPOConfig):
    """Adversarial imitation: PPO on the reward of a discriminator. First the expert acts for a few episodes."""

    demonstrations: int = 5
    """Number of the expert's episodes that are recorded as demonstrations at the start of training."""
    subsample: int = 1
    """Keep every this many steps of a demonstration."""
    reward: Literal["logit", "gail"] = "logit"
    """logit: log D - log(1 - D). gail: -log(1 - D), which is always positive."""
    discriminator_hidden: tuple[int, ...] = (64, 64)
    """Widths of the discriminator's hidden layers."""
    discriminator_learning_rate: float = 1e-3
    """AdamW's learning rate for the discriminator."""
    discriminator_steps: int = 8
    """Updates of the discriminator per rollout."""
    discriminator_batch_size: int = 256
    """Transitions of the expert, and of the learner, per update of the discriminator."""
    gradient_penalty: float = 1.0
    """Weight of the discriminator's gradient penalty."""

    def problems(self, num_envs: int) -> Iterator[str]:
        yield from super().problems(num_envs)
        for name in ("demonstrations", "subsample", "discriminator_steps", "discriminator_batch_size"):
            if getattr(self, name) < 1:
                yield f"agent.{name} is {getattr(self, name)}; it must be at least 1"


class Demonstrations:
    """The expert's transitions: `pairs` {"obs": {key: (N, ...)}, "action": (N, ...)} once all episodes are there."""

    def __init__(self, episodes: int, subsample: int, keys: tuple[str, ...]):
        self.wanted, self.subsample, self.keys = episodes, subsample, keys
        self.episodes: list[dict[str, Any]] = []

    @property
    def complete(self) -> bool:
        return len(self.episodes) >= self.wanted

    @property
    def pairs(self) -> dict[str, Any]:
        obs = {key: np.concatenate([each["obs"][key] for each in self.episodes]) for key in self.keys}
        return {"obs": obs, "action": np.concatenate([each["action"] for each in self.episodes])}

    def add(self, rows: Mapping[str, Any]) -> None:
        """Add an episode, each leaf (T, ...). The action of its last row was not executed.

        Raises:
            DemonstrationError: if the episode has no step, or an observation or action is not finite.
        """
        keep = slice(0, len(rows["reward"]) - 1, self.subsample)
        found = {"obs": {key: rows["obs"][key][keep] for key in self.keys}, "action": rows["action"][keep]}
        if len(found["action"]) == 0:
            raise DemonstrationError(f"demonstration {len(self.episodes)} has no step; the episode ended at its start")
        for name, value in {**found["obs"], "action": found["action"]}.items():
            if not np.isfinite(value).all():
                raise DemonstrationError(f"demonstration {len(self.episodes)}: {name} is not finite")
        self.episodes.append(found)


class DemonstrationsThenRollouts(RolloutBuffer):
    """Collects whole episodes as demonstrations until they are complete; later rows form rollouts.

    A rollout's batch holds the rows (n_steps + 1, n, ...); advantages are computed when the rewards are known.
    """

    def __init__(self, demonstrations: Demonstrations, n_steps: int, keys: tuple[str, ...]):
        super().__init__(n_steps, 0.0, 0.0, keys)
        self.demonstrations = demonstrations
        self.open: dict[int, list[Any]] = {}

    def add(self, row: Row) -> None:
        if self.demonstrations.complete:
            extras = {key: value for key, value in row["extras"].items() if key != "expert_action"}
            super().add({**row, "extras": extras})
            return
        for world in range(len(row["reward"])):
            if row["first"][world]:
                self.open[world] = []
            self.open[world].append(copy(index(row, world)))
            if row["last"][world] and not self.demonstrations.complete:
                self.demonstrations.add(stack(self.open[world]))
        if self.demonstrations.complete:
            self.open = {}

    def batches(self) -> Iterator[dict[str, Any]]:
        if self.length == self.n_steps + 1:
            yield self.rows

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "open": {world: list(rows) for world, rows in self.open.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.open = {world: list(rows) for world, rows in state["open"].items()}


class Adversarial(SB3PPO):
    """PPO whose reward is a discriminator between the expert's transitions and its own, not the task's reward.

    Args:
        encoder: reads the observations, for policy and value. The discriminator reads the same keys.
        action_space: Discrete or Box.
        config: hyperparameters.

    Raises:
        TypeError: for another action space.
        ValueError: as `PPO`.
    """

    config: AdversarialConfig
    needs_expert: tuple[Mode, ...] = ("train",)

    def __init__(self, encoder: Encoder, action_space: spaces.Space[Any], config: AdversarialConfig | None = None):
        c = config or AdversarialConfig()
        super().__init__(encoder, action_space, c)
        keys = tuple(self.encoder_keys)
        self.demonstrations = Demonstrations(c.demonstrations, c.subsample, keys)
        network = Discriminator(encoder.space, keys, action_space, c.discriminator_hidden, c.gradient_penalty)
        optimization = OptimizationConfig(
            learning_rate=c.discriminator_learning_rate, schedule="constant", warmup=1, device=c.device
        )
        self.discriminator = Optimization(network, optimization)

    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        """The expert's action until the demonstrations are complete, then as PPO."""
        if mode == "train" and not self.demonstrations.complete:
            return np.asarray(obs["expert_action"]), carry, {}
        if mode == "train":
            self.needs_expert = ()  # the expert is not asked again
        return super().act(obs, carry, first, mode)

    def buffer(self) -> DemonstrationsThenRollouts:
        return DemonstrationsThenRollouts(self.demonstrations, self.config.n_steps, tuple(self.encoder_keys))

    def update(self, batch: Batch) -> Numbers:
        """Train the discriminator on a rollout (T + 1, n, ...) and the demonstrations, then PPO on its rewards."""
        valid = ~batch["last"][:-1]
        learner = self._inputs(index(batch["obs"], slice(0, -1)), batch["action"][:-1])  # (T n, D)
        numbers = self._discriminate(learner[torch.from_numpy(valid.ravel())])
        reward = np.zeros(batch["reward"].shape, np.float32)
        reward[1:] = np.where(valid, self.reward(learner).view(valid.shape).cpu().numpy(), 0.0)
        c, rows = self.config, batch
        found = advantages(reward, rows["extras"]["value"], rows["last"], rows["terminal"], c.gamma, c.gae_lambda)
        kept = index({key: rows[key] for key in ("obs", "action", "extras", "last")}, slice(0, -1))
        numbers |= super().update({**kept, "valid": valid, "advantage": found[0], "return": found[1]})
        return {**numbers, "reward": float(reward[1:][valid].mean())}

    def _inputs(self, obs: Mapping[str, Array], action: Array) -> Tensor:
        """The discriminator's inputs for rows (T, n, ...), flattened to (T n, D)."""
        flat = to_torch({key: value.reshape(-1, *value.shape[2:]) for key, value in obs.items()}, self.device)
        actions = to_torch(action.reshape(-1, *action.shape[2:]), self.device)
        network: Discriminator = self.discriminator.learner
        return network.inputs(flat, actions)

    def _discriminate(self, learner: Tensor) -> Numbers:
        pairs = self.demonstrations.pairs
        expert = self._inputs(index(pairs["obs"], None), pairs["action"][None])
        size, numbers = self.config.discriminator_batch_size, {}
        for _ in range(self.config.discriminator_steps):
            chosen = {"expert": expert, "learner": learner}
            drawn = {
                name: each[torch.from_numpy(self.rng.integers(len(each), size=size)).to(each.device)]
                for name, each in chosen.items()
            }
            numbers = self.discriminator.update(drawn)
        return {f"discriminator/{name}": numbers[name] for name in ("loss", "accuracy", "penalty")}

    @torch.no_grad()
    def reward(self, inputs: Tensor) -> Tensor:
        """Return the learned reward (B,) of inputs (B, D)."""
        logit: Tensor = self.discriminator.learner(inputs)
        return F.softplus(logit) if self.config.reward == "gail" else logit

    def training_state(self) -> dict[str, Any]:
        return {
            **super().training_state(),
            "discriminator": self.discriminator.training_state(),
            "demonstrations": self.demonstrations.episodes,
        }

    def set_training_state(self, state: dict[str, Any]) -> None:
        super().set_training_state(state)
        self.discriminator.set_training_state(state["discriminator"])
        self.demonstrations.episodes[:] = state["demonstrations"]

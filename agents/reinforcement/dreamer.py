"""Dreamer: an actor and a critic trained on imagined rollouts of a world model (Hafner et al. 2023, DreamerV3)."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from embodia.agents import Agent, Array, Batch, Carry, Mode, Numbers, Pieces
from embodia.agents.reinforcement.actor_critic import Actor, lambda_returns
from embodia.agents.reinforcement.laprop import LaProp
from embodia.agents.training import distributed
from embodia.agents.training.buffers.train_ratio import TrainRatioReplay
from embodia.agents.training.device import choose_device
from embodia.agents.training.rows import to_torch
from embodia.agents.training.weights import load_weights, save_weights
from embodia.perception import Encoder
from embodia.perception.encoders.mlp import mlp, zeroed
from embodia.perception.global_batch import gathered, part_of_batch
from embodia.planners.models.actions import unit_action
from embodia.planners.models.networks import rms_layer
from embodia.planners.models.rssm import RSSM, RSSMConfig
from embodia.planners.models.two_hot import TwoHot


@dataclass(frozen=True)
class DreamerConfig:
    """DreamerV3 with the paper's hyperparameters, except for the sizes and train ratio, which are chosen for a CPU."""

    seed: int = 0
    """Random seed of replay sampling."""
    device: str = "auto"
    """cpu, cuda, or auto (cuda if available)."""
    model: RSSMConfig = RSSMConfig()  # noqa: RUF009 (frozen)
    batch_size: int = 16
    """Sequences per update."""
    sequence_length: int = 32
    """Rows per sequence."""
    buffer_size: int = 200_000
    """Replay capacity in rows, over all environments."""
    learning_starts: int = 1000
    """Transitions collected before the first update."""
    train_ratio: float = 128.0
    """Replayed rows per row of experience."""
    learning_rate: float = 3e-4
    """LaProp's learning rate."""
    warmup: int = 200
    """Updates over which the learning rate rises from 0."""
    agc: float = 0.3
    """Adaptive gradient clipping: maximum norm of each parameter's gradient, relative to the parameter's norm."""
    imagination_horizon: int = 15
    """Imagined steps from each row."""
    imagination_last: int = 0
    """Number of last rows of each sequence that imagination starts from; 0 for all of them."""
    gae_lambda: float = 0.95
    """Lambda of the lambda-returns that actor and critic are trained on."""
    ent_coef: float = 3e-4
    """Entropy coefficient of the actor's loss."""
    unimix: float = 0.01
    """Share of the uniform distribution in a discrete actor's probabilities."""
    tau: float = 0.02
    """Soft-update coefficient of the slow critic, which regularises the critic."""
    return_rate: float = 0.01
    """Update rate of the running percentiles of returns; advantages are divided by their range."""
    replay_value_scale: float = 0.3
    """Weight of the critic's loss on replayed rows, relative to that on imagined ones."""


class DreamerNets(nn.Module):
    """World model, actor and critic. The running range of returns is a buffer, so it is saved with them."""

    low: Tensor
    high: Tensor

    def __init__(self, space: spaces.Dict, action_space: spaces.Space[Any], encoder: Encoder, config: DreamerConfig):
        super().__init__()
        seen = spaces.Dict({key: space[key] for key in encoder.keys})
        self.model = RSSM(seen, unit_actions(action_space), encoder, config.model)
        features, units = self.model.feature_dim, config.model.units
        self.actor = Actor(action_space, features, units, config.unimix)
        self.two_hot = TwoHot()
        self.critic = zeroed(mlp(features, (units, units), len(self.two_hot.bins), rms_layer))
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))


def unit_actions(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Return the action space that actor and model use: a Box is rescaled to [-1, 1], others are unchanged.

    Raises:
        ValueError: if a Box has no bounds.
    """
    if not isinstance(space, spaces.Box):
        return space
    if not space.is_bounded():
        raise ValueError(f"Dreamer needs a bounded Box action space, not {space}; wrap the environment")
    return spaces.Box(-1.0, 1.0, space.shape, np.float32)


class Dreamer(Agent):
    """DreamerV3 (Hafner et al. 2023).

    The carry holds the model's state and the last action. Continuous actions are in [-1, 1] inside the agent and
    scaled to the action space outside.

    Args:
        observation_space: of the environment.
        action_space: Discrete or a bounded Box (A,).
        encoder: reads the observations.
        config: hyperparameters.

    Raises:
        TypeError, ValueError: if the action space is not supported.
    """

    parallel = True

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        encoder: Encoder,
        config: DreamerConfig | None = None,
    ):
        self.observation_space, self.action_space = observation_space, action_space
        self.config = config or DreamerConfig()
        self.device = choose_device(self.config.device)
        self.nets = DreamerNets(observation_space, action_space, encoder, self.config).to(self.device)
        self.keys, self.is_discrete = encoder.keys, isinstance(action_space, spaces.Discrete)
        trained = [p for p in self.nets.parameters() if p.requires_grad]
        self.optimizer = LaProp(trained, self.config.learning_rate, clip=self.config.agc, warmup=self.config.warmup)

    @property
    def model(self) -> RSSM:
        return self.nets.model

    def initial(self, n: int) -> Carry:
        shape = (n,) if self.is_discrete else (n, *(self.action_space.shape or ()))
        dtype = torch.int64 if self.is_discrete else torch.float32
        return {**self.nets.model.initial(n), "action": torch.full(shape, self.start, dtype=dtype, device=self.device)}

    @property
    def start(self) -> int:
        """The lowest discrete action."""
        return int(getattr(self.action_space, "start", 0))

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Array], carry: Carry, first: Array, mode: Mode
    ) -> tuple[Array, Carry, dict[str, Array]]:
        model = self.nets.model
        state = {"deter": carry["deter"], "stoch": carry["stoch"]}
        flags = torch.as_tensor(first, device=self.device)
        seen = to_torch({key: obs[key] for key in self.keys}, self.device)
        state = model.observe(state, seen, carry["action"], flags)
        chosen = self.nets.actor.choose(model.features(state), mode)
        if self.is_discrete:
            chosen = chosen + self.start
        return self.to_space(chosen), {**state, "action": chosen}, {}

    def to_space(self, action: Tensor) -> Array:
        """Scale actions from [-1, 1] to the Box's range; class indices are unchanged."""
        if self.is_discrete:
            return action.cpu().numpy()
        box = self.action_space
        assert isinstance(box, spaces.Box)
        unit = action.clamp(-1, 1).cpu().numpy()
        return (box.low + (unit + 1) / 2 * (box.high - box.low)).astype(box.dtype)

    def from_space(self, action: Tensor) -> Tensor:
        """Scale replayed actions to [-1, 1]: the inverse of `to_space`."""
        if self.is_discrete:
            return action
        return unit_action(action, self.action_space)

    def buffer(self) -> TrainRatioReplay:
        c = self.config
        return TrainRatioReplay(
            c.train_ratio, c.buffer_size, c.batch_size, c.sequence_length, c.learning_starts, c.seed, self.keys
        )

    def offline(self) -> Pieces:
        """Sequences of rows: the model learns from them, actor and critic from rollouts imagined from them."""
        return Pieces(self.config.batch_size, self.config.sequence_length, crossing=True, keys=self.keys)

    def update(self, batch: Batch) -> Numbers:
        rows = to_torch(
            {key: batch[key] for key in ("obs", "reward", "first", "last", "terminal", "action")}, self.device
        )
        rows["action"] = self.from_space(rows["action"])
        self.optimizer.zero_grad(set_to_none=True)
        with part_of_batch(rows["reward"].shape[1]):
            states, posterior = self.nets.model.unroll(rows)
            model_loss, numbers = self.nets.model.loss_of(states, posterior, rows)
            behaviour_loss, more = self.learn_behaviour(states, rows)
        (model_loss + behaviour_loss).backward()
        numbers = distributed.averaged(self.nets.parameters(), {**numbers, **more})
        self.optimizer.step()
        self.move_slow_critic()
        return {name: value.detach() for name, value in numbers.items()}

    def learn_behaviour(
        self, states: Mapping[str, Tensor], rows: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of actor and critic on rollouts imagined from replayed states, and numbers to log.

        The critic is also trained on the replayed rows.
        """
        c, nets = self.config, self.nets
        states = {key: value[-c.imagination_last :] for key, value in states.items()}
        rows = {key: rows[key][-c.imagination_last :] for key in ("reward", "terminal", "last")}
        start = {key: value.detach().flatten(0, 1) for key, value in states.items()}
        features, actions = self.imagine(start)  # (H + 1, N, F), (H + 1, N, ...)
        said = self.assess(features)
        alive = (~rows["terminal"].bool()).float().flatten()
        weight = torch.cat([alive[None], alive * said["cont"][1:]]).cumprod(0)[:-1].detach()  # (H, N)
        returns = lambda_returns(said["reward"], said["cont"], said["value"], c.gae_lambda)
        scale = self.return_scale(returns)
        advantage = (returns - said["value"][:-1]) / scale
        policy = nets.actor(features[:-1])
        actor_loss = -(weight * (policy.log_prob(actions[:-1]) * advantage + c.ent_coef * policy.entropy())).mean()
        critic_loss = (weight * self.critic_loss(features[:-1], returns)).mean()
        replay_loss = self.replay_value_loss(states, rows, returns[0])
        total = actor_loss + critic_loss + c.replay_value_scale * replay_loss
        return total, {
            "loss/actor": actor_loss,
            "loss/critic": critic_loss,
            "loss/replay_value": replay_loss,
            "entropy": policy.entropy().mean(),
            "imagined_return": returns.mean(),
            "return_scale": scale,
        }

    @torch.no_grad()
    def imagine(self, state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Follow the actor for `imagination_horizon` steps; return features and actions of the states 0..H."""
        model, features, actions = self.nets.model, [], []
        for _ in range(self.config.imagination_horizon + 1):
            features.append(model.features(state))
            actions.append(self.nets.actor.choose(features[-1], "train"))
            state = model.imagine(state, actions[-1] + self.start if self.is_discrete else actions[-1])
        return torch.stack(features), torch.stack(actions)

    @torch.no_grad()
    def assess(self, features: Tensor) -> dict[str, Tensor]:
        """Predict reward, continuation probability and value from features (*B, F); each (*B,)."""
        nets = self.nets
        return {
            "reward": nets.two_hot.mean(nets.model.reward_net(features)),
            "cont": torch.sigmoid(nets.model.cont_net(features)[..., 0]),
            "value": nets.two_hot.mean(nets.critic(features)),
        }

    def return_scale(self, returns: Tensor) -> Tensor:
        """Update and return the running range between the 5th and 95th percentile of returns, at least 1."""
        nets, rate = self.nets, self.config.return_rate
        quantiles = torch.tensor([0.05, 0.95], device=returns.device)
        low, high = torch.quantile(gathered(returns.flatten()), quantiles)
        nets.low.lerp_(low, rate)
        nets.high.lerp_(high, rate)
        return (nets.high - nets.low).clamp_min(1.0)

    def critic_loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Two-hot cross-entropy to the returns, plus that to the slow critic's value."""
        logits = self.nets.critic(features)
        with torch.no_grad():
            slow = self.nets.two_hot.mean(self.nets.slow_critic(features))
        return self.nets.two_hot.loss(logits, target) + self.nets.two_hot.loss(logits, slow)

    def replay_value_loss(self, states: Mapping[str, Tensor], rows: Mapping[str, Any], imagined: Tensor) -> Tensor:
        """Critic loss on replayed rows; their returns use the real rewards, bootstrapped from imagined returns."""
        features = self.nets.model.features(dict(states))
        promised = imagined.view(features.shape[:2])  # from each row on
        cont = (~rows["terminal"].bool()).float() * (1 - 1 / self.config.model.discount_horizon)
        going_on = (~rows["last"].bool()).float()
        returns = lambda_returns(rows["reward"], cont, promised, going_on * self.config.gae_lambda)
        return (going_on[:-1] * self.critic_loss(features[:-1], returns)).mean()

    @torch.no_grad()
    def move_slow_critic(self) -> None:
        for slow, fast in zip(self.nets.slow_critic.parameters(), self.nets.critic.parameters(), strict=True):
            slow.lerp_(fast, self.config.tau)

    def save(self, folder: Path) -> None:
        save_weights(self.nets, folder / "agent.safetensors")

    def load(self, folder: Path) -> None:
        load_weights(self.nets, folder / "agent.safetensors")

    def training_state(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict()}

    def set_training_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
